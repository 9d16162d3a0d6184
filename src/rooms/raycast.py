"""Solids and a camera: exact depth by casting one ray through the centre of every pixel.

World: metres, x and y along the floor, z up, the room's inner corner at the origin. Every surface belongs to a box,
or to a cylinder or an ellipsoid that fills one; boxes are upright and turned about z. Walls are boxes too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.rooms import kernels
from src.rooms.kernels import SHAPES, Floats, Solids, View
from src.rooms.textures import Material

Vec3 = tuple[float, float, float]


@lru_cache(maxsize=256)
def turn(degrees: float) -> tuple[float, float]:
    """Give cosine and sine, rounded so that the last bit of a machine's libm cannot show."""
    return round(math.cos(math.radians(degrees)), 9), round(math.sin(math.radians(degrees)), 9)


Shape = Literal["box", "cylinder", "ellipsoid"]


class Box(NamedTuple):
    """A solid between two corners, in the frame of its piece: all of the box, or what is round and touches its faces.

    A cylinder stands upright.
    """

    low: Vec3
    high: Vec3
    material: Material
    shape: Shape = "box"


@dataclass(frozen=True)
class Piece:
    """Boxes that move as one: turned by `yaw_deg` about z (x towards y), then moved to `origin`."""

    boxes: tuple[Box, ...]
    origin: Vec3 = (0.0, 0.0, 0.0)
    yaw_deg: float = 0.0

    @cached_property
    def hull(self) -> Box:
        """Bound all boxes by one, in the piece's own frame."""
        x, y, z = map(min, zip(*[box.low for box in self.boxes], strict=True))
        x2, y2, z2 = map(max, zip(*[box.high for box in self.boxes], strict=True))
        return Box((x, y, z), (x2, y2, z2), self.boxes[0].material)

    @cached_property
    def bounds(self) -> tuple[Vec3, Vec3]:
        """Bound the piece along the world's axes."""
        return enclose(self.hull, self.origin, self.yaw_deg)

    def put(self, origin: Vec3, yaw_deg: float) -> Piece:
        """Turn and move it. In its own frame nothing changes: the hull, which takes long to find, is kept."""
        moved = replace(self, origin=origin, yaw_deg=yaw_deg)
        vars(moved)["hull"] = self.hull
        return moved


def enclose(box: Box, origin: Vec3, yaw_deg: float) -> tuple[Vec3, Vec3]:
    """Bound a box along the world's axes, once it is turned and moved."""
    (x, y, z), (cos, sin), (x0, y0, z0), (x1, y1, z1) = origin, turn(yaw_deg), box.low, box.high
    # The extremes of cos x - sin y and sin x + cos y over the four corners.
    low_x, high_x = sorted((cos * x0, cos * x1))
    low_y, high_y = sorted((sin * y0, sin * y1))
    left, right = x + (low_x - high_y), x + (high_x - low_y)
    low_x, high_x = sorted((sin * x0, sin * x1))
    low_y, high_y = sorted((cos * y0, cos * y1))
    return (left, y + (low_x + low_y), z + z0), (right, y + (high_x + high_y), z + z1)


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks: heading from x towards y, pitch downwards, roll clockwise."""

    position: Vec3
    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def view(self, intrinsics: Intrinsics) -> View:
        """Describe it for the kernels."""
        lens = intrinsics.fx_px, intrinsics.fy_px, intrinsics.cx_px, intrinsics.cy_px
        return View(self.position, self.axes(), lens)

    def axes(self) -> tuple[Vec3, Vec3, Vec3]:
        """Give right, down and forward: the camera's X, Y and Z in the world."""
        (c, s), (cp, sp), (cr, sr) = turn(self.heading_deg), turn(self.pitch_deg), turn(self.roll_deg)
        right, down, forward = (s, -c, 0.0), (-c * sp, -s * sp, -cp), (c * cp, s * cp, -sp)
        rolled_right = (cr * right[0] + sr * down[0], cr * right[1] + sr * down[1], cr * right[2] + sr * down[2])
        rolled_down = (cr * down[0] - sr * right[0], cr * down[1] - sr * right[1], cr * down[2] - sr * right[2])
        return rolled_right, rolled_down, forward


def line_up(pieces: Sequence[Piece]) -> Solids:
    """Write all pieces as arrays for the kernels, their boxes numbered in order."""
    boxes = all_boxes(pieces)
    bounds = [(piece.hull.low, piece.hull.high, *piece.bounds) for piece in pieces]
    hulls = np.array(bounds, np.float64).reshape(-1, 2, 2, 3)
    return Solids(
        np.array([(box.low, box.high) for box in boxes], np.float64).reshape(-1, 2, 3),
        np.array([SHAPES.index(box.shape) for box in boxes], np.int64),
        np.array([(*turn(piece.yaw_deg), *piece.origin) for piece in pieces], np.float64).reshape(-1, 5),
        np.ascontiguousarray(hulls[:, 0]),
        np.ascontiguousarray(hulls[:, 1]),
        np.cumsum([len(piece.boxes) for piece in pieces], dtype=np.int64),
    )


def all_boxes(pieces: Sequence[Piece]) -> list[Box]:
    """List the boxes in the order of their numbers."""
    return [box for piece in pieces for box in piece.boxes]


def trace(solids: Solids, camera: Camera, intrinsics: Intrinsics) -> tuple[Floats, NDArray[np.int16]]:
    """Find at every pixel the first box and its depth.

    A ray's third camera coordinate is one, so the parameter along it is the depth itself.

    **Shape**: two (H, W): metres, infinite where nothing is hit; the box's number over all pieces, or -1.
    """
    return kernels.trace(solids, camera.view(intrinsics), intrinsics.height_px, intrinsics.width_px)


def cast_rays(camera: Camera, intrinsics: Intrinsics) -> Floats:
    """Give the rays through the pixel centres, in the world, one metre along the optical axis.

    **Shape**: (3, H, W).
    """
    x = (np.arange(intrinsics.width_px) - intrinsics.cx_px) / intrinsics.fx_px
    y = (np.arange(intrinsics.height_px) - intrinsics.cy_px) / intrinsics.fy_px
    right, down, forward = (np.array(axis)[:, None] for axis in camera.axes())
    along, across = (x * right).astype(np.float32), (y * down + forward).astype(np.float32)
    return along[:, None, :] + across[:, :, None]
