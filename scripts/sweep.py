"""Repeat the original project's experiment: train each preset of a folder, score all, and report.

python scripts/sweep.py --data nyu --data-dir path/to/nyu
"""

from __future__ import annotations

from _root import run

from src.cli.options import KINDS_WITH, parse_sweep

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
from src.conventions import UserError
from src.files import whole_file
from src.network import rebuild
from src.scoring.comparison import Run, conclude, tabulate, tabulate_beside_original
from src.training import checkpoint
from src.training.engine import choose_precision
from src.viewing.figures import Curve, draw_curves, draw_models

FRAMES_SHOWN = 4


def main() -> None:
    options = parse_sweep(__doc__)
    presets = sorted(options.presets.glob("*.yaml"), key=lambda path: order(read_preset(path)))
    if not presets:
        raise UserError(f"--presets {options.presets}: got no .yaml file there, expected one for each run.")
    data = open_data(options)
    options.data, options.data_dir = data.kind, data.root
    idle = ("presets", *(name for name, kinds in KINDS_WITH.items() if data.kind not in kinds))
    shared = {key: value for key, value in as_preset(options).items() if key not in idle}
    refuse_mixture(options.out / "sweep.yaml", shared)

    runs = []
    for number, preset in enumerate(presets, 1):
        folder = options.out / preset.stem
        result = folder / f"evaluation-{data.kind}-{data.last_split}.json"
        if not result.exists():
            print(f"\n[{number}/{len(presets)}] {preset.stem}", flush=True)
            script("train.py", "--preset", preset, "--out", folder, "--resume", "auto", *as_tokens(shared))
        # The fifth run stands for its averaged weights, also where validation preferred those of an epoch.
        if read_preset(preset).get("swa"):
            result = folder / "swa" / result.name
            if not result.exists():
                script("evaluate.py", folder / "last.pt", "--weights", "swa", "--out", folder / "swa", *limit(options))
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        trained = yaml.safe_load((folder / "options.yaml").read_text())
        runs.append(Run(preset.stem, trained, history, json.loads(result.read_text())))

    frames = data.open(data.last_split, options.limit)
    draw(runs, frames, options)
    with whole_file(options.out / "report.md") as unfinished:
        unfinished.write_text(describe(runs, shared), encoding="utf-8")
    print(f"\n{tabulate(runs)}\n\n{conclude(runs)}\n\nreport  {options.out / 'report.md'}")


def order(preset: dict[str, Any]) -> tuple[float, float, bool]:
    """Sort runs by learning rate, then plain, augmented, averaged."""
    return float(preset["lr"]), float(preset.get("swa", 0)), bool(preset.get("augment"))


def refuse_mixture(path: Path, shared: dict[str, Any]) -> None:
    """Keep runs with different options out of one table."""
    before = yaml.safe_load(path.read_text()) if path.exists() else shared
    if changed := [key for key in shared if before.get(key) != shared[key]]:
        key = changed[0]
        raise UserError(
            f"--out {path.parent}: holds runs with --{key.replace('_', '-')} {before.get(key)}, "
            f"got {shared[key]}. Name another folder."
        )
    with whole_file(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(shared))


def script(name: str, *arguments: object) -> None:
    """Run another script of this folder; stop when it fails."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    status = subprocess.run(command).returncode
    if status:
        raise UserError(f"{name} ended with status {status}, see above. Repeat the command to go on from there.")


def limit(options: Namespace) -> list[str]:
    """Pass `--limit` on."""
    return [f"--limit={options.limit}"] if options.limit else []


def draw(runs: list[Run], frames: Any, options: Namespace) -> None:
    """Draw the learning curves, and the same frames as every run sees them."""
    charts = {}
    for key, what in (
        ("train_loss", "training loss"),
        ("val_rmse", "validation RMSE"),
        ("val_abs_rel", "validation AbsRel"),
    ):
        curves = [
            Curve(run.name, [line["epoch"] for line in run.history], [line[key] for line in run.history])
            for run in runs
            if all(key in line for line in run.history)
        ]
        if curves:
            charts[what] = curves
    draw_curves(charts, options.out / "curves.png")

    precision = choose_precision(options.device, "off")
    indices = sorted({len(frames) * place // (2 * FRAMES_SHOWN) for place in range(1, 2 * FRAMES_SHOWN, 2)})
    seen: dict[int, list[Any]] = {index: [] for index in indices}
    for trained in runs:
        which = trained.result["weights"]
        content = checkpoint.load(options.out / trained.name / ("last.pt" if which == "swa" else "best.pt"))
        weights, _ = checkpoint.choose_weights(content, which)
        network = rebuild(content["about"]["encoder"], weights).to(precision.device)
        for index in indices:
            seen[index].append(compare(network, frames, index, trained.name, content["about"], precision))
    rows = [(row[0].image, row[0].truth, [each.prediction for each in row]) for row in seen.values()]
    draw_models([run.name for run in runs], rows, options.out / "predictions.png", unit="of the\nfarthest")


def describe(runs: list[Run], shared: dict[str, Any]) -> str:
    """Write the report."""
    first = runs[0]
    length = f"{first.options['epochs']} epochs ({first.history[-1]['step']} steps)"
    frames = f"{first.result['count']} {first.result['split']} frames of {first.result['data']}"
    return f"""# The original project's experiment

{conclude(runs)}

Each run: {length}, random seed {shared["seed"]}, its own preset from `configs/seed/`. Scored on
{frames}, without flip averaging.
Weights: of the epoch that was best on validation scenes; of lr-2e-3-swa the averaged ones.

## Beside the original's own figures (relative protocol)

{tabulate_beside_original(runs)}

The original trained on some 35,450 frames (70 % of 50,688) and scored 654: compare the order and the differences, not
the heights. Networks of the relative target are scored raw, as the original scored its own.

## All protocols

{tabulate(runs)}

## Learning curves

![learning curves](curves.png)

## The same frames as every run sees them

![predictions](predictions.png)
"""


if __name__ == "__main__":
    run(main)
