"""Patterns that are the same on every machine, and a film that is honest about light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.data.textures import Material, blend, bump, noise


def test_noise_is_smooth_bounded_and_varied() -> None:
    u = np.linspace(0, 40, 4001, dtype=np.float32)
    values = noise(u, np.full_like(u, 0.3))
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.std() > 0.1
    assert np.abs(np.diff(values)).max() < 0.05  # a step of 0.01 cells


def test_wear_changes_a_rough_surface_and_its_grain_fades_with_distance() -> None:
    u, v = np.random.default_rng(0).uniform(0, 30, (2, 4000)).astype(np.float32)
    smooth = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (blend(smooth, u, v, np.zeros_like(u))[1] == 1).all()
    near, far = (blend(replace(smooth, rough=0.8), u, v, np.full_like(u, pixel))[1] for pixel in (0.0, 0.1))
    assert 0.2 <= near.min() < near.max() <= 1.8
    assert abs(near.mean() - 1) < 0.05
    assert 0.05 < far.std() < 0.8 * near.std()


def test_folds_tilt_normals_and_keep_their_length() -> None:
    u, v = np.random.default_rng(0).uniform(0, 30, (2, 4000)).astype(np.float32)
    flat = [np.zeros_like(u), np.zeros_like(u), np.ones_like(u)]
    cloth = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bumps=0.8, bump_m=0.1)
    tilted = np.stack(bump(cloth, flat, u, v))
    assert np.allclose((tilted**2).sum(0), 1, atol=1e-5)
    assert tilted[:2].std(axis=1).min() > 0.1
    assert abs(tilted[:2].mean()) < 0.03
    # A hundredth of a fold further on, the surface faces nearly the same way.
    assert np.abs(np.stack(bump(cloth, flat, u + np.float32(0.001), v)) - tilted).max() < 0.05
