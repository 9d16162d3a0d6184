"""Geometry of a frame: how the photo and depth of a known camera are resized for the network and back."""

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from src.conventions import IMAGE_SIZE_PX, NYU_INTRINSICS, Intrinsics

STRIDE_PX = 32  # the network's coarsest stride: the sides of its input are multiples of it

SIDES_PX = (96, 448)
"""Smallest and largest side of an input. Below half or above twice the training size, the scale is lost."""

TOWARDS_TRAINING_SIZE = 0.3
"""How far an input's size is moved from that at the training camera's pixels per degree, 0, to the training size, 1.

At the training camera's pixels per degree, a narrow view is a small input, without the context that the network was
trained with; at the training size, its objects are large. 0 against 0.3: on 83 NYU frames of held-out scenes cropped to
33 to 60 degrees, AbsRel 0.233 against 0.223 and d1 0.561 against 0.605 (nyu.yaml, seed 2); on 32 validation rooms of 40
to 90 degrees, weights of one run of best.yaml: 0.158 against 0.154, 0.779 against 0.800. 0.5 was worse on NYU.
"""

SCATTERED = 0.75
"""Depth whose cells are on average less filled than this is sparse, as of a LiDAR; NYU's are filled to 0.96."""


class Placement(NamedTuple):
    """How a frame reaches the network: the part that is used, its size there, and the scale of its depth.

    The network judges distance by apparent size. What is shown `scale` times as large as by the training camera looks
    `scale` times too near: metres = predicted depth x scale, and the depth to learn = metres / scale.
    """

    rows: slice
    columns: slice
    width_px: int
    height_px: int
    scale: float


def place(camera: Intrinsics, size_px: tuple[int, int] | None = None) -> Placement:
    """Choose the size at which a frame's focal length is near that of the training camera, NYU's at 224x224.

    The sides are multiples of 32 within `SIDES_PX`, the shorter one of a very long frame below; `scale`
    corrects for the rest. For a batch of one `size_px` (width, height), the frame is cropped to that aspect around its
    centre, and enlarged where it is smaller.

    **Source**: Yin et al. 2023, Metric3D, arXiv 2307.10984, section 3.1 (one canonical camera).
    """
    canonical = NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    density = canonical.fx_px / camera.fx_px, canonical.fy_px / camera.fy_px
    sides = camera.width_px, camera.height_px
    ideal = [side * ratio for side, ratio in zip(sides, density, strict=True)]
    least, most = SIDES_PX
    nearer = (IMAGE_SIZE_PX / math.sqrt(math.prod(ideal))) ** TOWARDS_TRAINING_SIZE
    fit = min(max(nearer, least / min(ideal)), most / max(ideal))
    own = [max(STRIDE_PX, round(side * fit / STRIDE_PX) * STRIDE_PX) for side in ideal]
    width, height = size_px or own
    zoom = max(1.0, width / own[0], height / own[1])
    used = [
        min(side, round(side * target / (zoom * size)))
        for side, target, size in zip(sides, (width, height), own, strict=True)
    ]
    left, top = ((side - part) // 2 for side, part in zip(sides, used, strict=True))
    scale = math.sqrt(width / (used[0] * density[0]) * height / (used[1] * density[1]))
    return Placement(slice(top, top + used[1]), slice(left, left + used[0]), width, height, round(scale, 9))


def common_size(cameras: Iterable[Intrinsics]) -> tuple[int, int]:
    """Choose the input size (width, height) in pixels of batches of frames: the median of the frames' own."""
    placements = [place(camera) for camera in cameras]
    width = statistics.median_low(placement.width_px for placement in placements)
    return width, statistics.median_low(placement.height_px for placement in placements)


def shrink_image(image: NDArray[np.uint8], width_px: int, height_px: int | None = None) -> NDArray[np.uint8]:
    """Resize a photo, antialiased: (H, W, 3) -> (height_px, width_px, 3) uint8, a square if no height is given."""
    size = width_px, height_px or width_px
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def shrink_depth(
    depth_m: NDArray[np.float32], valid: NDArray[np.bool_], width_px: int, height_px: int | None = None
) -> NDArray[np.float32]:
    """Resize depth as the photo is resized, from valid pixels only, to a square if no height is given.

    **Shape**: (H, W), (H, W) -> (height_px, width_px).
    **Units**: metres; 0 where less than half of the weight falls on valid pixels, in sparse depth where none does.
    """
    stack = torch.from_numpy(np.stack([np.where(valid, depth_m, 0), valid]).astype(np.float32))
    size = height_px or width_px, width_px
    total, share = F.interpolate(stack[None], size, mode="bilinear", antialias=True)[0]
    least = least_share(share[None])[0]
    return torch.where(share > least, total / share.clamp(min=1e-12), 0).numpy()


def least_share(share: torch.Tensor) -> torch.Tensor:
    """Return the share of valid weight that a cell must exceed: a half, in sparse depth 0.

    **Shape**: (B, ..., h, w) -> (B, ..., 1, 1).
    """
    filled = share.sum(dim=(-2, -1), keepdim=True) / (share > 0).sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    return torch.where(filled < SCATTERED, 0.0, 0.5)


def enlarge_depth(depth: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    """Resize a depth map to its photo's size, bilinearly: (h, w) -> (height_px, width_px)."""
    grid = torch.from_numpy(depth)[None, None]
    return F.interpolate(grid, (height_px, width_px), mode="bilinear", align_corners=False)[0, 0].numpy()
