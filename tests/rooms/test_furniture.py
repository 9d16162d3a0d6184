"""Furniture stands as it is built: solids with a size, on the floor, within human measures."""

from __future__ import annotations

import numpy as np
import pytest

from src.rooms.furniture import (
    aisle,
    basin,
    bath,
    bed,
    chair,
    chest,
    desk,
    dining,
    island,
    kitchen,
    shelf,
    sofa,
    table,
    toilet,
    wardrobe,
)
from src.rooms.themes import Draw

PIECES = aisle, basin, bath, bed, chair, chest, desk, dining, island, kitchen, shelf, sofa, table, toilet, wardrobe


@pytest.mark.parametrize("draw", PIECES)
def test_furniture_stands_on_the_floor_and_fits_a_room(draw: Draw) -> None:
    for seed in range(50):
        boxes = draw(np.random.default_rng(seed))
        low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
        assert low[2] == 0
        assert 0.3 < (high - low).max() < 5.5
        assert high[2] < 2.9
        for box in boxes:
            assert all(a < b for a, b in zip(box.low, box.high, strict=True))


def test_chairs_stand_on_both_sides_of_a_dining_table_and_shelves_on_both_of_an_aisle() -> None:
    for seed in range(20):
        boxes = dining(np.random.default_rng(seed))
        top = max(boxes, key=lambda box: (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]))
        assert min(box.low[1] for box in boxes) < top.low[1] - 0.05
        assert max(box.high[1] for box in boxes) > top.high[1] + 0.05
        boxes = aisle(np.random.default_rng(seed))
        assert min(box.low[1] for box in boxes) < -0.2 and max(box.high[1] for box in boxes) > 0.2
