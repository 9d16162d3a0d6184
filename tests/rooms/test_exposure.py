"""A film that is honest about light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.rooms.exposure import Film


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


def test_a_film_may_lose_colour_and_clip_both_ends() -> None:
    light = (
        np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 4, 64) * np.array([1.5, 1, 0.5], np.float32)[:, None, None]
    )
    plain = Film(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
    assert (np.ptp(replace(plain, saturation=0.0).develop(light), axis=-1) <= 1).all()
    before, after = plain.develop(light), replace(plain, black=0.2, white=0.7).develop(light)
    assert (after[before < 0.19 * 255] == 0).all()
    assert (after[before > 0.71 * 255] == 255).all()
    assert (before.min(), before.max()) != (0, 255)


def test_the_border_is_white_and_nothing_else_is() -> None:
    plain = Film(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
    image = replace(plain, border=0.02).develop(np.full((3, 50, 100), 0.5, np.float32))
    expected = np.ones((50, 100), np.bool_)
    expected[2:-2, 2:-2] = False
    assert np.array_equal((image == 255).all(-1), expected)


def test_a_moving_camera_smears_a_point_along_its_way() -> None:
    still = Film(brightness=0.01, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)
    light = np.zeros((3, 60, 100), np.float32)
    light[:, 30, 50] = 1
    for motion, step in (
        ((0.04, 0.0), (0, -1)),
        ((-0.04, 0.0), (0, 1)),
        ((0.0, 0.04), (-1, 0)),
        ((0.04, 0.04), (-1, -1)),
    ):
        seen = np.argwhere(replace(still, motion=motion).develop(light).max(-1))
        expected = [(30 + k * step[0], 50 + k * step[1]) for k in range(5)]
        assert sorted(map(tuple, seen.tolist())) == sorted(expected)


def test_the_files_quality_costs_detail() -> None:
    plain = Film(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0.05, seed=0)
    light = np.full((3, 64, 64), 0.5, np.float32)
    sharp, lossy = plain.develop(light), replace(plain, quality=20).develop(light)
    assert lossy.shape == sharp.shape and lossy.std() < 0.8 * sharp.std()
