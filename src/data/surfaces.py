"""What the pixels show: colour, normal, glow and gloss of the surface that each ray meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.conventions import Intrinsics
from src.data.raycast import TINY, Box, Camera, Piece, Vec3, invert, slab, turn
from src.data.textures import Floats, blend, bump


class Surfaces(NamedTuple):
    """Of N pixels: albedo and normal (3, N), glow and gloss (N,)."""

    albedo: Floats
    normal: Floats
    glow: Floats
    gloss: Floats


def look_up(
    boxes: Sequence[tuple[Piece, Box]],
    counts: NDArray[np.intp],
    camera: Camera,
    rays: Sequence[Floats],
    distance: Floats,
    intrinsics: Intrinsics,
) -> Surfaces:
    """Look up the surfaces of pixels that come box by box, `counts` of each.

    **Shape**: rays 3 x (N,), distance (N,) along them.
    """
    albedo, normal = np.empty((2, 3, distance.size), np.float32)
    glow, gloss = np.empty((2, distance.size), np.float32)
    start = 0
    # Boxes after the last visible one have no count.
    for (piece, box), count in zip(boxes, counts.tolist(), strict=False):
        if not count:
            continue
        part, start = slice(start, start + count), start + count
        surface = box.material
        (cos, sin), origin, t = turn(piece.yaw_deg), piece.locate(camera.position), distance[part]
        x, y, z = (ray[part] for ray in rays)
        x, y = cos * x + sin * y, cos * y - sin * x
        local, (on_x, on_y, on_z) = _facing(box, origin, (x, y, z), invert((x, y, z)), t)
        u = np.where(on_x, origin[1] + t * y, origin[0] + t * x)
        v = np.where(on_z, origin[1] + t * y, origin[2] + t * z)
        slant = np.abs(np.where(on_x, x, np.where(on_y, y, z)))
        mix, worn = blend(surface, u, v, np.divide(t, intrinsics.fx_px * np.maximum(slant, 0.1)))
        if surface.bumps:
            local = bump(surface, local, u, v)
        normal[0, part], normal[1, part] = cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]
        normal[2, part] = local[2]
        shares = np.broadcast_to(mix, (3, count))
        for plane, one, other, share in zip(albedo, surface.colour, surface.second, shares, strict=True):
            plane[part] = (one + (other - one) * share) * worn
        glow[part], gloss[part] = surface.glow, surface.gloss
    return Surfaces(albedo, normal, glow, gloss)


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
