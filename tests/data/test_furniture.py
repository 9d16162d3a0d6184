"""Furniture stands as it is built: solid boxes, on the floor, within human sizes."""

from __future__ import annotations

import numpy as np
import pytest

from src.data import furniture

STANDING = ("chair", "table", "desk", "bed", "sofa", "shelf", "kitchen", "wardrobe", "chest", "cartons", "lamp", "bath")


@pytest.mark.parametrize("name", (*STANDING, "toilet", "rug", "picture", "window", "door"))
def test_every_box_has_a_size(name: str) -> None:
    for seed in range(50):
        for box in getattr(furniture, name)(np.random.default_rng(seed)):
            assert all(low < high for low, high in zip(box.low, box.high, strict=True))


@pytest.mark.parametrize("name", STANDING)
def test_a_piece_stands_on_the_floor_and_fits_a_room(name: str) -> None:
    for seed in range(50):
        boxes = getattr(furniture, name)(np.random.default_rng(seed))
        low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
        assert low[2] == 0
        assert 0.2 < (high - low).max() < 5.5
        assert high[2] < 2.9
