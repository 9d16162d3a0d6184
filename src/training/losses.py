"""Targets in the network's units, and losses over valid pixels."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from src.ssim import ssim

Average = Callable[[Tensor], Tensor] | None
"""Averages a count over all processes that train together: then the mean of their losses is the whole batch's loss."""

Loss = Callable[..., Tensor]  # (prediction, target, valid), each (B, 1, H, W), and optionally an `Average` -> a scalar


def make_target(depth_m: Tensor, valid: Tensor, kind: str, max_depth_m: float) -> Tensor:
    """Turn metres into the network's target: near 0, far 1.

    `metric` divides by `max_depth_m`, the same for all images; `relative` by the image's own largest valid depth, as
    the original project did. (B, 1, H, W) -> (B, 1, H, W).
    """
    if kind == "metric":
        return depth_m / max_depth_m
    return depth_m / (depth_m * valid).amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def masked_mean(
    values: Tensor, valid: Tensor, dim: tuple[int, ...] | None = None, *, average: Average = None
) -> Tensor:
    """Average over valid elements; 0 where there is none."""
    count = valid.sum(dim=dim)
    return (values * valid).sum(dim=dim) / (average(count) if average else count).clamp(min=1)


def mse(prediction: Tensor, target: Tensor, valid: Tensor, average: Average = None) -> Tensor:
    """Mean squared error, the loss of the original project."""
    return masked_mean((prediction - target) ** 2, valid, average=average)


def mixed(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    average: Average = None,
    *,
    invariance: float = 0.5,
    squared: float = 0.0,
    dissimilarity: float = 0.0,
) -> Tensor:
    """Log + 2 x absolute + gradients' absolute + `squared` x squared error + `dissimilarity` x (1 - SSIM).

    The log error weighs near and far alike, as AbsRel and delta do; with an `invariance` of 1, a common factor of all
    pixels counts nothing, with 0, as any other error. The gradients sharpen edges, and so does the SSIM.

    **Source**: Eigen, Puhrsch, Fergus 2014, arXiv 1406.2283, equation 4 with lambda = `invariance`, its root taken;
    gradients: Hu et al. 2019, arXiv 1803.08673; SSIM: Alhashim and Wonka 2018, arXiv 1812.11941, equation 4.
    """
    error = prediction - target
    log_error = prediction.clamp(min=1e-3).log() - target.clamp(min=1e-3).log()
    image = (1, 2, 3)
    variance = masked_mean(log_error**2, valid, image) - invariance * masked_mean(log_error, valid, image) ** 2
    batch_mean = partial(masked_mean, average=average)
    rows = batch_mean(error.diff(dim=3).abs(), valid[..., 1:] & valid[..., :-1])
    columns = batch_mean(error.diff(dim=2).abs(), valid[..., 1:, :] & valid[..., :-1, :])
    own = batch_mean(2 * error.abs() + squared * error**2, valid)
    value = (variance + 1e-6).sqrt().mean() + own + rows + columns
    if dissimilarity:
        value = value + dissimilarity * batch_mean(1 - ssim(prediction, target, valid), valid.flatten(1).any(dim=1))
    return value


LOSS_FUNCTIONS: dict[str, Loss] = {
    "mse": mse,
    "mixed": mixed,
    "mixed+mse": partial(mixed, squared=10),
    "mixed+mse+ssim": partial(mixed, squared=10, dissimilarity=0.5),
    "log+mse": partial(mixed, invariance=0, squared=10),
}
