"""Light in a room: lamps, shadows, the darkness of corners; a photo beside its exact depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.conventions import MAX_DEPTH_M, Intrinsics
from src.data.exposure import Film
from src.data.frame import Frame
from src.data.raycast import TINY, Box, Camera, Piece, Vec3, all_boxes, cast_rays, cross, invert, trace, turn
from src.data.surfaces import look_up
from src.data.textures import RGB, Floats

MARGIN = 1e-3
"""Widens what a piece may cover as seen from a lamp, so that rounding loses none of its shadow."""

SHADOW_START = 0.998
"""A surface does not shade itself: a shadow's caster lies before this share of the way from the lamp."""

CORNER_REACH_M = 0.6
CORNER_SHADE = 0.35
"""Ambient light falls by this share towards a wall, a floor or a ceiling, from this distance on."""

HOLLOW_M, HOLLOW_SHADE = 0.24, 0.35
"""What lies so far behind its surroundings gets so much less ambient light, and half as much less of a lamp's."""

HIGHLIGHT_SQUARINGS = 6
"""A highlight is the cosine towards the lamp's mirror image, squared so often."""

PROJECTOR_M = 0.075
"""How far right of the camera a Kinect's projector is: what it cannot reach has no depth."""

KINECT_NEAR_M = 0.5

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


def render(room: Room, intrinsics: Intrinsics, *, holes: bool = False) -> Frame:
    """Take a photo of the room with its exact depth along the optical axis, or only where a Kinect would measure it."""
    pieces = (room.shell, *room.pieces)
    depth_m, number = trace(pieces, room.camera, intrinsics)
    image = room.film.develop(_light(room, depth_m, number, intrinsics))
    seen = number >= 0
    if holes:
        seen &= _measure(room, depth_m, number, intrinsics)
    return Frame(image, np.where(seen, depth_m, np.float32(0)), seen & (depth_m <= MAX_DEPTH_M))


def _measure(room: Room, depth_m: Floats, number: NDArray[np.int16], intrinsics: Intrinsics) -> NDArray[np.bool_]:
    """Tell where a Kinect measures depth: not too near, not on what shines, not where its projector throws no light.

    **Shape**: (H, W) each.
    """
    glow = np.array([box.material.glow for _, box in all_boxes((room.shell, *room.pieces))])
    axes, eye = room.camera.axes(), room.camera.position
    x, y, z = (at + PROJECTOR_M * right for at, right in zip(eye, axes[0], strict=True))
    rays = cast_rays(axes, intrinsics, slice(0, intrinsics.height_px), slice(0, intrinsics.width_px))
    to = [
        (start + ray * np.minimum(depth_m, 2 * MAX_DEPTH_M) - other).ravel()
        for start, ray, other in zip(eye, rays, (x, y, z), strict=True)
    ]
    dark = _shadowed(room.pieces, (x, y, z), to).reshape(depth_m.shape)
    return ~dark & (depth_m >= KINECT_NEAR_M) & (glow[number] == 0)


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
    boxes = all_boxes((room.shell, *room.pieces))
    surfaces = look_up(boxes, np.bincount(number.ravel()[order]), room.camera, rays, distance, intrinsics)
    points = [start + ray * distance for start, ray in zip(room.camera.position, rays, strict=True)]

    hollow = _find_hollows(depth_m).ravel()[order]
    open_sky = (0.75 + 0.25 * surfaces.normal[2]) * (1 - HOLLOW_SHADE * hollow)
    for point, side in zip(points, room.size_m, strict=True):
        near = np.clip(np.minimum(point, side - point) / CORNER_REACH_M, 0, 1)
        open_sky *= 1 - CORNER_SHADE * (1 - near) * (1 - near)
    light = [level * open_sky for level in room.ambient]
    glossy = np.flatnonzero(surfaces.gloss)
    mirrored = _mirror([ray[glossy] for ray in rays], surfaces.normal[:, glossy])
    gleam = np.zeros((3, distance.size), np.float32)

    reach_px = int(room.softness * intrinsics.height_px / 2 + 0.5)
    for lamp in room.lamps:
        to = [point - start for point, start in zip(points, lamp.position, strict=True)]
        square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
        length = np.sqrt(square)
        facing = -(to[0] * surfaces.normal[0] + to[1] * surfaces.normal[1] + to[2] * surfaces.normal[2])
        lit = np.flatnonzero(facing > 0)
        dark = np.zeros(depth_m.size, np.int32)
        dark[order[lit]] = _shadowed(room.pieces, lamp.position, [axis[lit] for axis in to])
        open_way = 1 - _fade(dark.reshape(depth_m.shape), reach_px).ravel()[order]
        reaching = facing[lit] * open_way[lit] * (1 - HOLLOW_SHADE / 2 * hollow[lit])
        reaching /= length[lit] * (square[lit] + LAMP_SIZE_M2)
        towards = -(mirrored[0] * to[0][glossy] + mirrored[1] * to[1][glossy] + mirrored[2] * to[2][glossy])
        highlight = np.maximum(towards / length[glossy], 0)
        for _ in range(HIGHLIGHT_SQUARINGS):
            highlight *= highlight
        highlight *= open_way[glossy] * surfaces.gloss[glossy]
        for channel, shine, power in zip(light, gleam, lamp.power, strict=True):
            channel[lit] += power * reaching
            shine[glossy] += power * highlight
    image = np.zeros((3, depth_m.size), np.float32)
    for plane, channel, colour, shine in zip(image, light, surfaces.albedo, gleam, strict=True):
        plane[order] = (channel + surfaces.glow) * colour + shine
    return image.reshape(3, *depth_m.shape)


def _find_hollows(depth_m: Floats) -> Floats:
    """Tell how far each pixel lies behind what surrounds it in the picture, from 0 to 1 at `HOLLOW_M`.

    It darkens what light from all sides hardly reaches: the gap under a sofa, the foot of a wall behind it.
    """
    millimetres = (np.minimum(depth_m, 2 * MAX_DEPTH_M) * 1000).astype(np.int32)
    around_m = _fade(millimetres, len(depth_m) // 32) * np.float32(0.001)
    return np.clip((np.minimum(depth_m, 2 * MAX_DEPTH_M) - around_m) / np.float32(HOLLOW_M), 0, 1)


def _mirror(rays: Sequence[Floats], normal: Floats) -> list[Floats]:
    """Mirror rays at surfaces, and bring them to length one."""
    twice = 2 * (rays[0] * normal[0] + rays[1] * normal[1] + rays[2] * normal[2])
    length = np.sqrt(rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2])
    return [(ray - twice * axis) / length for ray, axis in zip(rays, normal, strict=True)]


def _fade(dark: NDArray[np.int32], reach_px: int) -> Floats:
    """Average whole numbers over a square around each pixel, twice over. Sums of integers come out the same everywhere.

    **Shape**: (H, W) -> the same.
    """
    side = 2 * reach_px + 1
    if reach_px:
        for _ in range(2):
            padded = np.pad(dark.T, ((reach_px + 1, reach_px), (0, 0)), mode="edge")
            total = padded.cumsum(axis=0, dtype=np.int32)
            dark = total[side:] - total[:-side]
    return dark.astype(np.float32) * np.float32(1 / (side * side))


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
