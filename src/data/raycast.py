"""Solids and a camera: exact depth by casting one ray through the centre of every pixel.

World: metres, x and y along the floor, z up, the room's inner corner at the origin. Every surface belongs to a box,
or to a cylinder or an ellipsoid that fills one; boxes are upright and turned about z. Walls are boxes too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.data.textures import Floats, Material

Vec3 = tuple[float, float, float]

NEAR_M = 0.02
"""Nothing nearer to the camera is drawn."""

TINY = 1e-9
"""Keeps a ray along a face from dividing by zero; a millionth of a millimetre."""


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

    def enter(self, vector: Vec3) -> Vec3:
        """Rotate a world direction into the piece's frame."""
        cos, sin = turn(self.yaw_deg)
        return cos * vector[0] + sin * vector[1], cos * vector[1] - sin * vector[0], vector[2]

    def locate(self, point: Vec3) -> Vec3:
        """Express a world point in the piece's frame."""
        (x, y, z), (x0, y0, z0) = point, self.origin
        return self.enter((x - x0, y - y0, z - z0))

    @cached_property
    def hull(self) -> Box:
        """Bound all boxes by one, in the piece's own frame."""
        lows, highs = zip(*((box.low, box.high) for box in self.boxes), strict=True)
        (x, y, z), (x2, y2, z2) = map(min, zip(*lows, strict=True)), map(max, zip(*highs, strict=True))
        return Box((x, y, z), (x2, y2, z2), self.boxes[0].material)

    @cached_property
    def bounds(self) -> tuple[Vec3, Vec3]:
        """Bound the piece along the world's axes."""
        return enclose(self.hull, self.origin, self.yaw_deg)


def enclose(box: Box, origin: Vec3, yaw_deg: float) -> tuple[Vec3, Vec3]:
    """Bound a box along the world's axes, once it is turned and moved."""
    (x0, y0, z0), (cos, sin), low, high = origin, turn(yaw_deg), box.low, box.high
    xs = [cos * x - sin * y for x in (low[0], high[0]) for y in (low[1], high[1])]
    ys = [sin * x + cos * y for x in (low[0], high[0]) for y in (low[1], high[1])]
    return (x0 + min(xs), y0 + min(ys), z0 + low[2]), (x0 + max(xs), y0 + max(ys), z0 + high[2])


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks: heading from x towards y, pitch downwards, roll clockwise."""

    position: Vec3
    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def axes(self) -> tuple[Vec3, Vec3, Vec3]:
        """Give right, down and forward: the camera's X, Y and Z in the world."""
        (c, s), (cp, sp), (cr, sr) = turn(self.heading_deg), turn(self.pitch_deg), turn(self.roll_deg)
        right, down, forward = (s, -c, 0.0), (-c * sp, -s * sp, -cp), (c * cp, s * cp, -sp)
        rolled_right = (cr * right[0] + sr * down[0], cr * right[1] + sr * down[1], cr * right[2] + sr * down[2])
        rolled_down = (cr * down[0] - sr * right[0], cr * down[1] - sr * right[1], cr * down[2] - sr * right[2])
        return rolled_right, rolled_down, forward


def trace(pieces: Sequence[Piece], camera: Camera, intrinsics: Intrinsics) -> tuple[Floats, NDArray[np.int16]]:
    """Find at every pixel the first box and its depth.

    A ray's third camera coordinate is one, so the parameter along it is the depth itself.

    **Shape**: two (H, W): metres, infinite where nothing is hit; the box's number over all pieces, or -1.
    """
    depth_m = np.full((intrinsics.height_px, intrinsics.width_px), np.inf, np.float32)
    number = np.full(depth_m.shape, -1, np.int16)
    count = 0
    for piece in pieces:
        origin, axes = piece.locate(camera.position), [piece.enter(axis) for axis in camera.axes()]
        if _window(piece.hull, origin, axes, intrinsics) is None:
            count += len(piece.boxes)
            continue
        for box in piece.boxes:
            window = _window(box, origin, axes, intrinsics)
            if window is not None:
                near, far = cross(box, origin, invert(cast_rays(axes, intrinsics, *window)))
                first = (near <= far) & (near > NEAR_M) & (near < depth_m[window])
                np.copyto(depth_m[window], near, where=first)
                np.copyto(number[window], np.int16(count), where=first)
            count += 1
    return depth_m, number


def all_boxes(pieces: Sequence[Piece]) -> list[tuple[Piece, Box]]:
    """List the boxes in the order of their numbers."""
    return [(piece, box) for piece in pieces for box in piece.boxes]


def _window(box: Box, origin: Vec3, axes: Sequence[Vec3], intrinsics: Intrinsics) -> tuple[slice, slice] | None:
    """Bound the box in the image: rows and columns, or None when it lies outside."""
    columns, rows = [], []
    right, down, forward = axes
    for corner in product(*zip(box.low, box.high, strict=True)):
        x, y, z = corner[0] - origin[0], corner[1] - origin[1], corner[2] - origin[2]
        ahead = x * forward[0] + y * forward[1] + z * forward[2]
        if ahead > NEAR_M:
            columns.append((x * right[0] + y * right[1] + z * right[2]) / ahead)
            rows.append((x * down[0] + y * down[1] + z * down[2]) / ahead)
    if not columns:
        return None
    if len(columns) < 8:
        # A box that reaches behind the camera has no bounded picture: look everywhere.
        return slice(0, intrinsics.height_px), slice(0, intrinsics.width_px)
    top = max(0, math.floor(min(rows) * intrinsics.fy_px + intrinsics.cy_px))
    bottom = min(intrinsics.height_px, math.ceil(max(rows) * intrinsics.fy_px + intrinsics.cy_px) + 1)
    left = max(0, math.floor(min(columns) * intrinsics.fx_px + intrinsics.cx_px))
    right_end = min(intrinsics.width_px, math.ceil(max(columns) * intrinsics.fx_px + intrinsics.cx_px) + 1)
    return (slice(top, bottom), slice(left, right_end)) if top < bottom and left < right_end else None


def cast_rays(axes: Sequence[Vec3], intrinsics: Intrinsics, rows: slice, columns: slice) -> list[Floats]:
    """Give the rays through the pixel centres of a window, as x, y and z in the frame of the camera's axes."""
    x = (np.arange(columns.start, columns.stop) - intrinsics.cx_px) / intrinsics.fx_px
    y = (np.arange(rows.start, rows.stop) - intrinsics.cy_px) / intrinsics.fy_px
    along = [(x * right).astype(np.float32) for right in axes[0]]
    across = [(y * down + forward).astype(np.float32)[:, None] for down, forward in zip(*axes[1:], strict=True)]
    return [a + b for a, b in zip(along, across, strict=True)]


def invert(rays: Sequence[Floats]) -> list[Floats]:
    """Give one over the rays' coordinates."""
    return [np.divide(1, ray + TINY, dtype=np.float32) for ray in rays]


def cross(box: Box, origin: Vec3, inverse: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Find where rays from one origin enter and leave a solid; they miss it where they leave before they enter.

    `inverse` holds one over the rays' coordinates. **Source**: the slab method, Kay and Kajiya 1986.
    """
    if box.shape == "ellipsoid":
        return pierce(box, origin, inverse, 3)
    if box.shape == "cylinder":
        near, far = pierce(box, origin, inverse, 2)
        flat: tuple[int, ...] = (2,)
    else:
        near, far = slab(box, origin, inverse, 0)
        flat = (1, 2)
    for axis in flat:
        enter, leave = slab(box, origin, inverse, axis)
        near, far = np.maximum(near, enter, out=near), np.minimum(far, leave, out=far)
    return near, far


def pierce(box: Box, origin: Vec3, inverse: Sequence[Floats], axes: int) -> tuple[Floats, Floats]:
    """Find where rays enter and leave the ellipse (2 axes, any height) or ellipsoid (3) that fills a box."""
    # In units of its half axes, the solid is a circle or a ball around 0.
    half = [(high - low) / 2 for low, high in zip(box.low, box.high, strict=True)][:axes]
    start = [np.float32((o - low) / h - 1) for o, low, h in zip(origin, box.low, half, strict=False)]
    ray = [np.divide(1, one * np.float32(h), dtype=np.float32) for one, h in zip(inverse, half, strict=False)]
    square, ahead, aside = ray[0] * ray[0], start[0] * ray[0], start[0] * ray[1] - start[1] * ray[0]
    square, ahead, aside = square + ray[1] * ray[1], ahead + start[1] * ray[1], aside * aside
    if axes == 3:
        square, ahead = square + ray[2] * ray[2], ahead + start[2] * ray[2]
        for one, other in ((1, 2), (2, 0)):
            part = start[one] * ray[other] - start[other] * ray[one]
            aside = aside + part * part
    # The squared root of the quadratic equation, by Lagrange's identity: no difference of large numbers.
    root = square - aside
    missed = root < 0
    root = np.sqrt(np.where(missed, 0, root))
    near, far = (-ahead - root) / square, (-ahead + root) / square
    near[missed], far[missed] = np.inf, -np.inf
    return near, far


def slab(box: Box, origin: Vec3, inverse: Sequence[Floats], axis: int) -> tuple[Floats, Floats]:
    """Find where rays enter and leave the space between a box's two faces across one axis."""
    one = (box.low[axis] - origin[axis]) * inverse[axis]
    other = (box.high[axis] - origin[axis]) * inverse[axis]
    return np.minimum(one, other), np.maximum(one, other, out=other)
