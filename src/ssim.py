"""Structural similarity of two maps over their valid pixels."""

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

WINDOW_PX, SIGMA_PX = 11, 1.5
LEAST_WEIGHT = 1e-6  # of the valid pixels in a window, which is divided by it


def ssim(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean SSIM over each image's valid pixels, for values from 0 to 1; 0 without any.

    Means, variances and the covariance of a window are those of its valid pixels: a hole in the truth neither adds
    similarity, as equal zeros in both maps would, nor edges. Without holes it is torchmetrics' SSIM.

    **Shape**: three times (B, 1, h, w), h and w at least 6 -> (B,).
    **Source**: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    mask = valid.float()
    x, y = prediction.float() * mask, target.float() * mask
    maps = torch.cat([mask, x, y, x * x, y * y, x * y], dim=1)
    weight, *sums = gaussian_blur(maps, [WINDOW_PX, WINDOW_PX], [SIGMA_PX, SIGMA_PX]).split(1, dim=1)
    x_mean, y_mean, xx, yy, xy = (total / weight.clamp(min=LEAST_WEIGHT) for total in sums)
    variances = (xx - x_mean**2).clamp(min=0) + (yy - y_mean**2).clamp(min=0)
    luminance = (2 * x_mean * y_mean + 0.01**2) / (x_mean**2 + y_mean**2 + 0.01**2)
    structure = (2 * (xy - x_mean * y_mean) + 0.03**2) / (variances + 0.03**2)
    return (luminance * structure * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp(min=1)
