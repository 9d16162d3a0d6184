"""Where the camera stands and looks, so that views are spread as those that people take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from src.conventions import NYU_INTRINSICS
from src.rooms.kernels import TINY, Floats
from src.rooms.parts import Rng
from src.rooms.placing import Bounds, is_free
from src.rooms.raycast import Camera, Piece, Vec3, cast_rays, turn
from src.rooms.textures import between, pick

FAR = 0.3, 0.9
"""How far away the middle of a view may be, as a share of the room's mean side."""

FULL = 0.45, 1.0
"""Which share of a view furniture is to fill, where it can."""

CLOSE_M = 0.7
"""What is nearer fills a tenth of a view at most, where it can."""

HIGH_M = 0.94, 1.38
"""How high the camera is held; the middle is likelier. A network learns from it to read metres off the floor.

NYU's was at 1.13 to 1.48 m (`scripts/inspect_data.py`). With that height, photos were read too far, the near ones most;
with this one, the middle of NYU's held-out training frames is read 3 % too near, where AbsRel is least.
"""

AIM_M = 0.2, 1.0
"""How high what is looked at lies. People tilt a camera half of the way down to it: more, the nearer it is."""

GLANCE = NYU_INTRINSICS.resized(16, 12)
"""A camera with a few rays, to judge a view by."""


def body(eye: Vec3, *, up_to: float) -> Bounds:
    """Bound what must be free of furniture for a camera to be there."""
    x, y, z = eye
    return (x - 0.2, y - 0.2, z - 0.3), (x + 0.2, y + 0.2, up_to)


def look(rng: Rng, size: Vec3, pieces: Sequence[Piece], stand: tuple[float, float]) -> Camera:
    """Look at pieces from the place kept free and from others; take the view nearest to what was wished for.

    Wished for are how far away the middle of the view is, and how much of the view furniture fills.
    """
    far_wish, full_wish = between(rng, *FAR) * math.sqrt(size[0] * size[1]), between(rng, *FULL)
    hulls, bounds = _line_up(pieces), [piece.bounds for piece in pieces]
    there, targets = np.array(bounds), bounds or [((0.0, 0.0, 0.0), size)]
    best, least = None, math.inf
    for attempt in range(16):
        x, y = (between(rng, 0.3, side - 0.3) for side in size[:2]) if attempt else stand
        eye = x, y, (between(rng, *HIGH_M) + between(rng, *HIGH_M)) / 2
        if not is_free(body(eye, up_to=eye[2] + 0.2), there):
            continue
        low, high = pick(rng, targets)
        ahead, aside = (low[0] + high[0]) / 2 - x, (low[1] + high[1]) / 2 - y
        away_m = max(1.2, math.sqrt(ahead * ahead + aside * aside))
        # Rounding hides the last bit of a machine's atan2.
        heading = round(math.degrees(math.atan2(aside, ahead)), 3)
        down = round(math.degrees(math.atan2(eye[2] - between(rng, *AIM_M), away_m)), 3)
        pitch = min(24.0, down) / 2 + between(rng, 1, 13)
        camera = Camera(eye, heading + between(rng, -12, 12), pitch, between(rng, -4, 4))
        depth_m, full = _glance(hulls, size, camera)
        far, close = float(np.sort(depth_m)[depth_m.size // 2]), float((depth_m < CLOSE_M).mean())
        miss = max(far / far_wish, far_wish / far) - 1 + 1.5 * max(0.0, full_wish - full) + 2 * max(0.0, close - 0.1)
        if miss < least:
            best, least = camera, miss
        if miss < 0.15:
            break
    assert best is not None, "the place kept free is free"
    return best


def _line_up(pieces: Sequence[Piece]) -> list[Floats]:
    """Gather the hulls of all pieces: cosine and sine of their yaw, place, low and high corners, (N, 1) each."""
    rows = [(*turn(p.yaw_deg), *p.origin, *p.hull.low, *p.hull.high) for p in pieces]
    return list(np.array(rows, np.float32).reshape(-1, 11).T[..., None])


def _glance(hulls: Sequence[Floats], size: Vec3, camera: Camera) -> tuple[Floats, float]:
    """See roughly what a camera sees: the depth along a few rays, and the share of them that meets a hull."""
    cos, sin, x0, y0, z0, *corners = hulls
    x, y, z = cast_rays(camera, GLANCE).reshape(3, -1)
    place = [np.float32(p) for p in camera.position]
    depth_m = np.full(x.size, np.inf, np.float32)
    for start, side, way in zip(place, size, _invert((x, y, z)), strict=True):
        depth_m = np.minimum(depth_m, np.maximum(-start * way, (np.float32(side) - start) * way))
    dx, dy = place[0] - x0, place[1] - y0
    starts = cos * dx + sin * dy, cos * dy - sin * dx, place[2] - z0
    ways = _invert((cos * x + sin * y, cos * y - sin * x, z))
    near, far = np.float32(-np.inf), np.float32(np.inf)
    for start, way, low, high in zip(starts, ways, corners[:3], corners[3:], strict=True):
        one, other = (low - start) * way, (high - start) * way
        near, far = np.maximum(near, np.minimum(one, other)), np.minimum(far, np.maximum(one, other))
    met = np.where((near <= far) & (near > 0), near, np.inf).min(axis=0, initial=np.inf)
    return np.minimum(depth_m, met), float((met < depth_m).mean())


def _invert(rays: Sequence[Floats]) -> list[Floats]:
    """Give one over the rays' coordinates."""
    return [np.divide(1, ray + TINY, dtype=np.float32) for ray in rays]
