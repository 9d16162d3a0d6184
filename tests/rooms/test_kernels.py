"""Patterns are varied, fade with distance, and tilt and wear what they should."""

from __future__ import annotations

import numpy as np
import pytest
from analytic import GREY, MILLIMETRE, camera_for

from src.rooms import kernels
from src.rooms.kernels import PATTERNS, PRINT
from src.rooms.raycast import Box, Camera, Piece, cast_rays, line_up, trace
from src.rooms.textures import LATTICE

noise = np.vectorize(lambda u, v: kernels.noise(u, v, LATTICE), otypes=[np.float32])
wear = np.vectorize(
    lambda u, v, pixel, rough: kernels.wear(np.float32(0.5), u, v, pixel, rough, np.float32(60), LATTICE)
)
blend = np.vectorize(
    lambda pattern, u, v, pixel: kernels.blend(pattern, kernels.noise(u, v, LATTICE), u, v, pixel, LATTICE)
)


def somewhere(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 30, (2, count)).astype(np.float32)


def test_noise_is_smooth_bounded_and_varied() -> None:
    u = np.linspace(0, 40, 4001, dtype=np.float32)
    values = noise(u, np.full_like(u, 0.3))
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.std() > 0.1
    assert np.abs(np.diff(values)).max() < 0.05  # a step of 0.01 cells


@pytest.mark.parametrize("pattern", range(PRINT))
def test_a_pattern_is_varied_near_by_and_fades_into_its_mean(pattern: int) -> None:
    u, v = somewhere(2000)
    near, far = (blend(pattern, u, v, np.full_like(u, pixel)) for pixel in (0.0, 2.0))
    assert near.min() >= 0 and near.max() <= 1 and near.std() > 0.05, PATTERNS[pattern]
    if PATTERNS[pattern] != "plain":
        assert np.allclose(far, 0.4)


def test_wear_changes_a_rough_surface_and_its_grain_fades_with_distance() -> None:
    u, v = somewhere(4000)
    assert (wear(u, v, np.zeros_like(u), np.float32(0)) == 1).all()
    near, far = (wear(u, v, np.full_like(u, pixel), np.float32(0.8)) for pixel in (0.0, 0.1))
    assert 0.5 < near.min() < near.max() < 1.5
    assert abs(near.mean() - 1) < 0.05
    assert near.std() > 0.1 and (far == 1).all()


def test_folds_tilt_normals_and_keep_their_length() -> None:
    u, v = somewhere(4000)
    flat = np.float32(0), np.float32(0), np.float32(1)

    def tilt(u: np.ndarray) -> np.ndarray:
        return np.array([kernels.bump(*flat, a, b, np.float32(0.8), LATTICE) for a, b in zip(u, v, strict=True)]).T

    tilted = tilt(u)
    assert np.allclose((tilted**2).sum(0), 1, atol=1e-5)
    assert tilted[:2].std(axis=1).min() > 0.1
    assert abs(tilted[:2].mean()) < 0.03
    # A hundredth of a fold further on, the surface faces nearly the same way.
    assert np.abs(tilt(u + np.float32(0.01)) - tilted).max() < 0.05


def test_a_followed_ray_meets_what_a_traced_one_does() -> None:
    rng = np.random.default_rng(3)
    pieces = [
        Piece((Box(tuple(low), tuple(low + rng.uniform(0.2, 1, 3)), GREY, shape),), (2.5, 0.0, 0.0), 40.0 * k)
        for k, shape in enumerate(("box", "cylinder", "ellipsoid", "box"))
        for low in [rng.uniform(-1, 0.5, 3)]
    ]
    camera, intrinsics, solids = Camera((0.1, 0.2, 0.3), 10.0, 5.0, 3.0), camera_for((64, 48)), line_up(pieces)
    depth_m, number = (each.ravel() for each in trace(solids, camera, intrinsics))
    rays = cast_rays(camera, intrinsics).reshape(3, -1)
    starts = np.repeat(np.array(camera.position, np.float32)[:, None], rays.shape[1], axis=1)
    distance, box = kernels.follow(solids, starts, rays)
    # Rounding may settle a ray that grazes an edge either way.
    same = box == number
    assert same.mean() > 0.995 and set(number.tolist()) == {-1, 0, 1, 2, 3}
    hit = same & (number >= 0)
    np.testing.assert_allclose(distance[hit], depth_m[hit], atol=MILLIMETRE)
