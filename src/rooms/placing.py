"""Places for furniture, without overlaps, and for the camera, distributed as in photos that people take."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from src.conventions import NYU_INTRINSICS
from src.rooms.kernels.compilation import TINY, Floats, Vec3
from src.rooms.kernels.solids import Solids
from src.rooms.kernels.tracing import trace_rays
from src.rooms.raycast import Box, Camera, Piece, camera_rays, pack_solids, world_bounds
from src.rooms.textures import Rng, pick, uniform

Bounds = tuple[Vec3, Vec3]

GAP_M = 0.005  # between furniture and walls, and between two pieces
DEPTH_SHARE = 0.3, 0.9  # wanted median depth of a view, as a share of the room's mean side
FURNITURE_SHARE = 0.45, 1.0  # wanted share of a view that furniture fills
CLOSE_M = 0.7  # at most a tenth of a view should be nearer than this
TARGET_HEIGHT_M = 0.2, 1.0  # of the point that is looked at; the tilt is half of the way to it and 1 to 13 degrees
PREVIEW = NYU_INTRINSICS.resized(16, 12)  # a camera with few rays, to judge a view by
HEIGHT_M = 0.94, 1.38
"""Camera height; the middle is likelier. A network learns from it to read metres off the floor.

NYU's was 1.13 to 1.48 m (`scripts/inspect_data.py`). With that height, predictions for photos were too far, near ones
most; with this one, the middle of NYU's held-out training frames is predicted 3 % too near, where AbsRel is least.
"""


def place_piece(
    rng: Rng, boxes: tuple[Box, ...], size_m: Vec3, taken: Sequence[Bounds], *, against_wall: bool
) -> Piece | None:
    """Try some places, at a wall or anywhere; None if the piece fits in none of them."""
    piece, occupied = Piece(boxes), np.array(taken, np.float64)
    for _ in range(12):
        side = int(rng.random() * 4)
        yaw = side * 90.0 if against_wall or rng.random() < 0.5 else uniform(rng, 0, 360)
        if boxes[0].low[2] == 0 and rng.random() < 0.25:
            yaw += uniform(rng, -5, 5)
        low, high = world_bounds(piece.hull, (0.0, 0.0, 0.0), yaw)
        spare = [length - (b - a) - 2 * GAP_M for a, b, length in zip(low, high, size_m, strict=True)][:2]
        if min(spare) < 0 or high[2] > size_m[2]:
            continue
        share = [rng.random(), rng.random()]
        if against_wall:
            # A piece's back is its own y = 0: at yaw 0 it stands at the wall y = 0, at yaw 90 at x = size_m[0].
            share[1 - side % 2] = (0.0, 1.0, 1.0, 0.0)[side]
        x, y = (GAP_M + s * free - a for s, free, a in zip(share, spare, low, strict=False))
        if is_free(((x + low[0], y + low[1], low[2]), (x + high[0], y + high[1], high[2])), occupied):
            return piece.moved((x, y, 0.0), yaw)
    return None


def is_free(bounds: Bounds, taken: ArrayLike) -> bool:
    """Tell whether bounds keep a gap from N others, (N, 2, 3)."""
    lows, highs = np.asarray(taken, np.float64).reshape(-1, 2, 3).swapaxes(0, 1)
    low, high = np.array(bounds)
    return bool(((low >= highs + GAP_M) | (lows >= high + GAP_M)).any(axis=1).all())


def clearance(eye: Vec3, *, up_to: float) -> Bounds:
    """Bound the space around a camera that must be free of furniture."""
    x, y, z = eye
    return (x - 0.2, y - 0.2, z - 0.3), (x + 0.2, y + 0.2, up_to)


def choose_camera(rng: Rng, size_m: Vec3, pieces: Sequence[Piece], free_place: tuple[float, float]) -> Camera:
    """Try views of pieces from the place kept free and from others; take the one nearest to the wanted shares."""
    wanted_m = uniform(rng, *DEPTH_SHARE) * math.sqrt(size_m[0] * size_m[1])
    wanted_share = uniform(rng, *FURNITURE_SHARE)
    hulls = pack_solids([Piece((piece.hull,), piece.origin, piece.yaw_deg) for piece in pieces], np.float32)
    bounds = [piece.bounds for piece in pieces]
    occupied, targets = np.array(bounds), bounds or [((0.0, 0.0, 0.0), size_m)]
    best, least = None, math.inf
    for attempt in range(16):
        x, y = (uniform(rng, 0.3, side - 0.3) for side in size_m[:2]) if attempt else free_place
        eye = x, y, (uniform(rng, *HEIGHT_M) + uniform(rng, *HEIGHT_M)) / 2
        if not is_free(clearance(eye, up_to=eye[2] + 0.2), occupied):
            continue
        low, high = pick(rng, targets)
        dx, dy = (low[0] + high[0]) / 2 - x, (low[1] + high[1]) / 2 - y
        distance_m = max(1.2, math.sqrt(dx * dx + dy * dy))
        # Rounded, so that the last bit of a machine's atan2 does not matter.
        heading = round(math.degrees(math.atan2(dy, dx)), 3)
        down = round(math.degrees(math.atan2(eye[2] - uniform(rng, *TARGET_HEIGHT_M), distance_m)), 3)
        pitch = min(24.0, down) / 2 + uniform(rng, 1, 13)
        camera = Camera(eye, heading + uniform(rng, -12, 12), pitch, uniform(rng, -4, 4))
        depth_m, share = preview(hulls, size_m, camera)
        middle_m, close = float(np.sort(depth_m)[depth_m.size // 2]), float((depth_m < CLOSE_M).mean())
        cost = max(middle_m / wanted_m, wanted_m / middle_m) - 1
        cost = cost + 1.5 * max(0.0, wanted_share - share) + 2 * max(0.0, close - 0.1)
        if cost < least:
            best, least = camera, cost
        if cost < 0.15:
            break
    assert best is not None, "the place kept free is free"
    return best


def preview(hulls: Solids, size_m: Vec3, camera: Camera) -> tuple[Floats, float]:
    """Return the depth of a room with hulls for furniture along a few rays, and the share of rays that meet a hull."""
    rays = camera_rays(camera, PREVIEW).reshape(3, -1)
    starts, size = (np.array(vector, np.float32)[:, None] for vector in (camera.position, size_m))
    inverse = np.divide(1, rays + TINY, dtype=np.float32)
    walls_m = np.maximum(-starts * inverse, (size - starts) * inverse).min(axis=0)
    furniture_m, _ = trace_rays(hulls, np.repeat(starts, rays.shape[1], axis=1), rays)
    return np.minimum(walls_m, furniture_m), float((furniture_m < walls_m).mean())
