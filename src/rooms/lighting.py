"""Light in a room: lamps, shadows, mirrors; a photo and its exact depth."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from src.conventions import MAX_DEPTH_M, Frame, Intrinsics
from src.rooms.exposure import Exposure
from src.rooms.kernels.compilation import Floats, Integers, Vec3
from src.rooms.kernels.lamps import add_lamp, find_shadows
from src.rooms.kernels.solids import Solids
from src.rooms.kernels.surfaces import Surfaces, sample_surfaces
from src.rooms.kernels.tracing import trace_rays
from src.rooms.raycast import Camera, Piece, camera_rays, pack_materials, pack_solids, trace
from src.rooms.textures import RGB

CORNER_REACH_M, CORNER_SHADE = 0.6, 0.35  # from this far on, ambient light falls by this share towards wall or floor
HOLLOW_M, HOLLOW_SHADE = 0.24, 0.35  # a point this far behind its surroundings loses this share of ambient light


@dataclass(frozen=True)
class Lamp:
    """A point light; `power` is the light on a white surface that faces it at 1 m."""

    position: Vec3
    power: RGB


@dataclass(frozen=True)
class Room:
    """All that a frame shows."""

    size_m: Vec3
    shell: Piece  # walls, floor and ceiling, which cast no shadows
    pieces: tuple[Piece, ...]
    lamps: tuple[Lamp, ...]
    ambient: RGB
    camera: Camera
    exposure: Exposure
    softness: float = 0.0  # width of a shadow's edge, in heights of the picture


def render(room: Room, intrinsics: Intrinsics) -> Frame:
    """Render a photo and its depth along the optical axis."""
    pieces = room.shell, *room.pieces
    solids, materials = pack_solids(pieces), pack_materials(pieces)
    depth_m, number = trace(solids, room.camera, intrinsics)
    rays = camera_rays(room.camera, intrinsics)
    sample = partial(sample_surfaces, solids, materials, intrinsics.fx_px)
    light, present = light_pixels(room, solids, sample, rays, depth_m, number), number >= 0
    valid = present & (depth_m <= MAX_DEPTH_M)
    return Frame(room.exposure.expose(light), np.where(present, depth_m, np.float32(0)), valid, intrinsics)


def light_pixels(
    room: Room, solids: Solids, sample: Callable[..., Surfaces], rays: Floats, depth_m: Floats, number: Integers
) -> Floats:
    """Return each pixel's linear light (3, H, W), mirrors included; 0 where nothing is hit."""
    shape, rays, number = depth_m.shape, rays.reshape(3, -1), number.ravel()
    eye = np.array(room.camera.position, np.float32)[:, None]
    distance = np.where(number >= 0, depth_m.ravel(), np.float32(0))
    surfaces, points = sample(eye, rays, distance, number), eye + rays * distance
    blur_px = int(room.softness * shape[0] / 2 + 0.5)
    light = _shade(room, solids, surfaces, points, rays, find_hollows(depth_m), blur_px)

    mirrors = np.flatnonzero(surfaces.mirror)
    if mirrors.size:
        starts, rays, normal = points[:, mirrors], rays[:, mirrors], surfaces.normal[:, mirrors]
        rays = rays - 2 * (rays[0] * normal[0] + rays[1] * normal[1] + rays[2] * normal[2]) * normal
        distance, number = trace_rays(solids, starts, rays)
        distance[number < 0] = 0
        seen, points = sample(starts, rays, distance, number), starts + rays * distance
        image = _shade(room, solids, seen, points, rays, np.zeros(mirrors.size, np.float32), 0)
        light[:, mirrors] += surfaces.mirror[mirrors] * image
    return light.reshape(3, *shape)


def _shade(
    room: Room, solids: Solids, surfaces: Surfaces, points: Floats, rays: Floats, hollow: Floats, blur_px: int
) -> Floats:
    """Light points (3, N) by ambient light, less in corners and hollows (N values), and by lamps that no box hides."""
    shape, hollow, normal = hollow.shape, hollow.ravel(), surfaces.normal
    openness = (0.75 + 0.25 * normal[2]) * (1 - HOLLOW_SHADE * hollow)
    for point, side in zip(points, room.size_m, strict=True):
        near = np.clip(np.minimum(point, side - point) / CORNER_REACH_M, 0, 1)
        openness *= 1 - CORNER_SHADE * (1 - near) * (1 - near)
    diffuse, specular = np.stack([level * openness for level in room.ambient]), np.zeros_like(points)
    lamp_openness = 1 - HOLLOW_SHADE / 2 * hollow
    for lamp in room.lamps:
        to_points = points - np.array(lamp.position, np.float32)[:, None]
        cosine = -(to_points[0] * normal[0] + to_points[1] * normal[1] + to_points[2] * normal[2])
        dark = find_shadows(solids, lamp.position, to_points, cosine > 0)
        visibility = 1 - _box_blur(dark.reshape(shape).astype(np.int32), blur_px).ravel()
        add_lamp(diffuse, specular, lamp.power, to_points, cosine, visibility, lamp_openness, rays, surfaces)
    return (diffuse + surfaces.emission) * surfaces.albedo + specular


def find_hollows(depth_m: Floats) -> Floats:
    """Approximate ambient occlusion: how far each pixel lies behind its surroundings, from 0 to 1 at `HOLLOW_M`."""
    clipped_m = np.minimum(depth_m, 2 * MAX_DEPTH_M)
    around_mm = _box_blur((clipped_m * 1000).astype(np.int32), len(depth_m) // 32)
    return np.clip((clipped_m - around_mm * np.float32(0.001)) / np.float32(HOLLOW_M), 0, 1)


def _box_blur(values: Integers, radius_px: int) -> Floats:
    """Average integers (H, W) over a square around each pixel, twice: their sums are equal on every machine."""
    side = 2 * radius_px + 1
    if radius_px:
        for _ in range(2):
            padded = np.pad(values.T, ((radius_px + 1, radius_px), (0, 0)), mode="edge")
            total = padded.cumsum(axis=0, dtype=np.int32)
            values = total[side:] - total[:-side]
    return values.astype(np.float32) * np.float32(1 / (side * side))
