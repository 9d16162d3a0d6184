"""Score a network on frames by all protocols; results as JSON, CSV and a table."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from src.conventions import MAX_DEPTH_M, Sample
from src.files import whole_file
from src.scoring.metrics import (
    MeanMap,
    Measures,
    average,
    average_measures,
    by_part,
    eigen_pixels,
    median_ratio,
    resize_depth,
    score,
)
from src.scoring.significance import confidence_interval

COLUMNS = {
    "eigen": ("abs_rel", "rmse_m", "log10", "d1", "d2", "d3"),
    "eigen_median": ("abs_rel", "rmse_m", "log10", "d1", "d2", "d3"),
    "fastdepth": ("abs_rel", "rmse_m", "log10", "d1", "d2", "d3"),
    "metric10": ("ssim", "mse"),
    "relative": ("ssim", "mse"),
    "boundary": ("f1",),
}
"""The protocols and measures of a result, in the order of its table."""

SCENE_TYPE = re.compile(r"(?:^|/)([a-z_]+)_\d{4}\w*/")
"""What the folders of NYU's training frames tell, such as kitchen_0051_out; its test frames are numbers."""

WORST = 10
RATIO_EDGES = (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)  # of the histogram of median ratios


class ImageScore(NamedTuple):
    """One frame's measures by protocol: of the prediction, of its average with the flipped image's, of the mean map.

    `by_part`, empty for relative depth, is of distances, thirds of the picture, and the type of the scene;
    `median_ratio` is the true median depth / the predicted one.
    """

    name: str
    plain: dict[str, Measures]
    flipped: dict[str, Measures]
    mean_map: dict[str, Measures]
    by_part: dict[str, Measures]
    median_ratio: float

    @property
    def error(self) -> tuple[str, float]:
        """The measure by which frames are ranked: RMSE, or AbsRel where there is no scale."""
        protocol, measure = ("eigen", "rmse_m") if "eigen" in self.plain else ("eigen_median", "abs_rel")
        return measure, self.plain[protocol][measure]


def evaluate(
    predict: Callable[[Tensor], Tensor],
    samples: Iterable[Sample],
    *,
    unit_m: float | None,
    max_depth_m: float = MAX_DEPTH_M,
    mean_map: MeanMap | None = None,
    save: Callable[[int, Tensor, Sample], None] | None = None,
) -> list[ImageScore]:
    """Score every frame, one at a time; the mean map of training frames is scored as a baseline if it is given.

    `save` gets each frame's number and its prediction in metres, before it is resized.

    **Shape**: `predict` turns a photo (1, 3, h, w) uint8 into depth (h/4, w/4).
    **Units**: `unit_m` is the depth in metres at which the output is 1, None for relative depth; truth counts up to
    `max_depth_m`.
    """
    scores = []
    for index, sample in enumerate(samples):
        prediction = predict(sample.image)
        mirrored = predict(sample.image.flip(3)).flip(1)
        scaled_m = unit_m and unit_m * sample.scale
        plain, flipped = (
            score(depth, sample.truth_m, sample.small_truth_m, unit_m=scaled_m, max_depth_m=max_depth_m)
            for depth in (prediction, (prediction + mirrored) / 2)
        )
        baseline = mean_map.score(sample.small_truth_m, max_depth_m) if mean_map else {}
        metres = prediction * (scaled_m or 1.0)
        pixels = eigen_pixels(metres, sample.truth_m, max_depth_m)
        parts = by_part(*pixels, max_depth_m) if unit_m else {}
        if unit_m and (scene := SCENE_TYPE.search(sample.name)):
            parts[scene[1]] = plain["eigen"]
        scores.append(ImageScore(sample.name, plain, flipped, baseline, parts, median_ratio(*pixels[:2])))
        if save:
            save(index, metres, sample)
    return scores


def save_as_png(folder: Path, index: int, prediction_m: Tensor, sample: Sample) -> None:
    """Write prediction and truth as 16-bit PNG in millimetres, named as bts's `eval_with_pngs.py` expects.

    **Raises**: UserError when a file cannot be written.
    """
    files = {
        folder / "predictions" / f"frame_rgb_{index:05}.png": resize_depth(prediction_m, sample.truth_m),
        folder / "truth" / "frame" / f"sync_depth_{index:05}.png": sample.truth_m,
    }
    for path, depth_m in files.items():
        millimetres = (depth_m.double() * 1000).round().clamp(0, 65535).numpy().astype(np.uint16)
        with whole_file(path) as unfinished:
            Image.fromarray(millimetres).save(unfinished, "png")


def summarize_scores(scores: Sequence[ImageScore], **facts: Any) -> dict[str, Any]:
    """Average over images, and add the facts of the measurement.

    `protocols_low` and `protocols_high` are the ends of 95 % intervals, by bootstrap over the images. `by_part` is
    averaged over the images that have the part.
    """
    protocols = average([score.plain for score in scores])
    intervals = {
        protocol: {m: confidence_interval([score.plain[protocol][m] for score in scores]) for m in measures}
        for protocol, measures in protocols.items()
    }
    parts = dict.fromkeys(name for score in scores for name in score.by_part)
    ratios = [score.median_ratio for score in scores]
    shares = np.bincount(np.digitize(ratios, RATIO_EDGES), minlength=len(RATIO_EDGES) + 1) / len(ratios)
    bins = (f"< {RATIO_EDGES[0]}", *(f"{a}-{b}" for a, b in pairwise(RATIO_EDGES)), f"> {RATIO_EDGES[-1]}")
    ranked = sorted(scores, key=lambda score: score.error, reverse=True)
    return {
        "count": len(scores),
        **facts,
        "protocols": protocols,
        "protocols_low": {p: {m: low for m, (low, _) in ends.items()} for p, ends in intervals.items()},
        "protocols_high": {p: {m: high for m, (_, high) in ends.items()} for p, ends in intervals.items()},
        "by_part": {
            name: average_measures([score.by_part[name] for score in scores if name in score.by_part])
            for name in sorted(parts, key=lambda name: int(name.split("-")[0]) if name[0].isdigit() else math.inf)
        },
        "median_ratio": float(np.median(ratios)),
        "median_ratio_shares": dict(zip(bins, shares.tolist(), strict=True)),
        "worst": [score.name for score in ranked[:WORST]],
        "protocols_flip": average([score.flipped for score in scores]),
        "protocols_mean_map": average([score.mean_map for score in scores]),
    }


def format_table(result: dict[str, Any]) -> str:
    """Format a result as a table for the terminal."""
    names = (*COLUMNS["eigen"], "ssim", "mse", "f1")
    lines = [f"{'protocol':24}" + "".join(f"{name:>9}" for name in names)]
    interval = (("", ""), ("_low", ", 95 % from"), ("_high", ", 95 % to"))
    for endings in (interval, [("_mean_map", ", mean map")], [("_flip", ", flipped")]):
        for protocol in (name for name in COLUMNS if name in result["protocols"]):
            for key, ending in endings:
                if found := result.get(f"protocols{key}", {}).get(protocol):
                    cells = (f"{found[name]:9.4f}" if name in found else " " * 9 for name in names)
                    lines.append(f"{protocol + ending:24}" + "".join(cells).rstrip())
    for name, measures in result.get("by_part", {}).items():
        lines.append(f"{'eigen, ' + name:24}" + "".join(f"{measures[m]:9.4f}" for m in COLUMNS["eigen"]))
    return "\n".join(lines)


def pick_examples(scores: Sequence[ImageScore]) -> list[tuple[str, int]]:
    """Pick the best, the median and the worst frame: (label, index), by RMSE, or AbsRel where there is no scale."""
    order = sorted(range(len(scores)), key=lambda index: scores[index].error)
    labels = zip(("best", "median", "worst"), (order[0], order[len(order) // 2], order[-1]), strict=True)
    return [("{}: {} {:.3f}".format(label, *scores[index].error), index) for label, index in labels]


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result as one JSON object.

    **Raises**: UserError when the file cannot be written.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, scores: Sequence[ImageScore]) -> None:
    """Write one row per image, without flip averaging.

    **Raises**: UserError when the file cannot be written.
    """
    columns = dict.fromkeys(
        (protocol, measure) for score in scores for protocol in score.plain for measure in score.plain[protocol]
    )
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["image", *(f"{protocol}_{measure}" for protocol, measure in columns), "median_ratio"])
        for score_ in scores:
            values = [score_.plain.get(protocol, {}).get(measure, math.nan) for protocol, measure in columns]
            writer.writerow([score_.name, *(f"{value:.6g}" for value in (*values, score_.median_ratio))])
