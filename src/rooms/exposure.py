"""The camera's exposure: from light to the bytes of a photo."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.rooms.kernels.compilation import Floats
from src.rooms.kernels.jpeg import compress
from src.rooms.textures import RGB, hash_integers


@dataclass(frozen=True)
class Exposure:
    """How linear light becomes the bytes of a photo."""

    brightness: float  # mean of the exposed light
    balance: RGB  # white balance
    vignetting: float  # share of the light lost in the corners
    contrast: float  # weight of the S curve, up to 1
    blur: float  # share that goes to either neighbour, below 1/3
    grain: float  # standard deviation of the noise
    seed: int
    saturation: float = 1.0  # share of the colours that is kept
    black: float = 0.0  # the tones that become 0 and 1
    white: float = 1.0
    border: float = 0.0  # width of a white frame, as in NYU, in widths of the picture
    motion: tuple[float, float] = 0.0, 0.0  # the camera's movement right and down, in widths of the picture
    quality: int = 100  # of the JPEG, from 1; at 100 there is no compression

    def expose(self, light: Floats) -> NDArray[np.uint8]:
        """Expose, blur, apply the tone curve, add grain, compress: (3, H, W) linear light -> (H, W, 3) uint8."""
        # A mean of floats would depend on the order of summation; a sum of integers does not.
        units = int((np.clip(light, 0, 50) * 1024).astype(np.int64).sum())
        gain = self.brightness * 1024 * light.size / max(units, 1)
        light = light * (gain * np.array(self.balance, np.float32).reshape(3, 1, 1))
        grey = (light[0] + light[1] + light[1] + light[2]) * np.float32(0.25)
        light = grey + (light - grey) * np.float32(self.saturation)
        rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in light.shape[1:])
        light *= 1 - self.vignetting * (0.4 * (rows * rows)[:, None] + 0.6 * (columns * columns))
        light = _motion_blur(light, *(math.floor(share * light.shape[2] + 0.5) for share in self.motion))
        padded = np.pad(light, ((0, 0), (1, 1), (0, 0)), mode="edge")
        light = light * (1 - 2 * self.blur) + (padded[:, 2:] + padded[:, :-2]) * self.blur
        padded = np.pad(light, ((0, 0), (0, 0), (1, 1)), mode="edge")
        light = light * (1 - 2 * self.blur) + (padded[:, :, 2:] + padded[:, :, :-2]) * self.blur
        # The root is the gamma, the shoulder compresses highlights, the S curve adds contrast.
        tone = np.minimum(np.sqrt(light * 1.5 / (light + 0.5)), 1)
        tone += self.contrast * tone * (tone * (3 - 2 * tone) - 1)
        tone = (tone - np.float32(self.black)) * np.float32(1 / (self.white - self.black))
        tone += self.grain * _gaussian_noise(light.shape, self.seed)
        border_px = int(self.border * light.shape[2] + 0.5)
        if border_px:
            tone[:, :border_px], tone[:, -border_px:], tone[:, :, :border_px], tone[:, :, -border_px:] = 1, 1, 1, 1
        image = np.ascontiguousarray((np.clip(tone, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
        return image if self.quality == 100 else compress(image, self.quality)


def _motion_blur(light: Floats, right_px: int, down_px: int) -> Floats:
    """Average along a straight movement of that many pixels; the edges repeat."""
    steps = max(abs(right_px), abs(down_px))
    if not steps:
        return light
    pad_y, pad_x = abs(down_px), abs(right_px)
    padded = np.pad(light, ((0, 0), (pad_y, pad_y), (pad_x, pad_x)), mode="edge")
    total = np.zeros_like(light)
    for step in range(steps + 1):
        y, x = (px * step // steps for px in (down_px, right_px))
        total += padded[:, pad_y + y :, pad_x + x :][:, : light.shape[1], : light.shape[2]]
    return total / np.float32(steps + 1)


def _gaussian_noise(shape: tuple[int, ...], seed: int) -> Floats:
    """Draw nearly normal numbers, each the sum of four hashed bytes."""
    bits = hash_integers(np.arange(math.prod(shape), dtype=np.uint32) + np.uint32(seed))
    pairs = (bits & np.uint32(0xFF00FF)) + (bits >> np.uint32(8) & np.uint32(0xFF00FF))
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return ((total.astype(np.float32) - 510) / 147.8).reshape(shape)
