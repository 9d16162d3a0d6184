"""The camera's film: from light to the bytes of a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.rooms.jpeg import compress
from src.rooms.kernels import Floats
from src.rooms.textures import RGB, scramble


@dataclass(frozen=True)
class Film:
    """One exposure: from linear light to the bytes of a photo.

    `brightness` is the mean the exposure aims at, in linear light; `saturation` the share of the colours that is kept;
    `vignetting` the light lost in the corners; `contrast` the weight of the S in the tone curve, up to 1; `black` the
    tone that the film takes for black, `white` the one for white; `blur` the share that leaks to either neighbour,
    below 1/3; `motion` how far the camera moved meanwhile, right and down, as shares of the width; `grain` the noise's
    standard deviation, with white at 1; `border` the share of the width that stays white along all four sides, as in
    NYU's pictures; `quality` that of the JPEG file, from 1; at 100 there is none.
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
    border: float = 0.0
    motion: tuple[float, float] = 0.0, 0.0
    quality: int = 100

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
        light = _smear(light, *(math.floor(share * light.shape[2] + 0.5) for share in self.motion))
        for axis in (1, 2):
            light = _leak(light, axis, self.blur)
        # The root is the gamma, the shoulder keeps lamps from clipping hard, the S adds contrast.
        tone = np.sqrt(light * 1.5 / (light + 0.5))
        tone = np.minimum(tone, 1)
        tone += self.contrast * tone * (tone * (3 - 2 * tone) - 1)
        tone = (tone - np.float32(self.black)) * np.float32(1 / (self.white - self.black))
        tone += self.grain * _bells(light.shape, self.seed)
        edge_px = int(self.border * light.shape[2] + 0.5)
        if edge_px:
            tone[:, :edge_px], tone[:, -edge_px:], tone[:, :, :edge_px], tone[:, :, -edge_px:] = 1, 1, 1, 1
        image = np.ascontiguousarray((np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
        return image if self.quality == 100 else compress(image, self.quality)


def _smear(light: Floats, right_px: int, down_px: int) -> Floats:
    """Average over a straight way of so many pixels; the edges repeat."""
    steps = max(abs(right_px), abs(down_px))
    if not steps:
        return light
    reach = abs(down_px), abs(right_px)
    padded = np.pad(light, ((0, 0), (reach[0], reach[0]), (reach[1], reach[1])), mode="edge")
    total = np.zeros_like(light)
    for step in range(steps + 1):
        y, x = (px * step // steps for px in (down_px, right_px))
        total += padded[:, reach[0] + y :, reach[1] + x :][:, : light.shape[1], : light.shape[2]]
    return total / np.float32(steps + 1)


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
    pairs = (bits & np.uint32(0xFF00FF)) + (bits >> np.uint32(8) & np.uint32(0xFF00FF))
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return ((total.astype(np.float32) - 510) / 147.8).reshape(shape)
