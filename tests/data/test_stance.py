"""The camera's height and tilt are found where the floor shows, and nothing is made up where it does not."""

from __future__ import annotations

import numpy as np

from src.conventions import NYU_INTRINSICS
from src.data.stance import find_stance
from src.rooms.raycast import pack, trace
from src.rooms.rooms import make_room

SMALL = NYU_INTRINSICS.resized(160, 120)
YES = np.ones((120, 160), bool)


def test_rooms_cameras_are_found() -> None:
    errors = []
    for seed in range(60):
        room = make_room(np.random.Generator(np.random.PCG64(seed)))
        depth_m = trace(pack((room.shell, *room.pieces)), room.camera, SMALL)[0]
        stance = find_stance(depth_m, YES)
        if stance:
            camera = room.camera
            errors.append(np.subtract(stance, (camera.position[2], camera.pitch_deg, camera.roll_deg)))
    assert len(errors) > 25
    height_m, pitch_deg, roll_deg = np.abs(errors).T
    assert np.percentile(height_m, 90) < 0.02
    assert np.percentile(pitch_deg, 80) < 0.5
    assert np.percentile(roll_deg, 80) < 0.5


def test_without_a_floor_there_is_no_height() -> None:
    assert find_stance(np.full((120, 160), 2.0), YES) is None


def test_what_is_not_valid_is_not_looked_at() -> None:
    assert find_stance(np.full((120, 160), np.nan), ~YES) is None
