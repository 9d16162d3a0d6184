"""Solids and a camera: exact depth by casting one ray through the centre of every pixel.

World: metres, x and y along the floor, z up, the room's inner corner at the origin. Every surface, walls included,
belongs to an upright box, or to a cylinder or an ellipsoid that fills one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from src.conventions import Intrinsics
from src.rooms.kernels.compilation import Floats, Integers, Vec3
from src.rooms.kernels.solids import SHAPES, Shape, Solids
from src.rooms.kernels.surfaces import PATTERNS, Materials
from src.rooms.kernels.tracing import trace_pixels
from src.rooms.textures import LATTICE, Material, mipmap


class Box(NamedTuple):
    """A solid that fills the space between two corners, in the frame of its piece. A cylinder is upright."""

    low: Vec3
    high: Vec3
    material: Material
    shape: Shape = "box"


@dataclass(frozen=True)
class Piece:
    """Boxes that move together: turned by `yaw_deg` about z (x towards y), then moved to `origin`."""

    boxes: tuple[Box, ...]
    origin: Vec3 = (0.0, 0.0, 0.0)
    yaw_deg: float = 0.0

    @cached_property
    def hull(self) -> Box:
        """The smallest box around all boxes, in the piece's own frame."""
        x, y, z = map(min, zip(*[box.low for box in self.boxes], strict=True))
        x2, y2, z2 = map(max, zip(*[box.high for box in self.boxes], strict=True))
        return Box((x, y, z), (x2, y2, z2), self.boxes[0].material)

    @cached_property
    def bounds(self) -> tuple[Vec3, Vec3]:
        """The bounds along the axes of the world."""
        return world_bounds(self.hull, self.origin, self.yaw_deg)

    def moved(self, origin: Vec3, yaw_deg: float) -> "Piece":
        """Return the piece at another pose; the hull, which is slow to compute, stays valid."""
        piece = replace(self, origin=origin, yaw_deg=yaw_deg)
        vars(piece)["hull"] = self.hull
        return piece


@lru_cache(maxsize=256)
def cos_sin(degrees: float) -> tuple[float, float]:
    """Return cosine and sine, rounded so that the last bit of a machine's libm does not matter."""
    return round(math.cos(math.radians(degrees)), 9), round(math.sin(math.radians(degrees)), 9)


def world_bounds(box: Box, origin: Vec3, yaw_deg: float) -> tuple[Vec3, Vec3]:
    """Bound a turned and moved box along the axes of the world."""
    (x, y, z), (cos, sin), (x0, y0, z0), (x1, y1, z1) = origin, cos_sin(yaw_deg), box.low, box.high
    # The extremes of cos x - sin y and sin x + cos y over the four corners.
    low_x, high_x = sorted((cos * x0, cos * x1))
    low_y, high_y = sorted((sin * y0, sin * y1))
    left, right = x + (low_x - high_y), x + (high_x - low_y)
    low_x, high_x = sorted((sin * x0, sin * x1))
    low_y, high_y = sorted((cos * y0, cos * y1))
    return (left, y + (low_x + low_y), z + z0), (right, y + (high_x + high_y), z + z1)


@dataclass(frozen=True)
class Camera:
    """Position and orientation: heading from x towards y, pitch downwards, roll clockwise."""

    position: Vec3
    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def axes(self) -> tuple[Vec3, Vec3, Vec3]:
        """Return right, down and forward: the camera's X, Y and Z in the world."""
        (c, s), (cp, sp), (cr, sr) = cos_sin(self.heading_deg), cos_sin(self.pitch_deg), cos_sin(self.roll_deg)
        right, down, forward = (s, -c, 0.0), (-c * sp, -s * sp, -cp), (c * cp, s * cp, -sp)
        rolled_right = (cr * right[0] + sr * down[0], cr * right[1] + sr * down[1], cr * right[2] + sr * down[2])
        rolled_down = (cr * down[0] - sr * right[0], cr * down[1] - sr * right[1], cr * down[2] - sr * right[2])
        return rolled_right, rolled_down, forward


def pack_solids(pieces: Sequence[Piece], dtype: type = np.float64) -> Solids:
    """Write pieces as arrays for the kernels, their boxes numbered in order."""
    boxes = [box for piece in pieces for box in piece.boxes]
    return Solids(
        np.array([(box.low, box.high) for box in boxes], dtype).reshape(-1, 2, 3),
        np.array([SHAPES.index(box.shape) for box in boxes], np.int64),
        np.array([(*cos_sin(piece.yaw_deg), *piece.origin) for piece in pieces], dtype).reshape(-1, 5),
        np.array([(piece.hull.low, piece.hull.high) for piece in pieces], dtype).reshape(-1, 2, 3),
        np.array([piece.bounds for piece in pieces], dtype).reshape(-1, 2, 3),
        np.cumsum([len(piece.boxes) for piece in pieces], dtype=np.int64),
    )


def pack_materials(pieces: Sequence[Piece]) -> Materials:
    """Write the materials of all boxes as arrays for the kernels."""
    materials = [box.material for piece in pieces for box in piece.boxes]
    return Materials(
        np.array([(material.colour, material.second) for material in materials], np.float64),
        np.array([PATTERNS.index(material.pattern) for material in materials], np.int64),
        np.array([material[3:] for material in materials], np.float64),
        LATTICE,
        mipmap(),
    )


def trace(solids: Solids, camera: Camera, intrinsics: Intrinsics) -> tuple[Floats, Integers]:
    """Find depth (H, W) along the optical axis, infinite where nothing is hit, and the number of the box, or -1."""
    lens = intrinsics.fx_px, intrinsics.fy_px, intrinsics.cx_px, intrinsics.cy_px
    return trace_pixels(solids, camera.position, camera.axes(), lens, intrinsics.height_px, intrinsics.width_px)


def camera_rays(camera: Camera, intrinsics: Intrinsics) -> Floats:
    """Return the rays (3, H, W) through the pixel centres in the world, one metre long along the optical axis."""
    x = (np.arange(intrinsics.width_px) - intrinsics.cx_px) / intrinsics.fx_px
    y = (np.arange(intrinsics.height_px) - intrinsics.cy_px) / intrinsics.fy_px
    right, down, forward = (np.array(axis)[:, None] for axis in camera.axes())
    columns, rows = (x * right).astype(np.float32), (y * down + forward).astype(np.float32)
    return columns[:, None, :] + rows[:, :, None]
