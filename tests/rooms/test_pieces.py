"""Pieces are sound: solids of human size, at their wall or on the floor; views are from free places."""

import numpy as np
import pytest
from analytic import GREY
from hypothesis import given
from hypothesis import strategies as st

from src.rooms import fittings, furniture
from src.rooms.fittings import board, door, garment, ledge, picture, switch, window
from src.rooms.placing import choose_camera, clearance, is_free
from src.rooms.raycast import Box, Piece
from src.rooms.themes import FREE, THEMES, Draw

HANGING = {board, door, garment, ledge, picture, switch, window}
DRAWN = sorted({draw for theme in THEMES for draw in (*theme.required, *theme.optional)} | {*HANGING, *FREE}, key=repr)
SEEDS = st.integers(0, 2**32)


def test_every_function_that_draws_a_piece_is_in_a_theme() -> None:
    """A room must be able to show each of them; what hangs needs a wall."""
    draws = {f for module in (fittings, furniture) for name, f in vars(module).items() if not name.startswith("_")}
    names = {f.__name__ for f in draws if getattr(f, "__module__", "") in (fittings.__name__, furniture.__name__)}
    drawn = {draw for theme in THEMES for draw in (*theme.required, *theme.optional)}
    assert names == {draw.__name__ for draw in drawn} | {"switch"}  # which every room has
    assert not HANGING & set(FREE)


@pytest.mark.parametrize("draw", DRAWN)
@given(seed=SEEDS)
def test_a_piece_is_sound(draw: Draw, seed: int) -> None:
    boxes = draw(np.random.default_rng(seed))
    corners = np.array([(box.low, box.high) for box in boxes])
    assert np.isfinite(corners).all() and (corners[:, 0] < corners[:, 1]).all()
    low, high = corners.min((0, 1)), corners.max((0, 1))
    assert low[1] == 0 if draw in HANGING else low[2] == 0
    assert low[2] >= 0 and high[2] < 2.9 and 0.1 < (high - low).max() < 5.5
    if draw is furniture.dining:
        top = max(boxes, key=lambda box: (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]))
        assert low[1] < top.low[1] - 0.02 and high[1] > top.high[1] + 0.02  # chairs on both sides


def test_an_empty_and_a_crowded_room_are_seen_from_the_free_place() -> None:
    size_m, free = (4.0, 5.0, 2.5), clearance((1.0, 1.0, 0.9), up_to=2.5)
    spots = [(x, y) for x in np.arange(0, 4, 0.3) for y in np.arange(0, 5, 0.3)]
    pillars = [Piece((Box((x, y, 0.0), (x + 0.29, y + 0.29, 2.4), GREY),)) for x, y in spots]
    crowd = [pillar for pillar in pillars if is_free(pillar.bounds, [free])]
    assert choose_camera(np.random.default_rng(0), size_m, crowd, (1.0, 1.0)).position[:2] == (1.0, 1.0)
    camera = choose_camera(np.random.default_rng(0), size_m, [], (1.0, 1.0))
    assert all(0 < value < side for value, side in zip(camera.position, size_m, strict=True))
