"""How things look: random numbers, materials and their patterns.

The same seed gives the same bytes on every machine, so arrays see only what IEEE 754 rounds in one
way: + - * / sqrt, comparisons, floor and integers. Sines, powers and matrix products are left out,
because their last bits depend on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from src.rooms.kernels import LATTICE_SIDE

RGB = tuple[float, float, float]
Pattern = Literal["plain", "noise", "wood", "boards", "stripes", "checks", "tiles", "print"]
T = TypeVar("T")

WALLS = ((0.93, 0.91, 0.86), (0.88, 0.84, 0.74), (0.80, 0.84, 0.86), (0.90, 0.80, 0.66), (0.76, 0.80, 0.70))
WOODS = ((0.45, 0.28, 0.16), (0.62, 0.43, 0.26), (0.78, 0.60, 0.40), (0.30, 0.19, 0.13), (0.86, 0.76, 0.62))
STONES = ((0.82, 0.79, 0.74), (0.60, 0.57, 0.53), (0.92, 0.92, 0.90), (0.38, 0.37, 0.36), (0.68, 0.56, 0.46))
FABRICS = ((0.55, 0.50, 0.44), (0.34, 0.36, 0.42), (0.52, 0.26, 0.24), (0.26, 0.36, 0.54), (0.80, 0.76, 0.68))
"""Palettes as the eye sees them (gamma 2); materials hold their squares."""


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly."""
    return along(low, high, rng.random())


def along(low: float, high: float, share: float) -> float:
    """Go a share of the way. Python multiplies and adds apart; numpy's own C may fuse the two on some processors."""
    return low + (high - low) * share


def shares(rng: np.random.Generator, count: int) -> list[float]:
    """Draw numbers in [0, 1): those that single draws would give, in less time."""
    return rng.random(count).tolist()


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Draw one of the choices."""
    return choices[int(rng.random() * len(choices))]


@dataclass(frozen=True)
class Material:
    """A colour, and a pattern that blends it into a second one over the metres of a face.

    **Units**: linear reflectance in [0, 1]; `glow` is light given off, in multiples of the colour; `rough` the share by
    which stains and grain may darken or lighten it, with so many `grains_per_m`; `gloss` the share of a lamp's light
    that it throws back at once, `mirror` that of all that stands before it; `bumps` how far folds of `bump_m` tilt it,
    1 being steep.
    """

    colour: RGB
    second: RGB
    pattern: Pattern = "plain"
    size_m: float = 0.5
    phase_m: float = 0.0
    glow: float = 0.0
    rough: float = 0.0
    grains_per_m: float = 60.0
    gloss: float = 0.0
    bumps: float = 0.0
    bump_m: float = 0.1
    mirror: float = 0.0


def material(
    rng: np.random.Generator, seen: RGB, patterns: Sequence[Pattern], size_m: tuple[float, float], contrast: float = 0.3
) -> Material:
    """Draw a material around the colour `seen`: its shade, its pattern, its second colour, its scale."""
    shade, worn, *tints, dark, warm, even, cold, which, scale, phase, grain, shine = shares(rng, 14)
    shade, dark = along(0.7, 1.08, shade), along(1 - contrast, 1 + contrast / 4, dark)
    red, green, blue = (_tone(c * shade + along(-0.04, 0.04, tint)) for c, tint in zip(seen, tints, strict=True))
    r, g, b = (
        _tone(c * dark * along(0.94, 1.06, t)) for c, t in zip((red, green, blue), (warm, even, cold), strict=True)
    )
    return Material(
        (red * red, green * green, blue * blue),
        (r * r, g * g, b * b),
        patterns[int(which * len(patterns))],
        along(*size_m, scale),
        along(0.0, 50.0, phase),
        rough=1.2 * contrast * worn * worn,
        grains_per_m=20 / along(0.1, 1.0, grain),
        gloss=max(0.0, along(-0.2, 0.35, shine)),
    )


def _tone(value: float) -> float:
    """Keep a colour from black and white."""
    return 0.02 if value < 0.02 else 0.97 if value > 0.97 else value


def printed(rng: np.random.Generator, size_m: tuple[float, float] = (0.15, 0.8)) -> Material:
    """Draw what is printed or woven: shapes of many sizes and colours between a dark and a light one."""
    tint, dark, light, *tints, scale, phase = shares(rng, 11)
    tint, dark, light = along(0.0, 0.25, tint), along(0.02, 0.4, dark), along(0.4, 0.95, light)
    red, green, blue = (_tone(dark * (1 + along(-tint, tint, each))) for each in tints[:3])
    r, g, b = (_tone(light * (1 + along(-tint, tint, each))) for each in tints[3:])
    size, start = along(*size_m, scale), along(0.0, 50.0, phase)
    return Material((red * red, green * green, blue * blue), (r * r, g * g, b * b), "print", size, start)


def glass(rng: np.random.Generator) -> Material:
    """Draw a mirror."""
    return Material((0.02, 0.02, 0.02), (0.02, 0.02, 0.02), mirror=between(rng, 0.75, 0.95))


def paint(rng: np.random.Generator) -> Material:
    """Draw any colour, mostly a muted one, or a print: books, boxes, cushions."""
    if rng.random() < 0.45:
        return printed(rng, (0.06, 0.4))
    grey, colourful = between(rng, 0.12, 0.85), between(rng, 0.1, 0.7)
    red, green, blue = (min(0.95, max(0.04, grey + colourful * between(rng, -0.5, 0.5))) for _ in range(3))
    return material(rng, (red, green, blue), ("plain", "noise", "noise", "stripes"), (0.01, 0.1), 0.8)


def wall(rng: np.random.Generator) -> Material:
    """Draw plaster or paint, or the prints and stripes of wallpaper."""
    if rng.random() < 0.08:
        return printed(rng, (0.25, 1.2))
    patterns: tuple[Pattern, ...] = "plain", "plain", "plain", "noise", "stripes"
    return material(rng, pick(rng, WALLS), patterns, (0.05, 0.6), between(rng, 0.03, 0.2))


def wood(rng: np.random.Generator) -> Material:
    """Draw wood, or the white or grey lacquer that often hides it."""
    if rng.random() < 0.3:
        return material(rng, pick(rng, (WALLS[0], STONES[1], STONES[2])), ("plain",), (0.2, 0.6), 0.1)
    return material(rng, pick(rng, WOODS), ("wood",), (0.05, 0.14), 0.6)


def fabric(rng: np.random.Generator) -> Material:
    """Draw cloth in its folds: plain weave, stripes, checks or a print."""
    if rng.random() < 0.4:
        cloth = printed(rng)
    else:
        patterns: tuple[Pattern, ...] = "noise", "noise", "plain", "stripes", "checks"
        cloth = material(rng, pick(rng, FABRICS), patterns, (0.015, 0.1), 0.6)
    return replace(cloth, gloss=0.0, bumps=between(rng, 0.0, 1.2), bump_m=between(rng, 0.05, 0.3))


def floor(rng: np.random.Generator) -> Material:
    """Draw boards, carpet or tiles."""
    if rng.random() < 0.45:
        return material(rng, pick(rng, WOODS), ("boards",), (0.055, 0.14), 0.55)
    if rng.random() < 0.5:
        return material(rng, pick(rng, FABRICS), ("noise", "plain"), (0.02, 0.08), 0.5)
    return tiles(rng, (0.2, 0.45))


def tiles(rng: np.random.Generator, size_m: tuple[float, float] = (0.06, 0.2)) -> Material:
    """Draw stone or ceramic tiles, as on walls."""
    return material(rng, pick(rng, STONES), ("tiles", "tiles", "tiles", "checks"), size_m, 0.5)


def stone(rng: np.random.Generator) -> Material:
    """Draw a counter: stone, or what looks like it."""
    return material(rng, pick(rng, (*STONES, *WOODS)), ("noise", "noise", "plain"), (0.01, 0.08), 0.6)


def scramble(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash integers so that neighbours share nothing."""
    for shift, odd in ((16, 0x9E3779B1), (15, 0x85CA6B2D), (13, 0xC3A5C855)):
        numbers = (numbers ^ (numbers >> np.uint32(shift))) * np.uint32(odd)
    return numbers ^ (numbers >> np.uint32(16))


LATTICE = (scramble(np.arange(LATTICE_SIDE**2, dtype=np.uint32)) >> np.uint32(8)).astype(np.float32) * 2.0**-24
"""Random values of the cells between which noise blends."""
