"""How things look: random numbers, materials, their patterns, and the camera's film.

The same seed gives the same bytes on every machine, so arrays see only what IEEE 754 rounds in one
way: + - * / sqrt, comparisons, floor and integers. Sines, powers and matrix products are left out,
because their last bits depend on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]
Floats = NDArray[np.float32]
Pattern = Literal["plain", "noise", "wood", "boards", "stripes", "checks", "tiles"]
T = TypeVar("T")

LATTICE_SIDE = 256
"""The noise repeats after so many cells; a power of two."""

GROUT_SHARE = 0.04
"""Share of a tile's side, or of a board's width, that its seam takes."""

GRAINS_PER_M = np.float32(60)
"""Of a surface's finest grain, as on plaster, carpet and granite."""

WALLS = ((0.93, 0.91, 0.86), (0.88, 0.84, 0.74), (0.80, 0.84, 0.86), (0.90, 0.80, 0.66), (0.76, 0.80, 0.70))
WOODS = ((0.45, 0.28, 0.16), (0.62, 0.43, 0.26), (0.78, 0.60, 0.40), (0.30, 0.19, 0.13), (0.86, 0.76, 0.62))
STONES = ((0.82, 0.79, 0.74), (0.60, 0.57, 0.53), (0.92, 0.92, 0.90), (0.38, 0.37, 0.36), (0.68, 0.56, 0.46))
FABRICS = ((0.55, 0.50, 0.44), (0.34, 0.36, 0.42), (0.52, 0.26, 0.24), (0.26, 0.36, 0.54), (0.80, 0.76, 0.68))
"""Palettes as the eye sees them (gamma 2); materials hold their squares."""


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly. Python multiplies and adds apart; numpy's own C may fuse the two on some processors."""
    return low + (high - low) * float(rng.random())


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Draw one of the choices."""
    return choices[int(rng.random() * len(choices))]


@dataclass(frozen=True)
class Material:
    """A colour, and a pattern that blends it into a second one over the metres of a face.

    **Units**: linear reflectance in [0, 1]; `glow` is light given off, in multiples of the colour; `rough` the share by
    which stains and grain may darken or lighten it.
    """

    colour: RGB
    second: RGB
    pattern: Pattern = "plain"
    size_m: float = 0.5
    phase_m: float = 0.0
    glow: float = 0.0
    rough: float = 0.0


def material(
    rng: np.random.Generator, seen: RGB, patterns: Sequence[Pattern], size_m: tuple[float, float], contrast: float = 0.3
) -> Material:
    """Draw a material around the colour `seen`: its shade, its pattern, its second colour, its scale."""
    shade = between(rng, 0.7, 1.08)
    worn = between(rng, 0.0, 1.0)
    tinted = tuple(min(0.97, max(0.02, c * shade + between(rng, -0.04, 0.04))) for c in seen)
    darker = between(rng, 1 - contrast, 1 + contrast / 4)
    other = tuple(min(0.97, max(0.02, c * darker * between(rng, 0.94, 1.06))) for c in tinted)
    (r, g, b), (r2, g2, b2) = tinted, other
    return Material(
        (r * r, g * g, b * b),
        (r2 * r2, g2 * g2, b2 * b2),
        pick(rng, patterns),
        between(rng, *size_m),
        between(rng, 0.0, 50.0),
        rough=1.2 * contrast * worn * worn,
    )


def paint(rng: np.random.Generator) -> Material:
    """Draw any colour, mostly a muted one: books, boxes, cushions."""
    grey, colourful = between(rng, 0.12, 0.85), between(rng, 0.1, 0.7)
    red, green, blue = (min(0.95, max(0.04, grey + colourful * between(rng, -0.5, 0.5))) for _ in range(3))
    return material(rng, (red, green, blue), ("plain", "noise", "noise", "stripes"), (0.02, 0.15), 0.8)


def wall(rng: np.random.Generator) -> Material:
    """Draw plaster, paint or wallpaper."""
    return material(rng, pick(rng, WALLS), ("plain", "plain", "noise", "stripes"), (0.1, 0.6), 0.2)


def wood(rng: np.random.Generator) -> Material:
    """Draw wood, or the white or grey lacquer that often hides it."""
    if rng.random() < 0.3:
        return material(rng, pick(rng, (WALLS[0], STONES[1], STONES[2])), ("plain",), (0.2, 0.6), 0.1)
    return material(rng, pick(rng, WOODS), ("wood",), (0.05, 0.14), 0.6)


def fabric(rng: np.random.Generator) -> Material:
    """Draw cloth: plain weave, stripes or checks."""
    return material(rng, pick(rng, FABRICS), ("noise", "noise", "plain", "stripes", "checks"), (0.03, 0.14), 0.6)


def floor(rng: np.random.Generator) -> Material:
    """Draw boards, carpet or tiles."""
    if rng.random() < 0.45:
        return material(rng, pick(rng, WOODS), ("boards",), (0.08, 0.2), 0.55)
    if rng.random() < 0.5:
        return material(rng, pick(rng, FABRICS), ("noise", "plain"), (0.02, 0.08), 0.5)
    return tiles(rng)


def tiles(rng: np.random.Generator) -> Material:
    """Draw stone or ceramic tiles."""
    return material(rng, pick(rng, STONES), ("tiles", "tiles", "tiles", "checks"), (0.15, 0.45), 0.5)


def scramble(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash integers so that neighbours share nothing."""
    for shift, odd in ((16, 0x9E3779B1), (15, 0x85CA6B2D), (13, 0xC3A5C855)):
        numbers = (numbers ^ (numbers >> np.uint32(shift))) * np.uint32(odd)
    return numbers ^ (numbers >> np.uint32(16))


_LATTICE = (scramble(np.arange(LATTICE_SIDE**2, dtype=np.uint32)) >> np.uint32(8)).astype(np.float32) * 2.0**-24


def _lattice(row: NDArray[np.intp], column: NDArray[np.intp]) -> Floats:
    mask = LATTICE_SIDE - 1
    return _LATTICE.take((row & mask) * LATTICE_SIDE + (column & mask))


def _cell(u: Floats) -> tuple[NDArray[np.intp], Floats]:
    whole = np.floor(u)
    return whole.astype(np.intp), u - whole


def noise(u: Floats, v: Floats) -> Floats:
    """Blend random values on the unit lattice, smoothly, into [0, 1)."""
    (column, x), (row, y) = _cell(u), _cell(v)
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    top, bottom = _lattice(row, column), _lattice(row + 1, column)
    top = top + (_lattice(row, column + 1) - top) * x
    bottom = bottom + (_lattice(row + 1, column + 1) - bottom) * x
    return top + (bottom - top) * y


def blend(surface: Material, u_m: Floats, v_m: Floats, pixel_m: Floats) -> tuple[Floats, Floats]:
    """Tell how much of the second colour each point takes, in [0, 1], and by what wear multiplies its colour.

    `pixel_m` is what one pixel covers there: a pattern finer than that fades into its mean, as it does
    on film, instead of shimmering.
    """
    u, v = (u_m + surface.phase_m) / surface.size_m, (v_m + surface.phase_m) / surface.size_m
    coarse = noise(u, v)
    worn = 1 + np.float32(surface.rough) * (coarse - np.float32(0.5))
    fine = np.clip(1.5 - pixel_m * (2 * GRAINS_PER_M), 0, 1)
    if surface.rough and fine.any():
        grain = _lattice(_cell(v_m * GRAINS_PER_M)[0], _cell(u_m * GRAINS_PER_M)[0]) - np.float32(0.5)
        worn += np.float32(surface.rough) * (grain * fine)
    mix: Floats
    if surface.pattern == "plain":
        return 0.4 * coarse, worn
    if surface.pattern == "noise":
        mix = 0.4 * coarse + 0.6 * noise(u * 4, v * 4)
    elif surface.pattern == "wood":
        rings = _cell(4 * noise(u, v * 0.08) + u * 0.3)[1]
        mix = 0.75 * np.abs(2 * rings - 1) + 0.25 * noise(u * 20, v)
    elif surface.pattern == "boards":
        board, across = _cell(u)
        plank, along = _cell(v * 0.1 + _lattice(board, board))
        seam = (across < GROUT_SHARE) | (along < GROUT_SHARE / 10)
        mix = np.where(seam, np.float32(1), 0.6 * _lattice(board, plank) + 0.3 * noise(u * 9, v * 0.4))
    elif surface.pattern == "stripes":
        mix = (_cell(u)[1] < 0.5).astype(np.float32)
    elif surface.pattern == "checks":
        mix = ((_cell(u)[0] ^ _cell(v)[0]) & 1).astype(np.float32)
    else:
        (column, across), (row, along) = _cell(u), _cell(v)
        grout = (across < GROUT_SHARE) | (along < GROUT_SHARE)
        mix = np.where(grout, np.float32(1), 0.25 * _lattice(row, column) + 0.15 * noise(u * 3, v * 3))
    sharp: Floats = np.clip(1.5 - 3 * pixel_m / surface.size_m, 0, 1)
    return 0.4 + (mix - 0.4) * sharp, worn


@dataclass(frozen=True)
class Film:
    """One exposure: from linear light to the bytes of a photo.

    `brightness` is the mean the exposure aims at, in linear light; `saturation` the share of the colours that is kept;
    `vignetting` the light lost in the corners; `contrast` the weight of the S in the tone curve, up to 1; `black` the
    tone that the film takes for black, `white` the one for white; `blur` the share that leaks to either neighbour,
    below 1/3; `grain` the noise's standard deviation, with white at 1.
    """

    brightness: float
    balance: RGB
    vignetting: float
    contrast: float
    blur: float
    grain: float
    seed: int
    saturation: float = 1.0
    black: float = 0.0
    white: float = 1.0

    def develop(self, light: Floats) -> NDArray[np.uint8]:
        """Expose, blur, tone, and add grain.

        **Shape**: (3, H, W) linear light -> (H, W, 3) uint8.
        """
        # A float mean would depend on the order of its adds; a sum of integers does not.
        units = int((np.clip(light, 0, 50) * 1024).astype(np.int64).sum())
        gain = self.brightness * 1024 * light.size / max(units, 1)
        light = light * (gain * np.array(self.balance, np.float32).reshape(3, 1, 1))
        grey = (light[0] + light[1] + light[1] + light[2]) * np.float32(0.25)
        light = grey + (light - grey) * np.float32(self.saturation)
        rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in light.shape[1:])
        light *= 1 - self.vignetting * (0.4 * (rows * rows)[:, None] + 0.6 * (columns * columns))
        for axis in (1, 2):
            light = _leak(light, axis, self.blur)
        # The root is the gamma, the shoulder keeps lamps from clipping hard, the S adds contrast.
        tone = np.sqrt(light * 1.5 / (light + 0.5))
        tone = np.minimum(tone, 1)
        tone += self.contrast * tone * (tone * (3 - 2 * tone) - 1)
        tone = (tone - np.float32(self.black)) * np.float32(1 / (self.white - self.black))
        tone += self.grain * _bells(light.shape, self.seed)
        return np.ascontiguousarray((np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def _leak(light: Floats, axis: int, share: float) -> Floats:
    """Blur along one axis by three taps; the border repeats."""
    first, last = light.take([0], axis), light.take([-1], axis)
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    sides = np.concatenate((light[tuple(ahead)], last), axis) + np.concatenate((first, light[tuple(behind)]), axis)
    return light * (1 - 2 * share) + sides * share


def _bells(shape: tuple[int, ...], seed: int) -> Floats:
    """Draw nearly normal numbers, each the sum of four hashed bytes."""
    count = shape[0] * shape[1] * shape[2]
    bits = scramble(np.arange(count, dtype=np.uint32) + np.uint32(seed))
    total = bits.view(np.uint8).reshape(count, 4).astype(np.int32)
    quarters = total[:, 0] + total[:, 1] + total[:, 2] + total[:, 3]
    return ((quarters - 510).astype(np.float32) / 147.8).reshape(shape)
