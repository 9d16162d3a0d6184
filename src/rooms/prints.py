"""One picture of overlapping shapes, for all surfaces that are printed or woven."""

from functools import cache

import numpy as np

from src.rooms.kernels.surfaces import Mipmap

SIDE_PX = 512  # side of the picture, which repeats; a power of two
LEAVES = 2500
RADII_PX = 2, 100


@cache
def mipmap() -> Mipmap:
    """Draw discs, ellipses and rectangles over each other, then halve the picture repeatedly, down to one pixel.

    **Units**: RGB in [0, 1].
    **Source**: the dead leaves model, whose statistics are close to those of photos: Lee, Mumford, Huang 2001.
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
        # Shapes wrap around the edges, so that the picture repeats without a seam.
        area = np.ix_((middle_y + offset) % SIDE_PX, (middle_x + offset) % SIDE_PX)
        canvas[area] = np.where(inside[..., None], np.array(colour, np.float32), canvas[area])
    levels = [canvas]
    while len(canvas) > 1:
        canvas = canvas[::2, ::2] + canvas[1::2, ::2] + canvas[::2, 1::2] + canvas[1::2, 1::2]
        canvas = canvas * np.float32(0.25)
        levels.append(canvas)
    sides = np.array([len(level) for level in levels], np.int64)
    pixels = np.concatenate([level.reshape(-1, 3) for level in levels])
    return Mipmap(pixels, sides, np.cumsum(sides**2) - sides**2)
