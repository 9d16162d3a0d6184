"""A print: shapes of all sizes and colours over each other, for what is printed, woven, or cluttered."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from src.rooms.kernels import Print

SIDE_PX = 512
"""Of the print, which repeats; a power of two."""

LEAVES = 2500
RADII_PX = 2, 100

Picture = NDArray[np.float32]


@cache
def levels() -> list[Picture]:
    """Drop discs, ellipses and rectangles on each other; then halve the picture, and again, down to one pixel.

    **Shape**: (S, S, 3) for S from 512 to 1, in [0, 1].
    **Source**: the dead leaves model, whose statistics come near those of photos: Lee, Mumford, Huang 2001.
    """
    rng = np.random.Generator(np.random.PCG64(5))
    canvas = np.full((SIDE_PX, SIDE_PX, 3), 0.5, np.float32)
    least, most = RADII_PX
    for _ in range(LEAVES):
        radius = int(min(most, least / max(least / most, float(rng.random()))))
        middle_y, middle_x, stretch = (int(float(rng.random()) * n) for n in (SIDE_PX, SIDE_PX, 3))
        offset = np.arange(-radius, radius + 1)
        y, x = offset[:, None], offset * (1 + stretch)
        is_round = float(rng.random()) < 0.5
        inside = y * y + x * x < radius * radius if is_round else (np.abs(x) < radius) & (np.abs(y) < radius)
        grey = float(rng.random())
        colour = [min(1.0, max(0.0, grey + 0.35 * (float(rng.random()) - 0.5))) for _ in range(3)]
        # Leaves hang over the edges, so that the print repeats without a seam.
        window = np.ix_((middle_y + offset) % SIDE_PX, (middle_x + offset) % SIDE_PX)
        canvas[window] = np.where(inside[..., None], np.array(colour, np.float32), canvas[window])
    pictures = [canvas]
    while len(pictures[-1]) > 1:
        last = pictures[-1]
        four = last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]
        pictures.append(four * np.float32(0.25))
    return pictures


@cache
def print_levels() -> Print:
    """Lay the levels one after the other, as the kernels read them."""
    pictures = levels()
    sides = np.array([len(picture) for picture in pictures], np.int64)
    return Print(np.concatenate([each.reshape(-1, 3) for each in pictures]), sides, np.cumsum(sides**2) - sides**2)
