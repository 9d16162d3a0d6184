"""Score a checkpoint, or the weights that ship, by the protocols of the original project and of the field.

python scripts/evaluate.py runs/…/best.pt
"""

from __future__ import annotations

from _root import run

from src.cli.options import parse_evaluation

if __name__ == "__main__":
    parse_evaluation(__doc__)  # --help and usage errors are answered before the imports that take seconds

from pathlib import Path

from src.cli.network import open_its_data, open_network
from src.cli.report import report
from src.training.engine import choose_precision


def main() -> None:
    options = parse_evaluation(__doc__)
    precision = choose_precision(options.device, options.amp)
    opened = open_network(options.checkpoint, options.weights, precision)
    data = open_its_data(opened, options)
    trained_on = opened.about["options"].get("data_dir")
    if data.kind == "csv" and options.split == "test" and str(data.root.resolve()) == trained_on:
        print("This csv is the one of the training: most of its rows were trained on. --split val scores the others.")
    report(
        opened.network,
        opened.about,
        data.open(options.split, options.limit),
        data.open("train", options.limit),
        data=data.kind,
        split=options.split,
        name=opened.name,
        weights=opened.weights,
        folder=options.out or (Path("runs") / "shipped" if opened.shipped else options.checkpoint.parent),
        precision=precision,
        max_bad=options.max_bad,
        extra_json=options.json,
    )


if __name__ == "__main__":
    run(main)
