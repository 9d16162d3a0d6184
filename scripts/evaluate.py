"""Score a checkpoint, or the weights that ship, by the protocols of the original project and of the field.

python scripts/evaluate.py runs/…/best.pt
"""

from __future__ import annotations

from _options import parse_evaluation

if __name__ == "__main__":
    parse_evaluation(__doc__)  # --help and usage errors are answered before the imports that take seconds

import contextlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

from _data import bar_options, make_allowance
from _network import open_its_data, open_network
from _root import run

from src.conventions import UserError
from src.data.batches import EvaluationSamples, make_sample
from src.data.frame import Pairs
from src.data.listing import spread
from src.network import DepthNet
from src.training import evaluation
from src.training.engine import Precision, choose_precision, predict
from src.training.metrics import MeanMap, mean_map
from src.training.provenance import describe_device, revision
from src.viewing.figures import Comparison, draw_strip

MEAN_MAP_FRAMES = 200
"""On NYU, so many give the SSIM of all 795 but for 0.003."""


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


def report(
    network: DepthNet,
    about: dict[str, Any],
    pairs: Pairs,
    training: Pairs,
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
    """Score all frames, print the table, and write JSON, CSV and the strip of best, median and worst frames.

    Beside the network stands the mean map of the training frames of the same data.
    """
    network.to(precision.device)
    unit_m = about["max_depth_m"] if about["target"] == "metric" else None
    left_out = make_allowance(len(pairs), max_bad)
    samples = EvaluationSamples(pairs, left_out)
    bar = tqdm(samples, desc=f"evaluating on {data} {split}", **bar_options())
    baseline = average_depth(training)
    scores = evaluation.evaluate(network, bar, unit_m=unit_m, precision=precision, mean_map=baseline)
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
        device=describe_device(precision.device),
        precision=precision.type_name,
        mean_map_frames=baseline.frames,
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
    print(f"\n{result['device']}, {result['precision']}; mean map: of {baseline.frames} training frames")
    if left_out.reasons:
        print(f"{len(left_out.reasons)} frames of the list could not be read: compare with no figure of all of them.")
    if unit_m is None:
        print("eigen and metric10 need metres, which this network (--target relative) does not know.")
    print(f"\nresult  {folder / stem}.json\nper image  {folder / stem}.csv\npicture  {folder / stem}.png")
    return result


def average_depth(training: Pairs) -> MeanMap:
    """Average the depth of up to `MEAN_MAP_FRAMES` training frames, evenly spread over the list."""
    maps = []
    for index in spread(len(training), MEAN_MAP_FRAMES):
        with contextlib.suppress(UserError):  # bad frames are counted where they are trained on or scored
            maps.append(make_sample(training.names[index], training[index]).small_truth_m)
    return mean_map(maps)


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
