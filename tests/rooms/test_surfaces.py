"""Materials, patterns and prints: varied nearby, smooth, without aliasing far away, within physics."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from analytic import GREY, camera_for

from src.rooms import textures
from src.rooms.kernels import surfaces as kernels
from src.rooms.kernels.surfaces import PATTERNS, PRINT, sample_print, sample_surfaces
from src.rooms.prints import SIDE_PX, mip_levels, mipmap
from src.rooms.raycast import Box, Camera, Piece, camera_rays, pack, pack_materials, trace
from src.rooms.textures import LATTICE, Material

noise = np.vectorize(lambda u, v: kernels.value_noise(u, v, LATTICE), otypes=[np.float32])
wear = np.vectorize(
    lambda u, v, pixel, amount: kernels.wear_factor(np.float32(0.5), u, v, pixel, amount, np.float32(60), LATTICE)
)
weight = np.vectorize(
    lambda pattern, u, v, pixel: kernels.pattern_weight(
        pattern, kernels.value_noise(u, v, LATTICE), u, v, pixel, LATTICE
    )
)
U, V = np.random.default_rng(0).uniform(0, 30, (2, 2000)).astype(np.float32)
ZERO = np.zeros_like(U)


@pytest.mark.parametrize("pattern", range(PRINT))
def test_a_pattern_is_varied_nearby_and_fades_to_its_mean(pattern: int) -> None:
    near, far = weight(pattern, U, V, ZERO), weight(pattern, U, V, ZERO + 2)
    assert near.min() >= 0 and near.max() <= 1 and near.std() > 0.05
    assert PATTERNS[pattern] == "plain" or np.allclose(far, 0.4)


def test_the_print_is_sampled_at_its_place_repeats_and_fades_to_its_mean() -> None:
    def sample(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        return np.stack([sample_print(a, b, np.float32(pixel), mipmap()) for a, b in zip(u, v, strict=True)])

    levels = mip_levels()
    assert [len(level) for level in levels] == [SIDE_PX >> k for k in range(10)] and levels[0].std() > 0.2
    row, column = np.random.default_rng(0).integers(0, SIDE_PX, (2, 500))
    u, v = ((index + np.float32(0.5)) / np.float32(SIDE_PX) for index in (column, row))
    u, v = u.astype(np.float32), v.astype(np.float32)
    assert np.array_equal(sample(u, v, 0.0), levels[0][row, column])
    assert np.array_equal(sample(u - np.float32(3), v + np.float32(2), 0.0), levels[0][row, column])
    spread = [sample(U, V, pixel).std(axis=0).mean() for pixel in (0.0, 0.1, 0.4, 2.0)]
    assert all(near > 1.3 * far for near, far in pairwise(spread))
    assert np.allclose(sample(U, V, 2.0), levels[0].mean((0, 1)), atol=1e-3)


@pytest.mark.parametrize(
    "draw", ["fabric", "floor", "mirror_glass", "paint", "printed", "stone", "tiles", "wall", "wood"]
)
def test_materials_reflect_less_light_than_they_receive(draw: str) -> None:
    function: Callable[[np.random.Generator], Material] = getattr(textures, draw)
    drawn = [function(np.random.default_rng(seed)) for seed in range(200)]
    for material in drawn:
        assert all(0 < value < 1 for value in (*material.colour, *material.second))
        assert material.pattern in PATTERNS and material.size_m > 0 and material.emission == 0
        assert material.mirror + max(material.colour) <= 1 and 0 <= material.gloss < 0.5
        assert (material.bumps > 0) == (draw == "fabric")
    assert len(set(drawn)) == 200 and len({material.mirror for material in drawn}) == (
        200 if draw == "mirror_glass" else 1
    )


@pytest.mark.parametrize("yaw", [0.0, 90.0, 200.0])
def test_pixels_get_the_material_of_their_box_and_normals_that_face_the_camera(yaw: float) -> None:
    left = GREY._replace(colour=(0.9, 0.1, 0.2), second=(0.9, 0.1, 0.2), emission=2.0)
    right = GREY._replace(colour=(0.1, 0.2, 0.8), second=(0.1, 0.2, 0.8), gloss=0.3, mirror=0.4)
    unseen = Piece((Box((-9.0, -9.0, -9.0), (-8.0, 9.0, 9.0), GREY),), yaw_deg=yaw)
    halves = Box((2.0, 0.0, -9.0), (3.0, 9.0, 9.0), left), Box((2.0, -9.0, -9.0), (3.0, 0.0, 9.0), right)
    pieces, camera, intrinsics = (
        [unseen, Piece(halves, yaw_deg=yaw)],
        Camera((0.0, 0.0, 0.0), yaw),
        camera_for((48, 36)),
    )
    depth_m, number = (values.ravel() for values in trace(pack(pieces), camera, intrinsics))
    materials, rays = pack_materials(pieces), camera_rays(camera, intrinsics).reshape(3, -1)
    eye = np.zeros((3, 1), np.float32)
    found = sample_surfaces(pack(pieces), materials, intrinsics.fx_px, LATTICE, mipmap(), eye, rays, depth_m, number)
    assert set(number.tolist()) == {1, 2}
    for box, material in ((1, left), (2, right)):
        mask = number == box
        assert np.allclose(found.albedo[:, mask], np.array(material.colour)[:, None])
        for name in ("emission", "gloss", "mirror"):
            assert np.allclose(getattr(found, name)[mask], getattr(material, name))
    towards = -np.cos(np.radians(yaw)), -np.sin(np.radians(yaw)), 0
    assert np.allclose(found.normal, np.array(towards)[:, None], atol=1e-6)
