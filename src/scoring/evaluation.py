"""Score a network on frames by all protocols; results as JSON, CSV and a table."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from src.conventions import MAX_DEPTH_M, Sample
from src.files import whole_file
from src.scoring.metrics import MeanMap, Measures, average, score

COLUMNS = {
    "eigen": ("abs_rel", "rmse_m", "log10", "d1", "d2", "d3"),
    "eigen_median": ("abs_rel", "rmse_m", "log10", "d1", "d2", "d3"),
    "metric10": ("ssim", "mse"),
    "relative": ("ssim", "mse"),
}
"""The protocols and measures of a result, in the order of its table."""


class ImageScore(NamedTuple):
    """One frame's measures by protocol: of the prediction, of its average with the flipped image's, of the mean map."""

    name: str
    plain: dict[str, Measures]
    flipped: dict[str, Measures]
    mean_map: dict[str, Measures]


def evaluate(
    predict: Callable[[Tensor], Tensor],
    samples: Iterable[Sample],
    *,
    unit_m: float | None,
    max_depth_m: float = MAX_DEPTH_M,
    mean_map: MeanMap | None = None,
) -> list[ImageScore]:
    """Score every frame, one at a time; the mean map of training frames is scored as a baseline if it is given.

    **Shape**: `predict` turns a photo (1, 3, h, w) uint8 into depth (h/4, w/4).
    **Units**: `unit_m` is the depth in metres at which the output is 1, None for relative depth; truth counts up to
    `max_depth_m`.
    """
    scores = []
    for sample in samples:
        prediction = predict(sample.image)
        mirrored = predict(sample.image.flip(3)).flip(1)
        scaled_m = unit_m and unit_m * sample.scale
        plain, flipped = (
            score(depth, sample.truth_m, sample.small_truth_m, unit_m=scaled_m, max_depth_m=max_depth_m)
            for depth in (prediction, (prediction + mirrored) / 2)
        )
        baseline = mean_map.score(sample.small_truth_m) if mean_map else {}
        scores.append(ImageScore(sample.name, plain, flipped, baseline))
    return scores


def summarize_scores(scores: Sequence[ImageScore], **facts: Any) -> dict[str, Any]:
    """Average over images, and add the facts of the measurement."""
    return {
        "count": len(scores),
        **facts,
        "protocols": average([score.plain for score in scores]),
        "protocols_flip": average([score.flipped for score in scores]),
        "protocols_mean_map": average([score.mean_map for score in scores]),
    }


def format_table(result: dict[str, Any]) -> str:
    """Format a result as a table for the terminal."""
    names = (*COLUMNS["eigen"], "ssim", "mse")
    lines = [f"{'protocol':22}" + "".join(f"{name:>9}" for name in names)]
    for key, ending in (("protocols", ""), ("protocols_mean_map", ", mean map"), ("protocols_flip", ", flipped")):
        found = result.get(key, {})
        for protocol in (name for name in COLUMNS if name in found and name in result["protocols"]):
            cells = (found[protocol].get(name) for name in names)
            lines.append(f"{protocol + ending:22}" + "".join(" " * 9 if c is None else f"{c:9.4f}" for c in cells))
    return "\n".join(lines)


def pick_examples(scores: Sequence[ImageScore]) -> list[tuple[str, int]]:
    """Pick the best, the median and the worst frame: (label, index), by RMSE, or AbsRel where there is no scale."""
    protocol, measure = ("eigen", "rmse_m") if "eigen" in scores[0].plain else ("eigen_median", "abs_rel")
    order = sorted(range(len(scores)), key=lambda index: scores[index].plain[protocol][measure])
    labels = zip(("best", "median", "worst"), (order[0], order[len(order) // 2], order[-1]), strict=True)
    return [(f"{label}: {measure} {scores[index].plain[protocol][measure]:.3f}", index) for label, index in labels]


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
    columns = [(protocol, measure) for protocol in scores[0].plain for measure in scores[0].plain[protocol]]
    with whole_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"{protocol}_{measure}" for protocol, measure in columns)])
        for score_ in scores:
            values = (score_.plain[protocol][measure] for protocol, measure in columns)
            writer.writerow([score_.name, *(f"{value:.6g}" for value in values)])
