"""Light in a room: lamps, shadows, the darkness of corners; a photo beside its exact depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.conventions import MAX_DEPTH_M, Frame, Intrinsics
from src.rooms.exposure import Film
from src.rooms.kernels import Floats, Solids, add_lamp, follow, shadow
from src.rooms.raycast import Camera, Piece, Vec3, all_boxes, cast_rays, line_up, trace
from src.rooms.surfaces import Surfaces, look_up
from src.rooms.textures import RGB

CORNER_REACH_M = 0.6
CORNER_SHADE = 0.35
"""Ambient light falls by this share towards a wall, a floor or a ceiling, from this distance on."""

HOLLOW_M, HOLLOW_SHADE = 0.24, 0.35
"""What lies so far behind its surroundings gets so much less ambient light, and half as much less of a lamp's."""

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
    solids = line_up((room.shell, *room.pieces))
    depth_m, number = trace(solids, room.camera, intrinsics)
    rays = cast_rays(room.camera, intrinsics)
    image = room.film.develop(_light(room, solids, rays, depth_m, number, intrinsics))
    seen = number >= 0
    if holes:
        seen &= _measure(room, solids, rays, depth_m, number)
    return Frame(image, np.where(seen, depth_m, np.float32(0)), seen & (depth_m <= MAX_DEPTH_M))


def _measure(room: Room, solids: Solids, rays: Floats, depth_m: Floats, number: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Tell where a Kinect measures depth: not too near, not on what shines, not where its projector throws no light.

    **Shape**: (H, W).
    """
    glow = np.array([box.material.glow for box in all_boxes((room.shell, *room.pieces))])
    eye, right = room.camera.position, room.camera.axes()[0]
    x, y, z = (at + PROJECTOR_M * axis for at, axis in zip(eye, right, strict=True))
    ways = [
        (start + ray * np.minimum(depth_m, 2 * MAX_DEPTH_M) - other).ravel()
        for start, ray, other in zip(eye, rays, (x, y, z), strict=True)
    ]
    dark = shadow(solids, (x, y, z), np.stack(ways), number.ravel() >= 0).reshape(depth_m.shape)
    return ~dark & (depth_m >= KINECT_NEAR_M) & (glow[number] == 0)


def _light(
    room: Room, solids: Solids, rays: Floats, depth_m: Floats, number: NDArray[np.int16], intrinsics: Intrinsics
) -> Floats:
    """Light every pixel, and what mirrors show.

    **Shape**: (3, H, W), linear; black where nothing is hit.
    """
    materials = [box.material for box in all_boxes((room.shell, *room.pieces))]
    reach_px = int(room.softness * intrinsics.height_px / 2 + 0.5)

    def soften(dark: NDArray[np.bool_]) -> Floats:
        return _fade(dark.reshape(depth_m.shape).astype(np.int32), reach_px).ravel()

    rays, boxes, eye = rays.reshape(3, -1), number.ravel(), np.array(room.camera.position, np.float32)[:, None]
    distance = np.where(boxes >= 0, depth_m.ravel(), np.float32(0))
    surfaces = look_up(materials, solids, eye, rays, distance, boxes, intrinsics)
    points = eye + rays * distance
    light = _shade(room, solids, surfaces, points, rays, _find_hollows(depth_m).ravel(), soften)

    at = np.flatnonzero(surfaces.mirror)
    if at.size:
        starts, ways = points[:, at], _mirror(rays[:, at], surfaces.normal[:, at])
        distance, boxes = follow(solids, starts, ways)
        distance[boxes < 0] = 0
        seen = look_up(materials, solids, starts, ways, distance, boxes, intrinsics)
        hollow = np.zeros(at.size, np.float32)
        image = _shade(room, solids, seen, starts + ways * distance, ways, hollow, lambda dark: dark.astype(np.float32))
        light[:, at] += surfaces.mirror[at] * image
    return light.reshape(3, *depth_m.shape)


def _shade(
    room: Room,
    solids: Solids,
    surfaces: Surfaces,
    points: Floats,
    rays: Floats,
    hollow: Floats,
    soften: Callable[[NDArray[np.bool_]], Floats],
) -> Floats:
    """Light points: ambient, darker in corners and hollows, and each lamp where no box stands in its way.

    **Shape**: points and the rays that met them (3, N), hollow (N,) -> (3, N).
    """
    open_sky = (0.75 + 0.25 * surfaces.normal[2]) * (1 - HOLLOW_SHADE * hollow)
    for point, side in zip(points, room.size_m, strict=True):
        near = np.clip(np.minimum(point, side - point) / CORNER_REACH_M, 0, 1)
        open_sky *= 1 - CORNER_SHADE * (1 - near) * (1 - near)
    light = np.stack([level * open_sky for level in room.ambient])
    gleam, share = np.zeros_like(points), 1 - HOLLOW_SHADE / 2 * hollow
    for lamp in room.lamps:
        to = points - np.array(lamp.position, np.float32)[:, None]
        facing = -(to[0] * surfaces.normal[0] + to[1] * surfaces.normal[1] + to[2] * surfaces.normal[2])
        open_way = 1 - soften(shadow(solids, lamp.position, to, facing > 0))
        add_lamp(
            light, gleam, lamp.power, LAMP_SIZE_M2, to, facing, open_way, share, rays, surfaces.normal, surfaces.gloss
        )
    return (light + surfaces.glow) * surfaces.albedo + gleam


def _find_hollows(depth_m: Floats) -> Floats:
    """Tell how far each pixel lies behind what surrounds it in the picture, from 0 to 1 at `HOLLOW_M`.

    It darkens what light from all sides hardly reaches: the gap under a sofa, the foot of a wall behind it.
    """
    millimetres = (np.minimum(depth_m, 2 * MAX_DEPTH_M) * 1000).astype(np.int32)
    around_m = _fade(millimetres, len(depth_m) // 32) * np.float32(0.001)
    return np.clip((np.minimum(depth_m, 2 * MAX_DEPTH_M) - around_m) / np.float32(HOLLOW_M), 0, 1)


def _mirror(rays: Floats, normal: Floats) -> Floats:
    """Mirror rays at surfaces: (3, N) each -> (3, N), of the same length."""
    return rays - 2 * (rays[0] * normal[0] + rays[1] * normal[1] + rays[2] * normal[2]) * normal


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
