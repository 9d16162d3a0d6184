"""From materials to bytes: patterns and prints do not alias, exposure, JPEG against a library."""

import io
from dataclasses import replace

import numpy as np
import pytest
from analytic import GREY, PLAIN, camera_for
from PIL import Image

from src.rooms.kernels.jpeg import compress
from src.rooms.kernels.surfaces import PATTERNS, pattern_weight, sample_print, sample_surfaces, value_noise
from src.rooms.raycast import Box, Camera, Piece, camera_rays, pack_materials, pack_solids, trace
from src.rooms.textures import LATTICE, SIDE_PX, mipmap

U, V = np.random.default_rng(0).uniform(0, 30, (2, 1000)).astype(np.float32)
SLOPE = np.broadcast_to(np.linspace(0, 3, 256, dtype=np.float32).reshape(1, 4, 64), (3, 4, 64))


@pytest.mark.parametrize("pattern", range(len(PATTERNS) - 1), ids=PATTERNS[:-1])
def test_a_pattern_is_varied_nearby_and_fades_to_its_mean(pattern: int) -> None:
    near, far = np.array(
        [
            [pattern_weight(pattern, value_noise(u, v, LATTICE), u, v, np.float32(pixel), LATTICE) for pixel in (0, 2)]
            for u, v in zip(U, V, strict=True)
        ]
    ).T
    assert near.min() >= 0 and near.max() <= 1 and near.std() > 0.05
    assert PATTERNS[pattern] == "plain" or np.allclose(far, 0.4)


def test_the_print_is_sampled_at_its_place_repeats_and_fades_to_its_mean() -> None:
    def sample(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        return np.stack([sample_print(a, b, np.float32(pixel), mipmap()) for a, b in zip(u, v, strict=True)])

    assert mipmap().sides.tolist() == [SIDE_PX >> k for k in range(10)]
    picture = mipmap().pixels[: SIDE_PX**2].reshape(SIDE_PX, SIDE_PX, 3)
    row, column = np.random.default_rng(0).integers(0, SIDE_PX, (2, 500))
    u, v = ((column + 0.5) / SIDE_PX).astype(np.float32), ((row + 0.5) / SIDE_PX).astype(np.float32)
    assert np.array_equal(sample(u, v, 0.0), picture[row, column])
    assert np.array_equal(sample(u - np.float32(3), v + np.float32(2), 0.0), picture[row, column])
    spread = [sample(U, V, pixel).std(axis=0).mean() for pixel in (0.0, 0.1, 0.4)]
    assert spread[0] > 1.3 * spread[1] > 1.3**2 * spread[2]
    assert np.allclose(sample(U, V, 2.0), picture.mean((0, 1)), atol=1e-3)


@pytest.mark.parametrize("yaw", [0.0, 90.0, 200.0])
def test_pixels_get_the_material_of_their_box_and_normals_that_face_the_camera(yaw: float) -> None:
    left = GREY._replace(colour=(0.9, 0.1, 0.2), second=(0.9, 0.1, 0.2), emission=2.0)
    right = GREY._replace(colour=(0.1, 0.2, 0.8), second=(0.1, 0.2, 0.8), gloss=0.3, mirror=0.4)
    unseen = Piece((Box((-9.0, -9.0, -9.0), (-8.0, 9.0, 9.0), GREY),), yaw_deg=yaw)
    halves = Box((2.0, 0.0, -9.0), (3.0, 9.0, 9.0), left), Box((2.0, -9.0, -9.0), (3.0, 0.0, 9.0), right)
    pieces, camera, intrinsics = [unseen, Piece(halves, yaw_deg=yaw)], Camera((0.0, 0.0, 0.0), yaw), camera_for((9, 7))
    solids, rays = pack_solids(pieces), camera_rays(camera, intrinsics).reshape(3, -1)
    depth_m, number = (values.ravel() for values in trace(solids, camera, intrinsics))
    arrays = np.zeros((3, 1), np.float32), rays, depth_m, number
    found = sample_surfaces(solids, pack_materials(pieces), intrinsics.fx_px, *arrays)
    assert set(number.tolist()) == {1, 2}
    for box, material in ((1, left), (2, right)):
        mask = number == box
        assert np.allclose(found.albedo[:, mask], np.array(material.colour)[:, None])
        for name in ("emission", "gloss", "mirror"):
            assert np.allclose(getattr(found, name)[mask], getattr(material, name))
    towards = -np.cos(np.radians(yaw)), -np.sin(np.radians(yaw)), 0
    assert np.allclose(found.normal, np.array(towards)[:, None], atol=1e-6)


def test_a_plain_exposure_keeps_order_and_grey_and_a_warm_one_makes_grey_red() -> None:
    image = PLAIN.expose(SLOPE).astype(int)
    assert image.shape == (4, 64, 3)
    assert (np.diff(image.reshape(-1, 3), axis=0) >= 0).all() and (np.ptp(image, axis=-1) == 0).all()
    warm = replace(PLAIN, balance=(1.2, 1, 0.8)).expose(np.full((3, 8, 8), 0.5, np.float32)).astype(int)
    assert (np.diff(warm, axis=-1) < 0).all()


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-1, 0), (0, 1), (1, 1)])
def test_a_moving_camera_blurs_a_point_along_its_movement(right: int, down: int) -> None:
    light = np.zeros((3, 60, 100), np.float32)
    light[:, 30, 50] = 1
    found = np.argwhere(replace(PLAIN, brightness=0.01, motion=(0.04 * right, 0.04 * down)).expose(light).max(-1))
    assert set(map(tuple, found.tolist())) == {(30 - k * down, 50 - k * right) for k in range(5)}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:96, :128]
    slopes = np.stack([x * 2, y * 2, 255 - x - y], axis=-1)
    slopes[20:50, 30:90] = (200, 40, 90)
    return np.clip(slopes + rng.normal(0, 6, slopes.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [15, 50, 75, 95])
def test_jpeg_loses_what_a_library_loses(photo: np.ndarray, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality, subsampling=0)
    expected, found = np.asarray(Image.open(file)).astype(int), compress(photo, quality).astype(int)
    loss, expected_loss = np.abs(found - photo).mean(), np.abs(expected - photo).mean()
    # A library also rounds before the transform, so that some coefficients differ.
    assert abs(loss - expected_loss) < 0.05 * expected_loss + 0.1
    assert np.abs(found - expected).mean() < 0.8 * expected_loss


def test_jpeg_leaves_incomplete_blocks_and_exposures_use_it(photo: np.ndarray) -> None:
    cut = np.ascontiguousarray(photo[:91, :123])
    lossy = compress(cut, 10)
    assert np.array_equal(lossy[88:], cut[88:]) and np.array_equal(lossy[:, 120:], cut[:, 120:])
    grainy, light = replace(PLAIN, grain=0.05), np.full((3, 64, 64), 0.5, np.float32)
    assert np.array_equal(replace(grainy, quality=20).expose(light), compress(grainy.expose(light), 20))
