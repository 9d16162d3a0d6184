"""Score a checkpoint, or the weights that ship, by the seed's, the siblings' and the field's protocol.

python scripts/evaluate.py runs/…/best.pt
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from _data import bar_options, make_allowance
from _network import open_its_data, open_network
from _options import Parser, add_data_options, add_machine_options, add_max_bad_option, add_weights_option
from _root import run

from src.data.batches import EvaluationSamples, make_sample
from src.data.frame import Pairs
from src.network import DepthNet
from src.training import evaluation
from src.training.engine import Precision, choose_precision, predict
from src.training.provenance import revision
from src.viewing.figures import Comparison, draw_strip


def parse(argv: list[str]) -> Any:
    """Read the command line; what it leaves open about the data is taken from the checkpoint."""
    parser = Parser(__doc__)
    what = "best.pt or last.pt of a run, or .safetensors; without one, the weights that ship are scored"
    parser.add_argument("checkpoint", type=Path, nargs="?", help=what)
    add_weights_option(parser)
    add_data_options(parser, kind=None, validation=None)
    add_max_bad_option(parser)
    parser.add_argument("--split", choices=("test", "val"), default="test", help="which frames to score")
    add_machine_options(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the result there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the files; default: beside the checkpoint")
    return parser.parse_args(argv)


def main() -> None:
    options = parse(sys.argv[1:])
    precision = choose_precision(options.device, options.amp)
    opened = open_network(options.checkpoint, options.weights, precision)
    data = open_its_data(opened, options)
    report(
        opened.network,
        opened.about,
        data.open(options.split, options.limit),
        data=data.kind,
        split=options.split,
        name=opened.name,
        weights=opened.weights,
        folder=options.out or (Path("runs") / "shipped" if opened.shipped else options.checkpoint.parent),
        precision=precision,
        max_bad=options.max_bad,
        extra_json=options.json,
    )


def report(
    network: DepthNet,
    about: dict[str, Any],
    pairs: Pairs,
    *,
    data: str,
    split: str,
    name: str,
    weights: str,
    folder: Path,
    precision: Precision,
    max_bad: str | None = None,
    extra_json: Path | None = None,
) -> dict[str, Any]:
    """Score all frames, print the table, and write JSON, CSV and the strip of best, median and worst frames."""
    network.to(precision.device)
    unit_m = about["max_depth_m"] if about["target"] == "metric" else None
    left_out = make_allowance(len(pairs), max_bad)
    samples = EvaluationSamples(pairs, left_out)
    bar = tqdm(samples, desc=f"evaluating on {data} {split}", **bar_options())
    scores = evaluation.evaluate(network, bar, unit_m=unit_m, precision=precision)
    result = evaluation.summarize_scores(
        scores,
        data=data,
        split=split,
        left_out=[pairs.names[index] for index in left_out.reasons],
        trained_on=about["data"],
        target=about["target"],
        checkpoint=name,
        weights=weights,
        epoch=about["epoch"],
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        revision=revision(),
        trained_revision=about["revision"],
    )
    stem = f"evaluation-{data}-{split}"
    evaluation.write_json(folder / f"{stem}.json", result)
    if extra_json is not None:
        evaluation.write_json(extra_json, result)
    evaluation.write_csv(folder / f"{stem}.csv", scores)
    ranked = [(label, samples.indices[row]) for label, row in evaluation.rank(scores)]
    rows = [compare(network, pairs, index, label, about, precision) for label, index in ranked]
    draw_strip(rows, folder / f"{stem}.png", unit="m" if unit_m else "of the farthest")

    print(f"\n{name}, trained on {about['data']}, scored on the {len(scores)} {split} frames of {data}:\n")
    print(evaluation.format_table(result))
    if left_out.reasons:
        print(f"{len(left_out.reasons)} frames of the list could not be read: compare with no figure of all of them.")
    if unit_m is None:
        print("eigen and metric10 need metres, which this network (--target relative) does not know.")
    print(f"\nresult  {folder / stem}.json\nper image  {folder / stem}.csv\npicture  {folder / stem}.png")
    return result


def compare(
    network: DepthNet, pairs: Pairs, index: int, label: str, about: dict[str, Any], precision: Precision
) -> Comparison:
    """Set one frame's photo, truth and prediction side by side, in metres or in shares of the farthest point."""
    frame = pairs[index]
    sample = make_sample(pairs.names[index], frame)
    network.eval()
    prediction = predict(network, sample.image.to(precision.device), precision)[0, 0].cpu().numpy()
    metric = about["target"] == "metric"
    unit = about["max_depth_m"] if metric else 1.0
    truth = frame.depth_m if metric else frame.depth_m / max(float(frame.depth_m.max()), 1e-6)
    title = f"{Path(pairs.names[index]).name}\n{label}"
    return Comparison(title, frame.image, truth, prediction * unit)


if __name__ == "__main__":
    run(main)
