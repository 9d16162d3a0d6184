"""What is minimised: targets in the network's units, and losses over valid pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

Across = Callable[[Tensor], Tensor]
"""Turn a count of this process into its mean over all processes that train together."""


class Loss(Protocol):
    """(prediction, target, valid), each (B, 1, H, W) -> a scalar.

    Where several processes train, each has a share of the batch. With `across`, the mean of their losses is the
    loss of the whole batch: what one process sums is divided by what all of them count.
    """

    def __call__(self, prediction: Tensor, target: Tensor, valid: Tensor, across: Across = ..., /) -> Tensor: ...


def alone(count: Tensor) -> Tensor:
    """Leave a count as it is: the whole batch is here."""
    return count


def make_target(depth_m: Tensor, valid: Tensor, kind: str, max_depth_m: float) -> Tensor:
    """Turn metres into what the network is to say: near 0, far 1.

    `metric` divides by `max_depth_m`, the same for all images; `relative` by the image's own
    largest valid depth, as the original project did. (B, 1, H, W) -> (B, 1, H, W).
    """
    if kind == "metric":
        return depth_m / max_depth_m
    return depth_m / (depth_m * valid).amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def masked_mean(values: Tensor, valid: Tensor, dim: tuple[int, ...] | None = None, *, across: Across = alone) -> Tensor:
    """Average over valid elements; 0 where there is none."""
    return (values * valid).sum(dim=dim) / across(valid.sum(dim=dim)).clamp(min=1)


def mse(prediction: Tensor, target: Tensor, valid: Tensor, across: Across = alone) -> Tensor:
    """Mean squared error, the loss of the original project."""
    return masked_mean((prediction - target) ** 2, valid, across=across)


def mixed(prediction: Tensor, target: Tensor, valid: Tensor, across: Across = alone) -> Tensor:
    """Scale-invariant log error + 2 x absolute error + 2 x absolute error of the gradients.

    The log term weighs near and far alike, as AbsRel and delta do; the gradients sharpen edges.

    **Source**: Eigen, Puhrsch, Fergus 2014, arXiv 1406.2283, equation 4 with lambda = 0.5, its root taken;
    gradients: Hu et al. 2019, arXiv 1803.08673.
    """
    error = prediction - target
    log_error = prediction.clamp(min=1e-3).log() - target.clamp(min=1e-3).log()
    image = (1, 2, 3)
    spread = masked_mean(log_error**2, valid, image) - 0.5 * masked_mean(log_error, valid, image) ** 2
    whole = partial(masked_mean, across=across)
    rows = whole(error.diff(dim=3).abs(), valid[..., 1:] & valid[..., :-1])
    columns = whole(error.diff(dim=2).abs(), valid[..., 1:, :] & valid[..., :-1, :])
    return (spread + 1e-6).sqrt().mean() + 2 * whole(error.abs(), valid) + rows + columns


LOSSES: dict[str, Loss] = {"mse": mse, "mixed": mixed}
