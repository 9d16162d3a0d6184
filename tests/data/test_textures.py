"""Patterns that are the same on every machine, and a film that is honest about light."""

from __future__ import annotations

import numpy as np

from src.data.textures import Film, noise


def test_noise_is_smooth_bounded_and_varied() -> None:
    u = np.linspace(0, 40, 4001, dtype=np.float32)
    values = noise(u, np.full_like(u, 0.3))
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.std() > 0.1
    assert np.abs(np.diff(values)).max() < 0.05  # a step of 0.01 cells


def test_a_neutral_film_keeps_order_and_grey() -> None:
    film = Film(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
    light = np.repeat(np.linspace(0, 3, 64, dtype=np.float32).reshape(1, 1, 64), 3, axis=0).repeat(4, axis=1)
    image = film.develop(light)
    assert image.shape == (4, 64, 3)
    assert (np.diff(image[0, :, 0].astype(int)) >= 0).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_a_warm_balance_makes_red_of_grey() -> None:
    film = Film(brightness=0.2, balance=(1.2, 1, 0.8), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
    image = film.develop(np.full((3, 8, 8), 0.5, np.float32)).astype(int)
    assert (image[..., 0] > image[..., 1]).all()
    assert (image[..., 1] > image[..., 2]).all()
