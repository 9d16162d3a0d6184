"""Furniture keeps its distance."""

from __future__ import annotations

from itertools import product

import numpy as np

from src.rooms.parts import block
from src.rooms.placing import GAP_M, is_free, place
from src.rooms.textures import Material

GREY = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def test_only_what_keeps_the_gap_on_some_axis_is_free() -> None:
    assert is_free(UNIT, [])
    for shift in product((-1 - 2 * GAP_M, -1 - GAP_M / 2, 0.0, 1 + GAP_M / 2, 1 + 2 * GAP_M), repeat=3):
        x, y, z = shift
        moved = (x, y, z), (x + 1, y + 1, z + 1)
        apart = any(abs(each) > 1 + GAP_M for each in shift)
        assert is_free(moved, [UNIT]) == apart
        assert is_free(moved, [((5, 5, 5), (6, 6, 6)), UNIT]) == apart


def test_a_piece_fills_the_last_free_place_or_none() -> None:
    rng, cube = np.random.default_rng(0), (block(GREY, 1.0, (0, 1), (0, 1)),)
    assert place(rng, cube, (0.9, 3.0, 3.0), [], against_wall=False) is None
    assert place(rng, cube, (3.0, 3.0, 3.0), [((0, 0, 0), (3, 3, 3))], against_wall=False) is None
    left = ((0.0, 0.0, 0.0), (1.5, 3.0, 3.0))
    for seed in range(20):
        piece = place(np.random.default_rng(seed), cube, (3.0, 3.0, 3.0), [left], against_wall=True)
        assert piece is None or is_free(piece.bounds, [left])
