"""The print: full of edges near by, its mean far away, without a seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from src.rooms.kernels import read_print
from src.rooms.prints import SIDE_PX, levels, print_levels


def at(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    places = zip(u.astype(np.float32), v.astype(np.float32), strict=True)
    return np.stack([read_print(a, b, np.float32(pixel), print_levels()) for a, b in places], axis=1)


def test_every_level_is_half_as_large_and_has_the_same_mean() -> None:
    pictures = levels()
    assert [len(picture) for picture in pictures] == [SIDE_PX >> k for k in range(len(pictures))]
    assert len(pictures[-1]) == 1
    for picture in pictures:
        assert np.allclose(picture.mean((0, 1)), pictures[-1][0, 0], atol=1e-3)
    assert pictures[0].std() > 0.2


def test_it_is_read_at_its_place_and_repeats() -> None:
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, SIDE_PX, (2, 500))
    u, v = (column + 0.5) / SIDE_PX, (row + 0.5) / SIDE_PX
    expected = levels()[0][row, column].T
    assert np.array_equal(at(u, v, 0.0), expected)
    assert np.array_equal(at(u - 3, v + 2, 0.0), expected)


def test_far_away_it_fades_into_its_mean() -> None:
    u, v = np.random.default_rng(0).uniform(0, 5, (2, 2000))
    spread = [at(u, v, pixel).std() for pixel in (0.0, 0.1, 0.4, 2.0)]
    assert all(near > 1.3 * far for near, far in pairwise(spread))
    assert np.allclose(at(u, v, 2.0), levels()[-1][0, 0][:, None])
