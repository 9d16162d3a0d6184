"""Places for furniture: at a wall or anywhere, without overlaps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from src.rooms.kernels.compilation import Vec3
from src.rooms.raycast import Box, Piece, world_bounds
from src.rooms.textures import Rng, uniform

Bounds = tuple[Vec3, Vec3]

GAP_M = 0.005  # between furniture and walls, and between two pieces


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
