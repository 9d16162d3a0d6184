"""The words that every wing shares: sizes, ranges, the camera, and the one error a user may see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE_PX = 224
"""Side of the square RGB input."""

DEPTH_SIZE_PX = 56
"""Side of the square depth output: a quarter of the input."""

MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 10.0
"""NYU Depth V2 ends just below 10 m; the metric target is depth / MAX_DEPTH_M."""


class UserError(Exception):
    """A mistake the user can mend. The message says what was got, what was expected, what to do."""


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

    def resized(self, width_px: int, height_px: int) -> Intrinsics:
        """Describe the same camera after its frame was resized, each axis on its own."""
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
        """Place each pixel in space: (H, W) metres along the axis -> (H, W, 3) metres, X right, Y down, Z forward.

        **Raises**: ValueError when these are not frames of that size.
        """
        height, width = depth_m.shape
        if (self.width_px, self.height_px) != (width, height):
            raise ValueError(f"got a camera of {self.width_px}x{self.height_px} px, expected {width}x{height}")
        x = (np.arange(width, dtype=np.float32) - self.cx_px) / self.fx_px
        y = (np.arange(height, dtype=np.float32) - self.cy_px) / self.fy_px
        return np.stack([x[None] * depth_m, y[:, None] * depth_m, depth_m], axis=-1)

    @classmethod
    def of(cls, width_px: int, height_px: int, focal_px: float) -> Intrinsics:
        """Describe a camera with square pixels that looks through the middle of its frame."""
        return cls(focal_px, focal_px, (width_px - 1) / 2, (height_px - 1) / 2, width_px, height_px)


NYU_INTRINSICS = Intrinsics(518.86, 519.47, 325.58, 253.74, 640, 480)
"""The Kinect's RGB camera, from the toolbox of Silberman et al., ECCV 2012."""
