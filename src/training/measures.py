"""The measures that are logged while training: SSIM, RMSE, AbsRel and d1 at the network's output size."""

import torch
from torch import Tensor

from src.ssim import ssim
from src.training.losses import masked_mean

MEASURES = ("ssim", "rmse", "abs_rel", "d1")


@torch.no_grad()
def measure_images(prediction: Tensor, target: Tensor, valid: Tensor, unit: Tensor | float = 1.0) -> Tensor:
    """Compute `MEASURES` of each image over its valid pixels.

    **Shape**: three times (B, 1, h, w), and `unit` a number or (B,) -> (4, B).
    **Units**: near 0, far 1; RMSE times `unit`.
    """
    prediction = prediction.float()
    ratio = prediction.clamp(min=1e-3) / target.clamp(min=1e-3)
    errors = (prediction - target) ** 2, (ratio - 1).abs(), (torch.maximum(ratio, 1 / ratio) < 1.25).float()
    squared, relative, close = (masked_mean(error, valid, (1, 2, 3)) for error in errors)
    return torch.stack([ssim(prediction, target, valid), squared.sqrt() * unit, relative, close])
