"""Light in a room: lamps, shadows, the darkness of corners; a photo beside its exact depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.conventions import MAX_DEPTH_M, Intrinsics
from src.data.frame import Frame
from src.data.raycast import TINY, Box, Camera, Piece, Vec3, all_boxes, cast_rays, cross, invert, slab, trace, turn
from src.data.textures import RGB, Film, Floats, blend

MARGIN = 1e-3
"""Widens what a piece may cover as seen from a lamp, so that rounding loses none of its shadow."""

SHADOW_START = 0.998
"""A surface does not shade itself: a shadow's caster lies before this share of the way from the lamp."""

CORNER_REACH_M = 0.6
CORNER_SHADE = 0.35
"""Ambient light falls by this share towards a wall, a floor or a ceiling, from this distance on."""

LAMP_SIZE_M2 = 0.6
"""Softens the inverse square close to a lamp, which is no point."""


@dataclass(frozen=True)
class Lamp:
    """A point that lights all directions; `power` is what a facing white surface gets at 1 m."""

    position: Vec3
    power: RGB


@dataclass(frozen=True)
class Room:
    """All that a frame shows. The shell (walls, floor, ceiling) throws no shadows: lamps hang inside it."""

    size_m: Vec3
    shell: Piece
    pieces: tuple[Piece, ...]
    lamps: tuple[Lamp, ...]
    ambient: RGB
    camera: Camera
    film: Film
    softness: float = 0.0
    """Over how much of the picture's height the edge of a shadow fades."""


def render(room: Room, intrinsics: Intrinsics) -> Frame:
    """Take a photo of the room with its exact depth along the optical axis."""
    pieces = (room.shell, *room.pieces)
    depth_m, number = trace(pieces, room.camera, intrinsics)
    image = room.film.develop(_light(room, depth_m, number, intrinsics))
    seen = number >= 0
    return Frame(image, np.where(seen, depth_m, np.float32(0)), seen & (depth_m <= MAX_DEPTH_M))


def _light(room: Room, depth_m: Floats, number: NDArray[np.int16], intrinsics: Intrinsics) -> Floats:
    """Light every pixel: ambient, darker in corners, and each lamp where no box stands in its way.

    **Shape**: (3, H, W), linear; black where nothing is hit.
    """
    # In the order of their boxes, the pixels of one material lie side by side.
    order = np.argsort(number.ravel(), kind="stable")
    order = order[int((number < 0).sum()) :]
    distance = depth_m.ravel()[order]
    whole = slice(0, intrinsics.height_px), slice(0, intrinsics.width_px)
    rays = [ray.ravel()[order] for ray in cast_rays(room.camera.axes(), intrinsics, *whole)]
    albedo, normal, glow = _surfaces(room, rays, distance, np.bincount(number.ravel()[order]), intrinsics)

    points = [start + ray * distance for start, ray in zip(room.camera.position, rays, strict=True)]
    open_sky = 0.75 + 0.25 * normal[2]
    for point, side in zip(points, room.size_m, strict=True):
        near = np.clip(np.minimum(point, side - point) / CORNER_REACH_M, 0, 1)
        open_sky *= 1 - CORNER_SHADE * (1 - near) * (1 - near)
    light = [level * open_sky for level in room.ambient]
    reach_px = int(room.softness * intrinsics.height_px / 2 + 0.5)
    for lamp in room.lamps:
        to = [point - start for point, start in zip(points, lamp.position, strict=True)]
        square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
        facing = -(to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2])
        lit = np.flatnonzero(facing > 0)
        dark = np.zeros(depth_m.size, np.int32)
        dark[order[lit]] = _shadowed(room.pieces, lamp.position, [axis[lit] for axis in to])
        open_way = 1 - _fade(dark.reshape(depth_m.shape), reach_px).ravel()[order[lit]]
        reaching = facing[lit] * open_way / (np.sqrt(square[lit]) * (square[lit] + LAMP_SIZE_M2))
        for channel, power in zip(light, lamp.power, strict=True):
            channel[lit] += power * reaching
    image = np.zeros((3, depth_m.size), np.float32)
    for plane, channel, colour in zip(image, light, albedo, strict=True):
        plane[order] = (channel + glow) * colour
    return image.reshape(3, *depth_m.shape)


def _fade(dark: NDArray[np.int32], reach_px: int) -> Floats:
    """Average a mask over a square around each pixel. Sums of integers come out the same everywhere.

    **Shape**: (H, W) -> the same.
    """
    side = 2 * reach_px + 1
    if reach_px:
        for _ in range(2):
            padded = np.pad(dark.T, ((reach_px + 1, reach_px), (0, 0)), mode="edge")
            total = padded.cumsum(axis=0, dtype=np.int32)
            dark = total[side:] - total[:-side]
    return dark.astype(np.float32) * np.float32(1 / (side * side))


def _surfaces(
    room: Room, rays: Sequence[Floats], distance: Floats, counts: NDArray[np.intp], intrinsics: Intrinsics
) -> tuple[Floats, Floats, Floats]:
    """Look up colour, normal and glow of the pixels, which come box by box, `counts` of each.

    **Shape**: rays 3 x (N,), distance (N,) -> (3, N), (3, N), (N,).
    """
    albedo, normal = np.empty((2, 3, distance.size), np.float32)
    glow = np.empty_like(distance)
    start = 0
    # Boxes after the last visible one have no count.
    for (piece, box), count in zip(all_boxes((room.shell, *room.pieces)), counts.tolist(), strict=False):
        if not count:
            continue
        part, start = slice(start, start + count), start + count
        (cos, sin), origin, t = turn(piece.yaw_deg), piece.locate(room.camera.position), distance[part]
        x, y, z = (ray[part] for ray in rays)
        x, y = cos * x + sin * y, cos * y - sin * x
        inverse = invert((x, y, z))
        local, (on_x, on_y, on_z) = _facing(box, origin, (x, y, z), inverse, t)
        normal[0, part], normal[1, part] = cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]
        normal[2, part] = local[2]
        u = np.where(on_x, origin[1] + t * y, origin[0] + t * x)
        v = np.where(on_z, origin[1] + t * y, origin[2] + t * z)
        slant = np.abs(np.where(on_x, x, np.where(on_y, y, z)))
        pixel = np.divide(t, intrinsics.fx_px * np.maximum(slant, 0.1))
        mix, worn = blend(box.material, u, v, pixel)
        for plane, one, other in zip(albedo, box.material.colour, box.material.second, strict=True):
            plane[part] = (one + (other - one) * mix) * worn
        glow[part] = box.material.glow
    return albedo, normal, glow


def _facing(
    box: Box, origin: Vec3, ray: Sequence[Floats], inverse: Sequence[Floats], t: Floats
) -> tuple[list[Floats], list[NDArray[np.bool_]]]:
    """Give the normals where rays meet a solid after `t`, and the axis that each is nearest to."""
    if box.shape == "box":
        enter = [slab(box, origin, inverse, axis)[0] for axis in range(3)]
        on_x = (enter[0] >= enter[1]) & (enter[0] >= enter[2])
        on_y = ~on_x & (enter[1] >= enter[2])
        on = [on_x, on_y, ~(on_x | on_y)]
        return [np.where(here, -np.sign(along), 0) for here, along in zip(on, ray, strict=True)], on
    out = []
    for low, high, start, along in zip(box.low, box.high, origin, ray, strict=True):
        half = (high - low) / 2
        out.append((start - (low + half) + t * along) * np.float32(1 / (half * half)))
    if box.shape == "cylinder":
        top = slab(box, origin, inverse, 2)[0] >= t * np.float32(1 - 1e-5)
        out[2] = np.where(top, -np.sign(ray[2]), 0)
        out[0], out[1] = np.where(top, 0, out[0]), np.where(top, 0, out[1])
    length = np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2]) + TINY
    out = [np.divide(axis, length, dtype=np.float32) for axis in out]
    size = [np.abs(axis) for axis in out]
    on_z = (size[2] >= size[0]) & (size[2] >= size[1])
    on_x = ~on_z & (size[0] >= size[1])
    return out, [on_x, ~(on_x | on_z), on_z]


def _shadowed(pieces: Sequence[Piece], lamp: Vec3, to: Sequence[Floats]) -> NDArray[np.bool_]:
    """Tell which points, given by the ways from the lamp to them, some box hides from it."""
    dark = np.zeros(to[0].shape, np.bool_)
    # Where the ways, made longer or shorter, cross the plane one metre below the lamp.
    fall = -1 / np.minimum(to[2], -TINY)
    floor_x, floor_y = to[0] * fall, to[1] * fall
    for piece in pieces:
        origin, (cos, sin) = piece.locate(lamp), turn(piece.yaw_deg)
        open_ways = ~dark
        low, high = piece.bounds
        near, far = lamp[2] - high[2], lamp[2] - low[2]
        if near > 0:
            # Seen from the lamp, a piece below it covers a rectangle at most: look there only.
            for axis, plane in enumerate((floor_x, floor_y)):
                first, last = low[axis] - lamp[axis], high[axis] - lamp[axis]
                open_ways &= plane >= first / (near if first < 0 else far) - MARGIN
                open_ways &= plane <= last / (near if last > 0 else far) + MARGIN
        maybe = np.flatnonzero(open_ways)
        x, y, z = (way[maybe] for way in to)
        inverse = invert((cos * x + sin * y, cos * y - sin * x, z))
        inside = _hidden(piece.hull, origin, inverse)
        maybe, inverse = maybe[inside], [way[inside] for way in inverse]
        for box in piece.boxes if len(maybe) else ():
            dark[maybe] |= _hidden(box, origin, inverse)
    return dark


def _hidden(box: Box, origin: Vec3, inverse: Sequence[Floats]) -> NDArray[np.bool_]:
    near, far = cross(box, origin, inverse)
    return (near <= far) & (far > 0) & (near < SHADOW_START)
