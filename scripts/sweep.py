"""Repeat the original project's experiment: train each preset of a folder, score each run, and write a report.

python scripts/sweep.py --data nyu --data-dir path/to/nyu
"""

from _root import run

from src.cli.option_groups import KINDS_WITH
from src.cli.options import parse_sweep

if __name__ == "__main__":
    parse_sweep(__doc__)  # --help and usage errors are answered before the imports that take seconds

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from src.cli.data import open_data
from src.cli.parsing import as_preset, as_tokens, read_preset
from src.cli.report import compare
from src.conventions import Pairs, UserError
from src.data.listing import evenly_spaced
from src.estimator import DepthEstimator
from src.files import whole_file
from src.scoring.comparison import Run, conclude, tabulate, tabulate_beside_original
from src.viewing.figures import Curve, draw_curves, draw_models

FRAMES_SHOWN = 4
CHARTS = {"train_loss": "training loss", "val_rmse": "validation RMSE", "val_abs_rel": "validation AbsRel"}


def main() -> None:
    options = parse_sweep(__doc__)
    presets = sorted(options.presets.glob("*.yaml"), key=lambda path: sort_key(read_preset(path)))
    if not presets:
        raise UserError(f"--presets {options.presets}: got no .yaml file there, expected one for each run.")
    data = open_data(options)
    options.data, options.data_dir = data.kind, data.root
    left_out = {"presets", *(name for name, kinds in KINDS_WITH.items() if data.kind not in kinds)}
    shared = {key: value for key, value in as_preset(options).items() if key not in left_out}
    refuse_other_options(options.out / "sweep.yaml", shared)

    runs = []
    for number, preset in enumerate(presets, 1):
        folder = options.out / preset.stem
        result = folder / f"evaluation-{data.kind}-{data.last_split}.json"
        if not result.exists():
            print(f"\n[{number}/{len(presets)}] {preset.stem}", flush=True)
            run_script("train.py", "--preset", preset, "--out", folder, "--resume", "auto", *as_tokens(shared))
        # An SWA run is scored with its averaged weights, also where an epoch's were better in validation.
        if read_preset(preset).get("swa"):
            result = folder / "swa" / result.name
            if not result.exists():
                limit = as_tokens({"limit": options.limit})
                run_script("evaluate.py", folder / "last.pt", "--weights", "swa", "--out", result.parent, *limit)
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        trained = yaml.safe_load((folder / "options.yaml").read_text())
        runs.append(Run(preset.stem, trained, history, json.loads(result.read_text())))

    draw_pictures(runs, data.open(data.last_split, options.limit), options)
    with whole_file(options.out / "report.md") as unfinished:
        unfinished.write_text(REPORT.format(**report_values(runs, options.seed)), encoding="utf-8")
    print(f"\n{tabulate(runs)}\n\n{conclude(runs)}\n\nreport  {options.out / 'report.md'}")


def sort_key(preset: dict[str, Any]) -> tuple[float, float, bool]:
    """Sort runs by learning rate, then plain, augmented, averaged."""
    return float(preset["lr"]), float(preset.get("swa", 0)), bool(preset.get("augment"))


def refuse_other_options(path: Path, shared: dict[str, Any]) -> None:
    """Refuse a folder whose runs had other options, so that one table compares like with like."""
    before = yaml.safe_load(path.read_text()) if path.exists() else shared
    if changed := [key for key in shared if before.get(key) != shared[key]]:
        key = changed[0]
        raise UserError(
            f"--out {path.parent}: holds runs with --{key.replace('_', '-')} {before.get(key)}, "
            f"got {shared[key]}. Name another folder."
        )
    with whole_file(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(shared))


def run_script(name: str, *arguments: object) -> None:
    """Run another script of this folder.

    **Raises**: UserError when it fails.
    """
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)])
    try:
        status = process.wait()
    except KeyboardInterrupt:  # which the script got as well: it saves first
        process.wait()
        raise
    if status:
        raise UserError(f"{name} ended with status {status}, see above. Repeat the command to resume.")


def draw_pictures(runs: list[Run], frames: Pairs, options: Namespace) -> None:
    """Draw the learning curves, and every run's predictions for the same frames."""
    charts = {}
    for key, title in CHARTS.items():
        curves = [
            Curve(run_.name, [line["epoch"] for line in run_.history], [line[key] for line in run_.history])
            for run_ in runs
            if all(key in line for line in run_.history)
        ]
        if curves:
            charts[title] = curves
    draw_curves(charts, options.out / "curves.png")

    indices = evenly_spaced(len(frames), FRAMES_SHOWN)
    compared = []
    for run_ in runs:
        weights = run_.result["weights"]
        path = options.out / run_.name / ("last.pt" if weights == "swa" else "best.pt")
        estimator = DepthEstimator(path, weights=weights, device=options.device)
        about = (estimator.about, estimator.precision)
        compared.append([compare(estimator.network, frames, index, run_.name, *about) for index in indices])
    rows = [(row[0].image, row[0].truth, [one.prediction for one in row]) for row in zip(*compared, strict=True)]
    draw_models([run_.name for run_ in runs], rows, options.out / "predictions.png", unit="of the\nfarthest")


def report_values(runs: list[Run], seed: int) -> dict[str, object]:
    """Collect the values of the report."""
    first = runs[0]
    return {
        "conclusion": conclude(runs),
        "length": f"{first.options['epochs']} epochs ({first.history[-1]['step']} steps)",
        "seed": seed,
        "frames": f"{first.result['count']} {first.result['split']} frames of {first.result['data']}",
        "beside_original": tabulate_beside_original(runs),
        "table": tabulate(runs),
    }


REPORT = """# The original project's experiment

{conclusion}

Each run: {length}, random seed {seed}, its own preset from `configs/seed/`. Scored on
{frames}, without flip averaging.
Weights: of the epoch that was best on validation scenes; of lr-2e-3-swa the averaged ones.

## Beside the original's own figures (relative protocol)

{beside_original}

The original trained on some 35,450 frames (70 % of 50,688) and scored 654: compare the order and the differences, not
the absolute values. Networks of the relative target are scored raw, as the original scored its own.

## All protocols

{table}

## Learning curves

![learning curves](curves.png)

## Predictions for the same frames

![predictions](predictions.png)
"""


if __name__ == "__main__":
    run(main)
