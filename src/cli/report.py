"""Score a network on frames of a data set: a table, files beside the checkpoint, and pictures of predictions."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from src.cli.data import announce, announce_empty, bar_options, make_allowance
from src.cli.resume import script_command
from src.cli.sources import Data
from src.conventions import MOST_PNG_M, Diverged, Pairs, UserError
from src.data.batches import evaluation_samples, make_sample, small_truth
from src.data.listing import Subset, sample_frames
from src.data.packed import Packed
from src.estimator import DepthEstimator
from src.scoring import evaluation
from src.scoring.metrics import MeanMap, eigen_mask, mean_map
from src.scoring.significance import compare_frames
from src.training.checkpoint_manager import BEST
from src.training.engine import Precision, predict
from src.training.provenance import describe_device, revision
from src.training.run_log import RunLog
from src.viewing.figures import StripRow, draw_strip

MEAN_MAP_FRAMES = 200  # on NYU, the SSIM of this many differs from that of all 795 by 0.003 at most


def report(
    estimator: DepthEstimator,
    data: Data,
    split: str,
    *,
    folder: Path,
    limit: int | None = None,
    max_bad: str | None = None,
    name: str | None = None,
    save_png: Path | None = None,
) -> tuple[dict[str, Any], list[evaluation.ImageScore]]:
    """Score all frames of a split, print the table, and write JSON, CSV and a strip of best, median and worst frame.

    The mean map of the training frames of the same data is scored as a baseline, where there are any. `save_png` is a
    folder for predictions and truth as other programs read them.
    """
    network, about, precision, unit_m = estimator.network, estimator.about, estimator.precision, estimator.unit_m
    pairs, name, max_depth_m = announce(data.open(split, limit)), name or estimator.name, about["max_depth_m"]
    left_out = make_allowance(len(pairs), max_bad)
    samples = evaluation_samples(
        pairs, left_out, max_depth_m, lambda truth_m: bool(eigen_mask(truth_m, max_depth_m).any())
    )
    bar = tqdm(samples, total=len(pairs), desc=f"evaluating on {data.kind} {split}", **bar_options())
    baseline = average_depth(data, split, limit, max_depth_m)
    scores = evaluation.evaluate(
        partial(estimate_one, network, precision),
        bar,
        unit_m=unit_m,
        max_depth_m=max_depth_m,
        mean_map=baseline,
        save=partial(evaluation.save_as_png, save_png) if save_png else None,
    )
    unscored = {*left_out.reasons, *left_out.empty}
    readable = [index for index in range(len(pairs)) if index not in unscored]
    trained = data.count_trained(about, split, Subset(pairs, readable))
    result = evaluation.summarize_scores(
        scores,
        data=data.kind,
        split=split,
        training_frames_included=trained,
        limit=limit,
        depth_scale=data.depth_scale,
        fov_deg=data.fov_deg,
        max_depth_m=max_depth_m,
        left_out=[pairs.names[index] for index in left_out.reasons],
        without_truth=[pairs.names[index] for index in left_out.empty],
        trained_on=about["data"],
        target=about["target"],
        checkpoint=name,
        weights=estimator.weights,
        epoch=about["epoch"],
        device=describe_device(precision.device),
        precision=about.get("precision", precision.type_name),
        mean_map_frames=baseline.frames if baseline else 0,
        parameters=about.get("parameters") or sum(parameter.numel() for parameter in network.parameters()),
        revision=revision(),
        trained_revision=about["revision"],
    )
    stem = folder / f"evaluation-{data.label}-{split}"
    evaluation.write_json(Path(f"{stem}.json"), result)
    evaluation.write_csv(Path(f"{stem}.csv"), scores)
    examples = [(label, readable[row]) for label, row in evaluation.pick_examples(scores)]
    rows = [compare(network, pairs, index, label, about, precision) for label, index in examples]
    draw_strip(rows, Path(f"{stem}.png"), unit=estimator.unit)

    frames = (
        f"the {len(scores)} {split} frames of {data.kind}{f', {trained} TRAINING FRAMES INCLUDED' if trained else ''}"
    )
    print(f"\n{name}, trained on {about['data']}, scored on {frames}, truth up to {max_depth_m:g} m:\n")
    print(evaluation.format_table(result))
    origin = f"of {baseline.frames} training frames" if baseline else "none, since these data have no training frames"
    ratios = ", ".join(f"{span}: {share:.0%}" for span, share in result["median_ratio_shares"].items())
    print(f"\n{result['device']}, {result['precision']}; mean map: {origin}")
    if unit_m is not None:
        print(f"true / predicted median depth: {result['median_ratio']:.3f} in the median; of the frames, {ratios}")
    print(f"worst frames: {', '.join(result['worst'])}")
    if left_out.reasons:
        print(f"{len(left_out.reasons)} frames could not be read: these figures are not those of the whole list.")
    announce_empty(len(left_out.empty), len(pairs), max_depth_m, " in the Eigen crop")
    if unit_m is None:
        print("eigen and metric10 need metres, which this network (--target relative) does not estimate.")
    print(f"\nresult  {stem}.json\nper image  {stem}.csv\npicture  {stem}.png")
    if save_png:
        cut = f", cut at {MOST_PNG_M} m" if max_depth_m > MOST_PNG_M else ""
        print(f"PNG        {save_png}: predictions, truth{cut}")
    return result, scores


def report_best(options: Namespace, data: Data) -> None:
    """Score the best weights, and print the commands that use them."""
    path = options.out / BEST
    if not path.exists():
        raise Diverged(f"{options.out}: no epoch ended with finite figures, so there is no best.pt. Try a lower --lr.")
    if not data.leaves_some_to_score:
        print("\n--validation 0: no frames were held out, so nothing is scored.")
    else:
        estimator = DepthEstimator(path, device=options.device)
        report(estimator, data, data.last_split, folder=options.out, limit=options.limit, max_bad=options.max_bad)
    print(f"\nThe run is in {options.out}. Next:")
    print(f"  python {script_command('evaluate.py', path)}")
    print(f"  python {script_command('predict.py', 'photo.jpg', '--checkpoint', path)}")


def print_comparison(
    first: Sequence[evaluation.ImageScore], second: Sequence[evaluation.ImageScore], names: Sequence[str]
) -> dict[str, Any]:
    """Print and return how two networks differ on the frames of one list, a photo of which may be listed twice.

    **Raises**: UserError when a frame was read for one of them only.
    """
    if [score.name for score in first] != [score.name for score in second]:
        raise UserError("--compare: some frames could be read for one of the networks only. Try again.")
    pairs = list(zip(first, second, strict=True))
    print(f"\n{names[0]} and {names[1]} on the same {len(pairs)} frames; difference: the second minus the first\n")
    print(f"{'measure':22}{'first':>9}{'second':>9}{'difference':>12}{'95 % interval':>20}{'p':>9}")
    compared = {}
    for protocol, measures in evaluation.COLUMNS.items():
        for measure in measures:
            held = [[score.plain.get(protocol, {}).get(measure) for score in pair] for pair in pairs]
            if any(None in values for values in held):
                continue
            difference = compare_frames(*zip(*held, strict=True))
            compared[f"{protocol}_{measure}"] = difference._asdict()
            change, interval = difference.second - difference.first, f"{difference.low:+.4f} to {difference.high:+.4f}"
            line = f"{protocol + ' ' + measure:22}{difference.first:9.4f}{difference.second:9.4f}"
            print(f"{line}{change:+12.4f}{interval:>20}{difference.p:9.4f}")
    return compared


def estimate_one(network: nn.Module, precision: Precision, image: Tensor) -> Tensor:
    """Estimate one photo's depth in the network's units: (1, 3, h, w) -> (h/4, w/4) on the CPU."""
    return predict(network, image.to(precision.device), precision)[0, 0].cpu()


def average_depth(data: Data, split: str, limit: int | None, max_depth_m: float) -> MeanMap | None:
    """Average the depth of up to `MEAN_MAP_FRAMES` training frames, evenly spaced in the list; None without any."""
    if split == "test" and data.last_split == "val":  # the test split has all rows: none is left to train on
        return None
    try:
        training = data.open("train", limit)
    except UserError:  # a copy of NYU may hold the test frames only
        return None
    maps = [small_truth(frame, max_depth_m) for _, frame in sample_frames(training, MEAN_MAP_FRAMES)]
    maps = [depth_m for depth_m in maps if depth_m.any()]  # a frame beyond the range says nothing
    return mean_map(maps) if maps else None


def compare(
    network: nn.Module, pairs: Pairs, index: int, label: str, about: dict[str, Any], precision: Precision
) -> StripRow:
    """Put one frame's photo, truth and prediction side by side, in metres or as shares of the farthest point."""
    frame = pairs[index]
    sample = make_sample(pairs.names[index], frame)
    measured_m = np.where(frame.depth_m <= about["max_depth_m"], frame.depth_m, np.float32(0))
    prediction = estimate_one(network.eval(), precision, sample.image).numpy()
    metric = about["target"] == "metric"
    unit = about["max_depth_m"] * sample.scale if metric else 1.0
    truth = measured_m if metric else measured_m / np.float32(max(measured_m.max(), 1e-6))
    title = f"{Path(pairs.names[index]).name}\n{label}"
    return StripRow(title, frame.image, truth, prediction * np.float32(unit))


def draw_samples(
    pairs: Pairs, packed: Packed, network: nn.Module, *, facts: dict[str, Any], precision: Precision, log: RunLog | None
) -> None:
    """Draw the predictions for four readable frames as samples.png, also for TensorBoard. A failure ends no run."""
    if log is None:
        return
    indices = sorted({int(packed.rows[len(packed) * eighth // 8]) for eighth in (1, 3, 5, 7)})
    measured = facts["validation"]
    label = f"RMSE {measured['rmse_m']:.3f} m" if "rmse_m" in measured else ""
    try:
        rows = [compare(network, pairs, index, label, facts, precision) for index in indices]
        draw_strip(rows, log.folder / "samples.png", unit="m" if facts["target"] == "metric" else "of the farthest")
        log.add_picture("samples", log.folder / "samples.png")
    except UserError as error:
        print(f"no samples.png: {error}", flush=True)
