"""Where furniture goes: at walls or anywhere, and never through each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from src.rooms import kernels
from src.rooms.parts import Rng
from src.rooms.raycast import Box, Piece, Vec3, enclose
from src.rooms.textures import between

Bounds = tuple[Vec3, Vec3]

GAP_M = 0.005
"""Between furniture and walls, and between one piece and the next."""


def place(rng: Rng, boxes: tuple[Box, ...], size: Vec3, taken: Sequence[Bounds], *, against_wall: bool) -> Piece | None:
    """Try some places, at a wall or anywhere; None when the piece fits in none of them."""
    piece, there = Piece(boxes), np.array(taken, np.float64)
    for _ in range(12):
        side = int(rng.random() * 4)
        yaw = side * 90.0 if against_wall or rng.random() < 0.5 else between(rng, 0, 360)
        if boxes[0].low[2] == 0 and rng.random() < 0.25:
            yaw += between(rng, -5, 5)
        low, high = enclose(piece.hull, (0.0, 0.0, 0.0), yaw)
        spare = [length - (b - a) - 2 * GAP_M for a, b, length in zip(low, high, size, strict=True)][:2]
        if min(spare) < 0 or high[2] > size[2]:
            continue
        share = [rng.random(), rng.random()]
        if against_wall:
            # A piece's back is its own y = 0: unturned it stands at the wall y = 0, turned once at x = size[0].
            share[1 - side % 2] = (0.0, 1.0, 1.0, 0.0)[side]
        x, y = (GAP_M + s * free - a for s, free, a in zip(share, spare, low, strict=False))
        if is_free(((x + low[0], y + low[1], low[2]), (x + high[0], y + high[1], high[2])), there):
            return piece.put((x, y, 0.0), yaw)
    return None


def is_free(bounds: Bounds, taken: ArrayLike) -> bool:
    """Tell whether what is bounded so keeps a gap from all that is there: N bounds, or their (N, 2, 3)."""
    there = np.asarray(taken, np.float64).reshape(-1, 2, 3)
    return not kernels.clash(np.array(bounds, np.float64), there, GAP_M)
