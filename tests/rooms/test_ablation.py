"""What is left out is gone, and nothing else is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from src.conventions import NYU_INTRINSICS
from src.rooms.ablation import CLUTTER_M, INGREDIENTS, leave_out
from src.rooms.lighting import Room, render
from src.rooms.raycast import all_boxes
from src.rooms.rooms import RoomPairs, make_room

SMALL = NYU_INTRINSICS.resized(48, 36)
CHANGED = {
    "furniture": {"pieces"},
    "clutter": {"pieces"},
    "round": {"pieces"},
    "patterns": {"pieces", "shell"},
    "lamps": {"lamps", "ambient"},
    "film": {"film"},
    "gaze": {"camera"},
}


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(np.random.Generator(np.random.PCG64((9, k)))) for k in range(8)]


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_only_that_ingredient_changes_and_the_room_still_renders(rooms: list[Room], ingredient: str) -> None:
    for room in rooms:
        less = leave_out(room, ingredient)
        fields = {each.name for each in dataclasses.fields(room)}
        changed = {name for name in fields if getattr(less, name) != getattr(room, name)}
        assert changed == CHANGED[ingredient]
        frame = render(less, SMALL)
        assert (frame.depth_m > 0).all() and frame.image.std() > 0
        if ingredient in ("patterns", "lamps", "film"):
            assert np.array_equal(frame.depth_m, render(room, SMALL).depth_m)


def test_clutter_is_what_is_small_and_patterns_are_one_colour(rooms: list[Room]) -> None:
    for room in rooms:
        tidy, plain = leave_out(room, "clutter"), leave_out(room, "patterns")
        for box in all_boxes(tidy.pieces):
            assert max(high - low for low, high in zip(box.low, box.high, strict=True)) >= CLUTTER_M
        assert len(all_boxes(tidy.pieces)) < len(all_boxes(room.pieces))
        assert all(box.material.colour == box.material.second for box in all_boxes((plain.shell, *plain.pieces)))
        assert {box.shape for box in all_boxes(leave_out(room, "round").pieces)} == {"box"}


def test_pairs_leave_it_out_and_say_so() -> None:
    whole, less = RoomPairs(3, intrinsics=SMALL), RoomPairs(3, intrinsics=SMALL, without="lamps")
    assert less.fingerprint == whole.fingerprint + " without lamps"
    assert not np.array_equal(whole[2].image, less[2].image)
    assert np.array_equal(whole[2].depth_m, less[2].depth_m)
