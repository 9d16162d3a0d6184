"""The protocols by which depth is reported. Their SSIM and RMSE differ, so each protocol has a name.

- `relative`, the original project's: depth divided by the image's own maximum, at 56x56; SSIM and MSE. A network
  trained on this target is scored raw, as in the original project; a metric prediction is divided by its own maximum
  first.
- `metric10`: depth in metres / 10, at 56x56; SSIM and MSE.
- `eigen`, the field's: metres at the frame's own size, cropped; AbsRel, RMSE, log10, delta 1 to 3. Truth counts up to
  the network's range, 10 m by default.
  `eigen_median` scales each prediction to the truth's median first: shape without scale.
- `fastdepth`, FastDepth's: the same measures at 224x224, of the middle of a 480x640 frame.
- `boundary`, Depth Pro's: whether steps in depth are where the truth has them, at 56x56; its F1 needs no scale.

Every measure is taken per image and averaged over images.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from src.conventions import MAX_DEPTH_M, MIN_DEPTH_M
from src.ssim import ssim

EIGEN_SIZE_PX = (480, 640)
EIGEN_CROP_PX = (45, 471, 41, 601)  # rows 45 to 471 and columns 41 to 601 of a 480x640 frame, the ends left out

DISTANCES_M = (0, 2, 4, 6, 10)
BOUNDARY_RATIOS = torch.linspace(1.05, 1.25, 10)  # of depths side by side, from which they count as a boundary

LEAST_DENSITY = 0.5  # share of the truth at 56x56 that is measured, from which its boundaries are known

Measures = dict[str, float]


def eigen(
    prediction_m: Tensor, truth_m: Tensor, *, max_depth_m: float = MAX_DEPTH_M, median_scaled: bool = False
) -> Measures:
    """Compare one prediction with a full-size truth by the protocol of Eigen et al.

    The prediction is resized bilinearly to the truth's size and clamped to [0.001, `max_depth_m`]. The crop was made
    for 480x640 and is scaled to other sizes. Only measured truth within that range counts.

    **Shape**: prediction_m (h, w), truth_m (H, W).
    **Units**: metres; truth 0 where nothing was measured.
    **Raises**: ValueError when no pixel of the crop was measured.
    **Source**: Eigen, Puhrsch, Fergus 2014, arXiv 1406.2283, section 4.
    """
    predicted, truth, _ = eigen_pixels(prediction_m, truth_m, max_depth_m)
    if median_scaled:
        predicted = predicted * median_ratio(predicted, truth)
    return measure_pixels(predicted.clamp(MIN_DEPTH_M, max_depth_m), truth)


def eigen_pixels(
    prediction_m: Tensor, truth_m: Tensor, max_depth_m: float = MAX_DEPTH_M
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels that `eigen` scores: predicted metres, not clamped yet, (N,), true ones, places (N, 2).

    A place is the row and the column as shares of the frame's height and width.

    **Raises**: ValueError when no pixel of the crop was measured.
    """
    measured = eigen_mask(truth_m, max_depth_m)
    if not measured.any():
        raise ValueError("got a frame without one measured pixel in the Eigen crop, expected some")
    places = measured.nonzero() / torch.tensor(truth_m.shape)
    return resize_depth(prediction_m, truth_m)[measured].double(), truth_m[measured].double(), places


def resize_depth(prediction_m: Tensor, truth_m: Tensor) -> Tensor:
    """Resize a prediction to the truth's size: (h, w), (H, W) -> (H, W)."""
    size = truth_m.shape[-2:]
    return F.interpolate(prediction_m[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]


def median_ratio(predicted: Tensor, truth: Tensor) -> float:
    """Return the factor that brings the prediction's median to the truth's: (N,), (N,)."""
    # numpy's: before torch 2.14, torch's refuses more than 2^24 values, a frame of 22 megapixels.
    return float(np.median(truth.numpy()) / max(np.median(predicted.numpy()), 1e-6))


def measure_pixels(predicted: Tensor, truth: Tensor) -> Measures:
    """Compute the measures of `eigen` over pixels: (N,), (N,) metres, all above 0."""
    ratio = torch.maximum(predicted / truth, truth / predicted)
    return {
        "abs_rel": ((predicted - truth).abs() / truth).mean().item(),
        "rmse_m": ((predicted - truth) ** 2).mean().sqrt().item(),
        "log10": (predicted.log10() - truth.log10()).abs().mean().item(),
        **{f"d{power}": (ratio < 1.25**power).double().mean().item() for power in (1, 2, 3)},
    }


def by_part(predicted: Tensor, truth: Tensor, places: Tensor, max_depth_m: float = MAX_DEPTH_M) -> dict[str, Measures]:
    """Measure the pixels of `eigen_pixels` by true distance and by thirds of the frame; parts without any are left out.

    **Shape**: (N,), (N,), (N, 2).
    """
    predicted = predicted.clamp(MIN_DEPTH_M, max_depth_m)
    edges = [*(edge for edge in DISTANCES_M if edge < max_depth_m), max_depth_m]
    parts = {f"{near:g}-{far:g} m": (truth >= near) & (truth < far) for near, far in pairwise(edges)}
    thirds = (places * 3).long()
    for axis, names in enumerate((("top", "middle", "bottom"), ("left", "centre", "right"))):
        parts |= {f"{name} third": thirds[:, axis] == index for index, name in enumerate(names)}
    return {name: measure_pixels(predicted[part], truth[part]) for name, part in parts.items() if part.any()}


def fastdepth(prediction_m: Tensor, truth_m: Tensor, max_depth_m: float = MAX_DEPTH_M) -> Measures:
    """Compare by FastDepth's protocol: (h, w), (480, 640) metres. Empty where no pixel has truth up to `max_depth_m`.

    Both are resized to 250 rows, cropped to 228x304 in the middle, resized to 224x224, by nearest neighbours.

    **Source**: Wofk et al. 2019, arXiv 1903.03273, and its code.
    **Differs**: the network sees the whole frame, FastDepth's the crop.
    """
    maps = torch.stack([resize_depth(prediction_m, truth_m), truth_m])[None]
    cropped = F.interpolate(maps, (250, 333))[..., 11:239, 14:318]
    predicted, truth = F.interpolate(cropped, (224, 224))[0].double()
    measured = (truth > 0) & (truth <= max_depth_m)
    if not measured.any():
        return {}
    return measure_pixels(predicted[measured].clamp(min=MIN_DEPTH_M), truth[measured])


def eigen_mask(truth_m: Tensor, max_depth_m: float = MAX_DEPTH_M) -> Tensor:
    """Mark the pixels that `eigen` scores: (H, W) metres -> (H, W) bool."""
    (height, width), mask = truth_m.shape, torch.zeros_like(truth_m, dtype=torch.bool)
    top, bottom, left, right = EIGEN_CROP_PX
    rows = slice(round(top * height / 480), round(bottom * height / 480))
    columns = slice(round(left * width / 640), round(right * width / 640))
    mask[rows, columns] = True
    return mask & (truth_m > MIN_DEPTH_M) & (truth_m < max_depth_m)


def ssim_mse(prediction: Tensor, target: Tensor, measured: Tensor) -> Measures:
    """SSIM (data range 1) and mean squared error of one image over its measured pixels.

    The SSIM of a dense truth is torchmetrics', as in the original project; that has no mask.

    **Shape**: three times (h, w).
    """
    maps = prediction.float()[None, None], target.float()[None, None]
    if measured.all():
        similarity = structural_similarity_index_measure(*maps, data_range=1.0)
        assert isinstance(similarity, Tensor)
    else:
        similarity = ssim(*maps, measured[None, None])
    squared = ((prediction - target) ** 2)[measured].sum().item()
    return {"ssim": similarity.item(), "mse": squared / max(int(measured.sum()), 1)}


def boundary_f1(prediction: Tensor, truth: Tensor, measured: Tensor) -> Measures:
    """Compare where depth changes between neighbouring pixels: the mean F1 over `BOUNDARY_RATIOS`, weighted by them.

    A frame without a boundary has 1 where none is predicted either.

    **Shape**: three times (h, w).
    **Source**: Bochkovskii et al. 2024, arXiv 2410.02073, section 3.3.
    """
    rows, columns = measured[1:] & measured[:-1], measured[:, 1:] & measured[:, :-1]
    steps = []
    for depth in (prediction, truth):
        logs = depth.float().clamp(min=1e-6).log()
        steps.append(torch.cat([logs.diff(dim=0)[rows], logs.diff(dim=1)[columns]]))
    least = BOUNDARY_RATIOS.log()[:, None]
    predicted, true = ((step.abs() > least) * step.sign() for step in steps)
    hits = ((predicted == true) & (true != 0)).sum(dim=1)
    count = (predicted != 0).sum(dim=1) + (true != 0).sum(dim=1)
    f1 = torch.where(count > 0, 2 * hits / count.clamp(min=1), 1.0)
    return {"f1": ((f1 * BOUNDARY_RATIOS).sum() / BOUNDARY_RATIOS.sum()).item()}


def score(
    prediction: Tensor,
    truth_m: Tensor,
    small_truth_m: Tensor,
    *,
    unit_m: float | None,
    max_depth_m: float = MAX_DEPTH_M,
) -> dict[str, Measures]:
    """Score one prediction by all protocols, on truth up to `max_depth_m`; `metric10` is defined for 10 m only.

    **Shape**: prediction (h, w), truth_m (H, W), small_truth_m (56, 56).
    **Units**: prediction in units of `unit_m` metres; None for a network of the relative target, for which only
    `relative`, `eigen_median` and `boundary` are defined, the latter for dense truth.
    """
    measured = small_truth_m > 0
    small = prediction
    if prediction.shape != small_truth_m.shape:
        small = F.interpolate(prediction[None, None], small_truth_m.shape, mode="bilinear", antialias=True)[0, 0]
    relative = small if unit_m is None else small / (small * measured).max().clamp(min=1e-6)
    metres = prediction * (unit_m or MAX_DEPTH_M)
    protocols = {
        "relative": ssim_mse(relative, relative_depth(small_truth_m), measured),
        "eigen_median": eigen(metres, truth_m, max_depth_m=max_depth_m, median_scaled=True),
    }
    if measured.float().mean() >= LEAST_DENSITY:
        protocols["boundary"] = boundary_f1(small, small_truth_m, measured)
    if unit_m is not None:
        protocols["eigen"] = eigen(metres, truth_m, max_depth_m=max_depth_m)
        if truth_m.shape == EIGEN_SIZE_PX and (measures := fastdepth(metres, truth_m, max_depth_m)):
            protocols["fastdepth"] = measures
        if max_depth_m == MAX_DEPTH_M:
            protocols["metric10"] = ssim_mse(small * unit_m / MAX_DEPTH_M, small_truth_m / MAX_DEPTH_M, measured)
    return protocols


def relative_depth(depth_m: Tensor) -> Tensor:
    """Divide depth by its own maximum: (h, w) metres -> (h, w) in [0, 1]."""
    return depth_m / depth_m.max().clamp(min=1e-6)


class MeanMap(NamedTuple):
    """The mean of training frames: a baseline that does not depend on the photo.

    **Shape**: metric_m and relative (h, w), of `frames` frames.
    **Units**: metres; shares of each frame's own maximum.
    """

    metric_m: Tensor
    relative: Tensor
    frames: int

    def score(self, small_truth_m: Tensor, max_depth_m: float = MAX_DEPTH_M) -> dict[str, Measures]:
        """Score the map as if it were the prediction for a frame; `metric10` is defined for 10 m only."""
        measured = small_truth_m > 0
        protocols = {"relative": ssim_mse(self.relative, relative_depth(small_truth_m), measured)}
        if max_depth_m == MAX_DEPTH_M:
            protocols["metric10"] = ssim_mse(self.metric_m / MAX_DEPTH_M, small_truth_m / MAX_DEPTH_M, measured)
        return protocols


def mean_map(depths_m: Iterable[Tensor]) -> MeanMap:
    """Average depth maps, each (h, w) in metres with 0 where nothing was measured, over their measured pixels.

    A pixel that no map measured, as in sparse depth, gets the mean of all.

    """
    maps = list(depths_m)
    metric_m = torch.stack(maps)
    relative = torch.stack([relative_depth(depth_m) for depth_m in maps])
    count = (metric_m > 0).sum(dim=0)
    metric_m, relative = (
        torch.where(count > 0, stack.sum(dim=0) / count.clamp(min=1), stack.sum() / count.sum())
        for stack in (metric_m, relative)
    )
    return MeanMap(metric_m, relative, len(maps))


def average(scores: Sequence[dict[str, Measures]]) -> dict[str, Measures]:
    """Average over images, protocol by protocol: those that all images have."""
    common = [protocol for protocol in scores[0] if all(protocol in score for score in scores)]
    return {protocol: average_measures([score[protocol] for score in scores]) for protocol in common}


def average_measures(measures: Sequence[Measures]) -> Measures:
    """Average each measure over images."""
    return {name: sum(values[name] for values in measures) / len(measures) for name in measures[0]}
