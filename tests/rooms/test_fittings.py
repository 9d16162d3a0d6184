"""Fittings hang with their back at the wall, or stand on the floor, and none is larger than a room."""

from __future__ import annotations

import numpy as np
import pytest

from src.rooms import fittings
from src.rooms.fittings import board, door, garment, ledge, picture, switch, window
from src.rooms.themes import FREE, Draw

HANGING = board, door, garment, ledge, picture, switch, window


def test_what_hangs_needs_a_wall() -> None:
    assert not set(FREE) & set(HANGING)


@pytest.mark.parametrize("draw", (*HANGING, *(draw for draw in FREE if draw.__module__ == fittings.__name__)))
def test_fittings_hang_or_stand(draw: Draw) -> None:
    for seed in range(50):
        boxes = draw(np.random.default_rng(seed))
        low, high = np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0)
        assert low[1] == 0 if draw in HANGING else low[2] == 0
        assert 0.1 < (high - low).max() < 4
        assert high[2] < 2.5
        for box in boxes:
            assert all(a < b for a, b in zip(box.low, box.high, strict=True))
