"""Furniture stands as it is built: solids with a size, on the floor, within human measures."""

from __future__ import annotations

import numpy as np
import pytest

from src.data.furniture import basin, bath, bed, chair, chest, desk, kitchen, shelf, sofa, table, toilet, wardrobe
from src.data.themes import Draw


@pytest.mark.parametrize("draw", (basin, bath, bed, chair, chest, desk, kitchen, shelf, sofa, table, toilet, wardrobe))
def test_furniture_stands_on_the_floor_and_fits_a_room(draw: Draw) -> None:
    for seed in range(50):
        boxes = draw(np.random.default_rng(seed))
        low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
        assert low[2] == 0
        assert 0.3 < (high - low).max() < 5.5
        assert high[2] < 2.9
        for box in boxes:
            assert all(a < b for a, b in zip(box.low, box.high, strict=True))
