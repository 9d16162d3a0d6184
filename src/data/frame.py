"""Geometry of a frame: how photo, depth and camera are resized for the network and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from src.conventions import IMAGE_SIZE_PX, NYU_INTRINSICS, Intrinsics

STRIDE_PX = 32
"""The network's coarsest stride: the sides of its input are multiples of it."""

SIDES_PX = (96, 448)
"""Smallest and largest side of an input. Below half or above twice the training size, the scale is lost."""


class NetworkInput(NamedTuple):
    """A photo at the network's size, and the factor that its predicted depth is multiplied by.

    **Shape**: image (h, w, 3) uint8, sides multiples of 32.
    """

    image: NDArray[np.uint8]
    scale: float


def to_network_input(image: NDArray[np.uint8], camera: Intrinsics) -> NetworkInput:
    """Resize a photo so that its focal length becomes that of the training camera, NYU's at 224x224.

    The network judges distance by apparent size, so an angle must cover as many pixels as in training. Where rounding
    and `SIDES_PX` prevent that, `scale` corrects the depth: a picture k times too large looks k times too near.

    **Shape**: (H, W, 3) -> (h, w, 3).
    **Source**: Yin et al. 2023, Metric3D, arXiv 2307.10984, section 3.1 (one canonical camera).
    """
    canonical = NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    ideal = (camera.width_px * canonical.fx_px / camera.fx_px, camera.height_px * canonical.fy_px / camera.fy_px)
    least, most = SIDES_PX
    fit = min(max(1.0, least / min(ideal)), most / max(ideal))
    width, height = (max(STRIDE_PX, round(side * fit / STRIDE_PX) * STRIDE_PX) for side in ideal)
    scale = math.sqrt(width / ideal[0] * height / ideal[1])
    return NetworkInput(shrink_image(image, width, height), scale)


def shrink_image(image: NDArray[np.uint8], width_px: int, height_px: int | None = None) -> NDArray[np.uint8]:
    """Resize a photo, antialiased: (H, W, 3) -> (height_px, width_px, 3) uint8, a square if no height is given."""
    size = width_px, height_px or width_px
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def shrink_depth(depth_m: NDArray[np.float32], valid: NDArray[np.bool_], size_px: int) -> NDArray[np.float32]:
    """Resize depth to a square as the photo is resized, from valid pixels only.

    **Shape**: (H, W), (H, W) -> (size_px, size_px).
    **Units**: metres; 0 where less than half of the weight falls on valid pixels.
    """
    stack = torch.from_numpy(np.stack([np.where(valid, depth_m, 0), valid]).astype(np.float32))
    total, share = F.interpolate(stack[None], (size_px, size_px), mode="bilinear", antialias=True)[0].numpy()
    return np.where(share > 0.5, total / np.maximum(share, 0.5), 0).astype(np.float32)


def enlarge_depth(depth: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    """Resize a depth map to its photo's size, bilinearly: (h, w) -> (height_px, width_px)."""
    grid = torch.from_numpy(depth)[None, None]
    return F.interpolate(grid, (height_px, width_px), mode="bilinear", align_corners=False)[0, 0].numpy()
