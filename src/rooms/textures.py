"""Random numbers, materials and their colours, and the print that all printed and woven surfaces show parts of.

A seed must give the same bytes on every machine, so numbers come only from what IEEE 754 rounds in one way: + - * /
sqrt, comparisons, floor and integers. The last bits of sines, powers and matrix products depend on the processor.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from src.rooms.kernels.surfaces import LATTICE_SIDE, Mipmap, Pattern

RGB = tuple[float, float, float]
Span = tuple[float, float]
Rng = np.random.Generator
T = TypeVar("T")

WALLS = ((0.93, 0.91, 0.86), (0.88, 0.84, 0.74), (0.80, 0.84, 0.86), (0.90, 0.80, 0.66), (0.76, 0.80, 0.70))
WOODS = ((0.45, 0.28, 0.16), (0.62, 0.43, 0.26), (0.78, 0.60, 0.40), (0.30, 0.19, 0.13), (0.86, 0.76, 0.62))
STONES = ((0.82, 0.79, 0.74), (0.60, 0.57, 0.53), (0.92, 0.92, 0.90), (0.38, 0.37, 0.36), (0.68, 0.56, 0.46))
FABRICS = ((0.55, 0.50, 0.44), (0.34, 0.36, 0.42), (0.52, 0.26, 0.24), (0.26, 0.36, 0.54), (0.80, 0.76, 0.68))
"""Palettes in gamma 2; materials hold their squares, which are linear."""


def lerp(low: float, high: float, share: float) -> float:
    """Interpolate. Python rounds the product before the sum; numpy's own code may fuse them on some processors."""
    return low + (high - low) * share


def uniform(rng: Rng, low: float, high: float) -> float:
    return lerp(low, high, rng.random())


def pick(rng: Rng, choices: Sequence[T]) -> T:
    """Draw one of the choices."""
    return choices[int(rng.random() * len(choices))]


class Material(NamedTuple):
    """A colour, and a pattern that blends it with a second one; both are linear reflectance in [0, 1]."""

    colour: RGB
    second: RGB
    pattern: Pattern = "plain"
    size_m: float = 0.5
    phase_m: float = 0.0
    emission: float = 0.0  # in multiples of the colour
    wear: float = 0.0  # share by which stains and grain change the colour
    grains_per_m: float = 60.0
    gloss: float = 0.0  # share of a lamp's light in its highlight
    bumps: float = 0.0  # slope of folds that are `bump_m` wide
    bump_m: float = 0.1
    mirror: float = 0.0  # share of what is reflected


def material(rng: Rng, seen: RGB, patterns: Sequence[Pattern], size_m: Span, contrast: float = 0.3) -> Material:
    """Draw a material around the colour `seen` (gamma 2): its shade, pattern, second colour and scale."""
    shade, worn, *tints, dark, warm, even, cold, which, scale, phase, grain, shine = rng.random(14).tolist()
    shade, dark = lerp(0.7, 1.08, shade), lerp(1 - contrast, 1 + contrast / 4, dark)
    first = [_clip(c * shade + lerp(-0.04, 0.04, tint)) for c, tint in zip(seen, tints, strict=True)]
    second = [_clip(c * dark * lerp(0.94, 1.06, t)) for c, t in zip(first, (warm, even, cold), strict=True)]
    return Material(
        _linear(first),
        _linear(second),
        patterns[int(which * len(patterns))],
        lerp(*size_m, scale),
        lerp(0.0, 50.0, phase),
        wear=1.2 * contrast * worn * worn,
        grains_per_m=20 / lerp(0.1, 1.0, grain),
        gloss=max(0.0, lerp(-0.2, 0.35, shine)),
    )


def _clip(value: float) -> float:
    """Avoid black and white."""
    return min(max(value, 0.02), 0.97)


def _linear(colour: Sequence[float]) -> RGB:
    red, green, blue = colour
    return red * red, green * green, blue * blue


def printed(rng: Rng, size_m: Span = (0.15, 0.8)) -> Material:
    """Draw a printed or woven material: shapes of many sizes, in colours between a dark and a light one."""
    tint, dark, light, *tints, scale, phase = rng.random(11).tolist()
    tint, dark, light = lerp(0.0, 0.25, tint), lerp(0.02, 0.4, dark), lerp(0.4, 0.95, light)
    colour = _linear([_clip(dark * (1 + lerp(-tint, tint, share))) for share in tints[:3]])
    second = _linear([_clip(light * (1 + lerp(-tint, tint, share))) for share in tints[3:]])
    return Material(colour, second, "print", lerp(*size_m, scale), lerp(0.0, 50.0, phase))


def mirror_glass(rng: Rng) -> Material:
    return Material((0.02, 0.02, 0.02), (0.02, 0.02, 0.02), mirror=uniform(rng, 0.75, 0.95))


def paint(rng: Rng) -> Material:
    """Draw any colour, mostly a muted one, or a print: books, boxes, cushions."""
    if rng.random() < 0.45:
        return printed(rng, (0.06, 0.4))
    grey, saturation = uniform(rng, 0.12, 0.85), uniform(rng, 0.1, 0.7)
    red, green, blue = (min(0.95, max(0.04, grey + saturation * uniform(rng, -0.5, 0.5))) for _ in range(3))
    return material(rng, (red, green, blue), ("plain", "noise", "noise", "stripes"), (0.01, 0.1), 0.8)


def wall(rng: Rng) -> Material:
    """Draw plaster or paint, or printed or striped wallpaper."""
    if rng.random() < 0.08:
        return printed(rng, (0.25, 1.2))
    patterns: tuple[Pattern, ...] = "plain", "plain", "plain", "noise", "stripes"
    return material(rng, pick(rng, WALLS), patterns, (0.05, 0.6), uniform(rng, 0.03, 0.2))


def wood(rng: Rng) -> Material:
    """Draw wood, or white or grey lacquer."""
    if rng.random() < 0.3:
        return material(rng, pick(rng, (WALLS[0], STONES[1], STONES[2])), ("plain",), (0.2, 0.6), 0.1)
    return material(rng, pick(rng, WOODS), ("wood",), (0.05, 0.14), 0.6)


def fabric(rng: Rng) -> Material:
    """Draw cloth with folds: plain, striped, checked or printed."""
    if rng.random() < 0.4:
        cloth = printed(rng)
    else:
        patterns: tuple[Pattern, ...] = "noise", "noise", "plain", "stripes", "checks"
        cloth = material(rng, pick(rng, FABRICS), patterns, (0.015, 0.1), 0.6)
    return cloth._replace(gloss=0.0, bumps=uniform(rng, 0.0, 1.2), bump_m=uniform(rng, 0.05, 0.3))


def floor(rng: Rng) -> Material:
    """Draw boards, carpet or tiles."""
    if rng.random() < 0.45:
        return material(rng, pick(rng, WOODS), ("boards",), (0.055, 0.14), 0.55)
    if rng.random() < 0.5:
        return material(rng, pick(rng, FABRICS), ("noise", "plain"), (0.02, 0.08), 0.5)
    return tiles(rng, (0.2, 0.45))


def tiles(rng: Rng, size_m: Span = (0.06, 0.2)) -> Material:
    return material(rng, pick(rng, STONES), ("tiles", "tiles", "tiles", "checks"), size_m, 0.5)


def stone(rng: Rng) -> Material:
    """Draw the stone or laminate of a counter."""
    return material(rng, pick(rng, (*STONES, *WOODS)), ("noise", "noise", "plain"), (0.01, 0.08), 0.6)


def hash_integers(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash integers, so that neighbours are uncorrelated."""
    for shift, odd in ((16, 0x9E3779B1), (15, 0x85CA6B2D), (13, 0xC3A5C855)):
        numbers = (numbers ^ (numbers >> np.uint32(shift))) * np.uint32(odd)
    return numbers ^ (numbers >> np.uint32(16))


LATTICE = (hash_integers(np.arange(LATTICE_SIDE**2, dtype=np.uint32)) >> np.uint32(8)).astype(np.float32) * 2.0**-24
"""Random values in [0, 1) that the noise interpolates."""

SIDE_PX = 512  # side of the print, which repeats; a power of two


@cache
def mipmap() -> Mipmap:
    """Draw the print, shapes over shapes, and its halvings. **Source**: dead leaves, Lee, Mumford, Huang 2001."""
    rng = np.random.Generator(np.random.PCG64(5))
    canvas = np.full((SIDE_PX, SIDE_PX, 3), 0.5, np.float32)
    for _ in range(2500):
        radius = int(min(100, 2 / max(2 / 100, float(rng.random()))))
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
