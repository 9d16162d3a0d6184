"""Scenes simple enough to be worked out by hand."""

import numpy as np

from src.conventions import NYU_INTRINSICS, Intrinsics
from src.rooms.exposure import Exposure
from src.rooms.raycast import Box, Piece
from src.rooms.textures import Material

GREY = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN = Exposure(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
MILLIMETRE = 1e-3


def camera_for(size: tuple[int, int]) -> Intrinsics:
    return NYU_INTRINSICS.resized(*size)


def rays(camera: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    x = (np.arange(camera.width_px) - camera.cx_px) / camera.fx_px
    y = (np.arange(camera.height_px) - camera.cy_px) / camera.fy_px
    return np.meshgrid(x, y)


def solid(low: tuple[float, float, float], high: tuple[float, float, float]) -> Piece:
    return Piece((Box(tuple(map(float, low)), tuple(map(float, high)), GREY),))
