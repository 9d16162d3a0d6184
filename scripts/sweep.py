"""Repeat the original project's experiment: train each preset of a folder, score each run, and write a report.

python scripts/sweep.py --data nyu --data-dir path/to/nyu
"""

from _root import run

from src.cli.options import parse_sweep, training_parser

if __name__ == "__main__":
    parse_sweep(__doc__)  # --help and usage errors are answered before the imports that take seconds

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from src.cli.data import open_data
from src.cli.parsing import as_preset, as_tokens, read_preset
from src.conventions import Diverged, UserError
from src.files import whole_file
from src.scoring.comparison import Run, conclude, tabulate
from src.viewing.figures import Curve, draw_curves

OF_THIS_MACHINE = {"workers", "cache_dir", "device"}  # options that change no result

CHARTS = {
    "train_ssim": "SSIM, training",
    "val_ssim": "SSIM, validation",
    "train_loss": "loss, training",
    "val_loss": "loss, validation",
}


def main() -> None:
    options = parse_sweep(__doc__)
    folders = [options.presets, options.presets / "short"]
    runs, short = (sorted(folder.glob("*.yaml"), key=sort_key) for folder in folders)
    if not runs:
        raise UserError(f"--presets {options.presets}: got no .yaml file there, expected one for each run.")
    if "short_epochs" in options.typed and not short:
        raise UserError(f"--short-epochs: got no .yaml file in {folders[1]}, whose runs it is for. Leave it out.")
    if "validation" not in options.typed:
        options.validation = read_preset(runs[0]).get("validation", options.validation)
    data = open_data(options)
    if not data.leaves_some_to_score:
        raise UserError("--validation 0: these data have no test frames, so no run could be scored. Raise it.")
    options.data, options.data_dir = data.name, data.root
    typed = {"data", "data_dir", "seed", *options.typed} - {"out", "presets"}
    shared = {key: value for key, value in as_preset(options).items() if key in typed}
    refuse_other_options(options.out / "sweep.yaml", shared)
    short_epochs = shared.pop("short_epochs", None)

    result = f"evaluation-{data.label}-{data.last_split}.json"
    finished: dict[Path, Run] = {}
    for number, preset in enumerate([*runs, *short], 1):
        print(f"\n[{number}/{len(runs) + len(short)}] {preset.stem}", flush=True)
        epochs = {"epochs": short_epochs} if short_epochs and preset in short else {}
        finished[preset] = train_and_score(preset, options.out / preset.stem, shared | epochs, result)
    write_report(options, [finished[preset] for preset in runs], [finished[preset] for preset in short])


def sort_key(path: Path) -> tuple[float, float, bool, str]:
    """Sort runs by learning rate, then plain, augmented, averaged."""
    run = training_parser(None).parse_over(read_preset(path), [])
    return run.lr, run.swa, bool(run.augment), path.stem


def refuse_other_options(path: Path, shared: dict[str, Any]) -> None:
    """Refuse a folder whose runs had other options, so that one table compares like with like."""
    before = yaml.safe_load(path.read_text()) if path.exists() else shared
    if changed := sorted(key for key in {*shared, *before} - OF_THIS_MACHINE if before.get(key) != shared.get(key)):
        key = changed[0]
        raise UserError(
            f"--out {path.parent}: holds runs with --{key.replace('_', '-')} {before.get(key)}, "
            f"got {shared.get(key)}. Name another folder."
        )
    with whole_file(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(shared))


def train_and_score(preset: Path, folder: Path, shared: dict[str, Any], result: str) -> Run:
    """Train a run, or resume it, and read its scores; what is finished is not repeated.

    An SWA run is scored with its averaged weights, also where an epoch's were better in validation.
    """
    own = read_preset(preset)
    if own.get("swa"):
        shared = {key: value for key, value in shared.items() if key != "patience"}  # SWA ignores it
    scored: dict[str, Any] | None = None
    try:
        if not (folder / result).exists():
            run_script(
                "train.py", "--preset", preset.resolve(), "--out", folder, "--resume", "auto", *as_tokens(shared)
            )
        scores = folder / result
        if own.get("swa"):
            scores = folder / "swa" / result
            if not scores.exists():
                given = as_tokens({key: shared.get(key) for key in ("limit", "device")})
                run_script("evaluate.py", folder / "last.pt", "--weights", "swa", "--out", scores.parent, *given)
        scored = json.loads(scores.read_text())
    except Diverged as error:
        print(error, flush=True)
    history = folder / "metrics.jsonl"
    lines = history.read_text().splitlines() if history.exists() else []
    return Run(preset.stem, [json.loads(line) for line in lines], scored)


def run_script(name: str, *arguments: object) -> None:
    """Run another script of this folder.

    **Raises**: UserError when it fails; Diverged when a training's weights did not stay finite.
    """
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)])
    try:
        status = process.wait()
    except KeyboardInterrupt:  # the script got it as well, and saves first
        process.wait()
        raise
    if status:
        kind = Diverged if status == Diverged.status else UserError
        raise kind(f"{name} ended with status {status}, see above. Repeat the command to resume.")


def write_report(options: Namespace, runs: Sequence[Run], short: Sequence[Run]) -> None:
    """Write the tables, the conclusions and the learning curves."""
    sections = [describe(runs, options.out / "curves.png", "Runs")]
    if short:
        sections.append(describe(short, options.out / "curves-short.png", "Short runs"))
    places = {"data_dir", "cache_dir", "out", "presets"}
    words = as_tokens({key: value for key, value in as_preset(options).items() if key in options.typed - places})
    place = "nyu" if options.data == "nyu" else options.data_dir and options.data_dir.resolve().name
    folder = [f"--data-dir path/to/{place}"] if options.data_dir else []
    scored = next((run_.result for run_ in [*runs, *short] if run_.result), None)
    if scored is None:
        raise UserError(f"{options.out}: none of the runs stayed finite, so there is nothing to report.")
    values = {
        "command": " ".join(["python scripts/sweep.py", *folder, *words]),
        "frames": f"{scored['count']} {scored['split']} frames of {scored['data']}",
        "machine": f"{scored['device']}, {scored['precision']}",
        "seed": options.seed,
        "mean_map": scored["mean_map_frames"],
    }
    text = REPORT.format(**values, sections="\n\n".join(sections))
    with whole_file(options.out / "report.md") as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    print(f"\n{text}\nreport  {options.out / 'report.md'}")


def describe(runs: Sequence[Run], curves: Path, title: str) -> str:
    """Write a section of the report, and draw the learning curves of its runs."""
    charts = {}
    for key, name in CHARTS.items():
        known = [run_ for run_ in runs if run_.history and key in run_.history[0]]
        charts[name] = [
            Curve(run_.name, [line["epoch"] for line in run_.history], [line[key] for line in run_.history])
            for run_ in known
        ]
    text = f"### {title}\n\n{tabulate(runs)}\n\n{conclude(runs)}"
    if not any(charts.values()):  # no run finished an epoch
        return text
    draw_curves({name: lines for name, lines in charts.items() if lines}, curves)
    return f"{text}\n\n![Learning curves]({curves.name})"


REPORT = """## Figures

`{command}`

Scored on {frames} without flip averaging; networks of the relative target raw, as the original scored its own.
The weights are those of the epoch that was best on the validation scenes, of runs with SWA the averaged ones.
One run each, seed {seed}; scored on {machine}. The mean map is that of {mean_map} training frames.

{sections}
"""


if __name__ == "__main__":
    run(main)
