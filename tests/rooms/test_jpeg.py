"""The losses of JPEG are those of a library's files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from src.rooms.jpeg import compress


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Paint slopes, edges and grain."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:96, :128]
    slopes = np.stack([x * 2, y * 2, 255 - x - y], axis=-1)
    slopes[20:50, 30:90] = (200, 40, 90)
    return np.clip(slopes + rng.normal(0, 6, slopes.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", (15, 50, 75, 95))
def test_the_loss_is_that_of_a_file(photo: np.ndarray, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality, subsampling=0)
    theirs, ours = np.asarray(Image.open(file)).astype(int), compress(photo, quality).astype(int)
    loss, expected = (np.abs(each - photo).mean() for each in (ours, theirs))
    # A library rounds once more, before it looks for waves: some of them fall to the other side.
    assert abs(loss - expected) < 0.05 * expected + 0.1
    assert np.abs(ours - theirs).mean() < 0.8 * expected


def test_less_quality_loses_more_and_what_is_left_over_keeps_all(photo: np.ndarray) -> None:
    cut = np.ascontiguousarray(photo[:91, :123])
    losses = [np.abs(compress(cut, quality).astype(int) - cut).mean() for quality in (95, 70, 40, 10)]
    assert losses == sorted(losses) and losses[0] < 0.5 * losses[-1]
    lossy = compress(cut, 10)
    assert np.array_equal(lossy[88:], cut[88:]) and np.array_equal(lossy[:, 120:], cut[:, 120:])
