"""What all packages share: sizes, ranges, the camera, frames and batches, and the error shown to users."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes a second to import
    import torch
    from torch import Tensor

IMAGE_SIZE_PX = 224
"""Side of the square RGB input."""

DEPTH_SIZE_PX = 56
"""Side of the square depth output: a quarter of the input."""

MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 10.0
"""NYU Depth V2 ends just below 10 m; the metric target is depth / MAX_DEPTH_M."""

MOST_PNG_M = 65.535
"""What a 16-bit PNG in millimetres can hold."""


ANGLES = "3.2 to 179 degrees (not radians)"


def is_angle(degrees: object) -> bool:
    """Tell whether an angle of view is one of `ANGLES`; 3.14 and less are radians."""
    return isinstance(degrees, int | float | np.number) and bool(3.2 <= degrees <= 179)


class UserError(Exception):
    """A mistake that the user can fix. The message says what was got, what was expected, what to do."""

    status = 2  # of a script that it ends


class Diverged(UserError):
    """Loss, gradient or weights did not stay finite: the learning rate was too high, or frames are bad."""

    status = 3


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion, in pixels of a `width_px` x `height_px` frame.

    The centre of the top left pixel is (0, 0), so a point (X, Y, Z) in metres, with X right,
    Y down and Z forward, falls on column `fx_px * X / Z + cx_px`.
    """

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int

    @property
    def fov_deg(self) -> float:
        """Return the angle of view along the longer side."""
        return math.degrees(2 * math.atan(max(self.width_px / self.fx_px, self.height_px / self.fy_px) / 2))

    def resized(self, width_px: int, height_px: int) -> Intrinsics:
        """Return the camera of the resized frame; the axes may be scaled differently."""
        x, y = width_px / self.width_px, height_px / self.height_px
        return replace(
            self,
            fx_px=self.fx_px * x,
            fy_px=self.fy_px * y,
            cx_px=(self.cx_px + 0.5) * x - 0.5,
            cy_px=(self.cy_px + 0.5) * y - 0.5,
            width_px=width_px,
            height_px=height_px,
        )

    def unproject(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """Back-project each pixel: (H, W) metres along the axis -> (H, W, 3) metres, X right, Y down, Z forward.

        **Raises**: ValueError when the depth has another size than the camera's frame.
        """
        height, width = depth_m.shape
        if (self.width_px, self.height_px) != (width, height):
            raise ValueError(f"got a camera of {self.width_px}x{self.height_px} px, expected {width}x{height}")
        x = (np.arange(width, dtype=np.float32) - self.cx_px) / self.fx_px
        y = (np.arange(height, dtype=np.float32) - self.cy_px) / self.fy_px
        return np.stack([x[None] * depth_m, y[:, None] * depth_m, depth_m], axis=-1)

    @classmethod
    def of(cls, width_px: int, height_px: int, focal_px: float) -> Intrinsics:
        """Make a camera with square pixels and its principal point in the middle of the frame."""
        return cls(focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2, width_px, height_px)


NYU_INTRINSICS = Intrinsics(518.86, 519.47, 325.58, 253.74, 640, 480)
"""The Kinect's RGB camera, from the toolbox of Silberman et al., ECCV 2012."""


class Frame(NamedTuple):
    """A photo and, at each of its pixels, the distance along the optical axis.

    **Shape**: image (H, W, 3) uint8; depth_m (H, W) float32; valid (H, W) bool.
    **Units**: metres; 0 where nothing was measured. `valid` marks the pixels to learn from.
    """

    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    valid: NDArray[np.bool_]
    camera: Intrinsics


class Pairs(Protocol):
    """A source of frames: their names, their scenes, and the frames, in order."""

    @property
    def names(self) -> Sequence[str]:
        """One per frame, for messages and result files."""

    @property
    def scenes(self) -> Sequence[str]:
        """One per frame: frames of one scene are near-copies and belong to one split."""

    @property
    def cameras(self) -> Sequence[Intrinsics]:
        """The cameras of a sample of the frames."""

    @property
    def summary(self) -> str:
        """What a sample of the frames holds, in one line: encoding, range and camera."""

    @property
    def fingerprint(self) -> str:
        """The cache's key: changes when the frames change."""

    @property
    def identity(self) -> str:
        """The same on every machine, whatever the root folder and the times of the files."""

    @property
    def keys(self) -> Sequence[str]:
        """Of each frame from files, by which it is known in copies of the data set; none of generated rooms."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...


class Batch(NamedTuple):
    """A batch of photos and their depth.

    **Shape**: image (B, 3, H, W); depth_m (B, 1, h, w) float32; valid (B, 1, h, w) bool; scale (B,).
    **Units**: RGB uint8 or float in [0, 1]; metres at the training camera's focal length, 0 where invalid; times
    `scale`, metres of the frame's own camera, see `src.data.frame.place`.
    """

    image: Tensor
    depth_m: Tensor
    valid: Tensor
    scale: Tensor | float = 1.0

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """Copy the tensors to a device."""
        image, depth_m, valid = (x.to(device, non_blocking=non_blocking) for x in self[:3])
        scale = self.scale if isinstance(self.scale, float) else self.scale.to(device, non_blocking=non_blocking)
        return Batch(image, depth_m, valid, scale)


class Sample(NamedTuple):
    """One frame for evaluation: small for the network and the protocols at 56x56, whole for `eigen`.

    **Shape**: image (1, 3, h, w) uint8, truth_m (H, W), small_truth_m (56, 56).
    **Units**: metres; 0 where nothing was measured, in the small truth also beyond the range that is scored. Predicted
    depth times `scale` is metres. NYU's in-painted border counts as measured, as in the work that is compared with;
    the Eigen crop leaves it out anyway.
    """

    name: str
    image: Tensor
    truth_m: Tensor
    small_truth_m: Tensor
    scale: float = 1.0
