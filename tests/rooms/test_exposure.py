"""From light to bytes: exposure by hand-made light, JPEG against a library."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from src.rooms.exposure import Exposure
from src.rooms.kernels.jpeg import compress

PLAIN = Exposure(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
SLOPE = np.broadcast_to(np.linspace(0, 3, 256, dtype=np.float32).reshape(1, 4, 64), (3, 4, 64))


def test_a_plain_exposure_keeps_order_and_grey_and_a_warm_one_makes_grey_red() -> None:
    image = PLAIN.expose(SLOPE).astype(int)
    assert image.shape == (4, 64, 3)
    assert (np.diff(image.reshape(-1, 3), axis=0) >= 0).all() and (np.ptp(image, axis=-1) == 0).all()
    warm = replace(PLAIN, balance=(1.2, 1, 0.8)).expose(np.full((3, 8, 8), 0.5, np.float32)).astype(int)
    assert (np.diff(warm, axis=-1) < 0).all()


def test_saturation_black_and_white() -> None:
    light = SLOPE * np.array([1.5, 1, 0.5], np.float32)[:, None, None] / 3
    assert (np.ptp(replace(PLAIN, saturation=0.0).expose(light), axis=-1) <= 1).all()
    before, after = PLAIN.expose(light), replace(PLAIN, black=0.2, white=0.7).expose(light)
    assert (after[before < 0.19 * 255] == 0).all() and (after[before > 0.71 * 255] == 255).all()
    assert (before.min(), before.max()) != (0, 255)


def test_the_border_is_white_and_nothing_else_is() -> None:
    image = replace(PLAIN, border=0.02).expose(np.full((3, 50, 100), 0.5, np.float32))
    expected = np.ones((50, 100), np.bool_)
    expected[2:-2, 2:-2] = False
    assert np.array_equal((image == 255).all(-1), expected)


@pytest.mark.parametrize(
    ("changes", "step", "length"),
    [
        ({"motion": (0.04, 0.0)}, (0, -1), 5),
        ({"motion": (-0.04, 0.0)}, (0, 1), 5),
        ({"motion": (0.0, 0.04)}, (-1, 0), 5),
        ({"motion": (0.04, 0.04)}, (-1, -1), 5),
    ],
)
def test_a_moving_camera_blurs_a_point_along_its_movement(changes: dict, step: tuple[int, int], length: int) -> None:
    light = np.zeros((3, 60, 100), np.float32)
    light[:, 30, 50] = 1
    found = np.argwhere(replace(PLAIN, brightness=0.01, **changes).expose(light).max(-1))
    assert set(map(tuple, found.tolist())) == {(30 + k * step[0], 50 + k * step[1]) for k in range(length)}


def test_blur_spreads_a_point_to_its_neighbours_and_no_farther() -> None:
    light = np.zeros((3, 9, 9), np.float32)
    light[:, 4, 4] = 1
    image = replace(PLAIN, brightness=0.001, blur=0.2).expose(light)[..., 0].astype(int)
    assert np.array_equal(image > 0, np.pad(np.ones((3, 3), bool), 3))
    assert image[4, 4] > image[3, 4] == image[5, 4] == image[4, 3] == image[4, 5] > image[3, 3]


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
