"""Paired augmentation: photo, depth and mask are stacked, transformed once, and split again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.conventions import DEPTH_SIZE_PX, IMAGE_SIZE_PX, Batch
from src.data.frame import least_share


class Augmentation(NamedTuple):
    """The range of each random change. `Augmentation.none()` changes nothing."""

    flip: float = 0.5  # probability of a mirror image
    zoom: float = 0.65  # smallest side of the crop, as a share of the frame's; the largest is 1
    rotation_deg: float = 5.0
    gamma: float = 1.25  # this and the next two are factors, as likely to divide as to multiply
    gain: float = 1.15  # of each colour channel separately
    brightness: float = 1.2
    contrast: float = 1.0  # a factor too; 1.4 with `colour`
    saturation: float = 0.0  # largest change, as a share; 0.6 with `colour`

    @classmethod
    def none(cls) -> Augmentation:
        """Leave every frame unchanged."""
        return cls(flip=0, zoom=1, rotation_deg=0, gamma=1, gain=1, brightness=1)

    def only(self, names: Sequence[str]) -> Augmentation:
        """Keep the changes of these names: flip, zoom, rotate, light; `colour` is added."""
        parts = {"rotate": ["rotation_deg"], "light": ["gamma", "gain", "brightness"], "colour": []}
        fields = [field for name in names for field in parts.get(name, [name])]
        kept = Augmentation.none()._replace(**{field: getattr(self, field) for field in fields})
        return kept._replace(contrast=1.4, saturation=0.6) if "colour" in names else kept


def augment(
    batch: Batch,
    augmentation: Augmentation,
    *,
    aspect: float,
    generator: torch.Generator,
    size_px: tuple[int, int] = (IMAGE_SIZE_PX, IMAGE_SIZE_PX),
    first: int = 0,
    count: int | None = None,
) -> Batch:
    """Transform a packed batch at random and resize it to the input of the network, `size_px` (width, height).

    A crop of side `s` shows things 1/s times as large, as the camera would from s times the distance: metric depth
    is multiplied by s. A batch that holds frames `first` to `first` + B of a larger one of `count` is transformed as
    that one would be.

    **Shape**: image (B, 3, H, W) uint8, depth and mask (B, 1, H/k, W/k) ->
    image (B, 3, h, w) in [0, 1], depth and mask (B, 1, h/4, w/4).
    **Units**: metres; `aspect` is width / height of the frames before they were resized.
    """
    size, device = len(batch.image), batch.image.device
    draws = draw(count or size, augmentation, aspect=aspect, generator=generator)
    mine = (values[first : first + size] for values in draws)
    theta, side, *light = (values.to(device, non_blocking=True) for values in mine)  # else the host would wait
    warped = transform(batch, theta, size_px)
    image = relight(warped.image, *(values[..., None, None] for values in light))
    return warped._replace(image=image, depth_m=warped.depth_m * side.view(-1, 1, 1, 1))


def draw(count: int, augmentation: Augmentation, *, aspect: float, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw a flip, crop, rotation, light and, where asked for, colour per frame.

    **Shape**: affine maps from output to input (B, 2, 3), sides of the crops (B,), gamma (B, 1), gain (B, 3), and
    perhaps contrast and saturation (B, 1).
    """
    chance, size, across, down, turn = torch.rand(5, count, generator=generator)
    mirror = 1 - 2 * (chance < augmentation.flip).float()
    side = augmentation.zoom + (1 - augmentation.zoom) * size
    angle = (2 * turn - 1) * math.radians(augmentation.rotation_deg)
    # Coordinates run from -1 to 1 along both axes; `aspect` makes the rotation one of the frame before resizing.
    rows = [
        torch.stack([side * mirror * angle.cos(), -side * angle.sin() / aspect, (1 - side) * (2 * across - 1)], dim=1),
        torch.stack([side * mirror * angle.sin() * aspect, side * angle.cos(), (1 - side) * (2 * down - 1)], dim=1),
    ]
    exponents = 2 * torch.rand(count, 5, generator=generator) - 1
    gamma = augmentation.gamma ** exponents[:, :1]
    gain = augmentation.gain ** exponents[:, 1:4] * augmentation.brightness ** exponents[:, 4:]
    if augmentation.contrast == 1 and augmentation.saturation == 0:
        return torch.stack(rows, dim=1), side, gamma, gain
    exponent, share = 2 * torch.rand(2, count, 1, generator=generator) - 1
    colour = augmentation.contrast**exponent, 1 + augmentation.saturation * share
    return torch.stack(rows, dim=1), side, gamma, gain, *colour


def relight(image: Tensor, gamma: Tensor, gain: Tensor, *colour: Tensor) -> Tensor:
    """Change the light of photos in [0, 1], then perhaps contrast about the mean and saturation about grey."""
    image = (image**gamma * gain).clamp(0, 1)
    for factor, dims in zip(colour, ((1, 2, 3), (1,)), strict=False):
        mean = image.mean(dims, keepdim=True)
        image = (mean + factor * (image - mean)).clamp(0, 1)
    return image


def transform(batch: Batch, theta: Tensor, size_px: tuple[int, int] = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)) -> Batch:
    """Apply one affine map per frame to the stack of photo, depth and mask, which get the size `size_px`.

    Depth is multiplied by its mask before and divided by it after, so that invalid pixels, and those outside of the
    frame, never blend into valid ones.
    """
    size = batch.image.shape[-2:]
    depth = torch.cat([batch.depth_m * batch.valid, batch.valid.float()], dim=1)
    stack = torch.cat([batch.image.float() / 255, F.interpolate(depth, size, mode="nearest")], dim=1)

    grid = F.affine_grid(theta, [len(stack), 5, size_px[1], size_px[0]], align_corners=False)
    stack = F.grid_sample(stack, grid, align_corners=False)

    image, depth = stack[:, :3], F.avg_pool2d(stack[:, 3:], IMAGE_SIZE_PX // DEPTH_SIZE_PX)
    total, share = depth.split(1, dim=1)
    valid = share > least_share(share)
    depth_m = torch.where(valid, total / share.clamp(min=1e-12), 0)
    return batch._replace(image=image, depth_m=depth_m, valid=valid)
