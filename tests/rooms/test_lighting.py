"""Light and shadow against geometry worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic import GREY, MILLIMETRE, camera_for, rays, solid

from src.rooms.exposure import Film
from src.rooms.lighting import PROJECTOR_M, Lamp, Room, _find_hollows, _light, render
from src.rooms.raycast import Box, Camera, Piece, cast_rays, line_up, trace

FILM = Film(brightness=0.2, balance=(1, 1, 1), vignetting=0, contrast=0, blur=0, grain=0, seed=0)


def test_nothing_hit_is_zero_and_beyond_ten_metres_is_not_valid() -> None:
    far, near = Box((12, 0.5, -9), (13, 9, 9), GREY), Box((3, -9, -9), (4, -0.5, 9), GREY)
    room = Room((20, 20, 20), Piece((near, far)), (), (), (1, 1, 1), Camera((0, 0, 0), 0.0), FILM)
    frame = render(room, camera_for((64, 48)))
    assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8
    assert frame.depth_m.dtype == np.float32 and frame.valid.dtype == np.bool_
    left, middle, right = frame.depth_m[:, 0], frame.depth_m[:, 32], frame.depth_m[:, -1]
    assert np.allclose(left, 12) and (middle == 0).all() and np.allclose(right, 3)
    assert not frame.valid[:, :33].any() and frame.valid[:, -1].all()
    assert (frame.image[:, 32] == 0).all() and (frame.image[:, -1] > 0).all()


@pytest.mark.parametrize("top", [1.0, 2.2])
def test_plate_throws_its_shadow_where_the_lamp_says(top: float) -> None:
    """The lamp hangs at 2 m: below it the plate darkens a rectangle of the floor but not itself, above it nothing."""
    halves = Box((-0.3, -0.2, -0.05), (0.0, 0.2, 0.0), GREY), Box((0.0, -0.2, -0.05), (0.3, 0.2, 0.0), GREY)
    lamp, plate = (0.0, 0.0, 2.0), Piece(halves, (0.1, 0.15, top), 90.0)
    floor, camera = solid((-9, -9, -1), (9, 9, 0)), Camera((-2.5, -0.1, 2.1), 0.0, 40.0)
    room = Room((9, 9, 9), floor, (plate,), (Lamp(lamp, (5, 5, 5)),), (0, 0, 0), camera, FILM)
    intrinsics = camera_for((160, 120))
    frame = render(room, intrinsics)
    x, y = rays(intrinsics)
    right, down, forward = camera.axes()
    floor_x, floor_y, height = (
        camera.position[k] + frame.depth_m * (x * right[k] + y * down[k] + forward[k]) for k in range(3)
    )
    on_floor = trace(line_up([floor, plate]), camera, intrinsics)[1] == 0
    # Turned a quarter, the plate spans -0.1 to 0.3 in x and -0.15 to 0.45 in y. Its rims, 1 m and 1.05 m below
    # the lamp, throw a shadow at most 2 / 1 as large, which reaches furthest from the upper rim.
    dark = (floor_x > -0.2) & (floor_x < 0.6) & (floor_y > -0.3) & (floor_y < 0.9) & (top < 2)
    edge = np.minimum.reduce([abs(floor_x + 0.2), abs(floor_x - 0.6), abs(floor_y + 0.3), abs(floor_y - 0.9)]) < 0.01
    black = frame.image.max(-1) == 0
    assert np.array_equal(black[on_floor & ~edge], dark[on_floor & ~edge])
    assert dark[on_floor].any() == (top < 2)
    if top < 2:
        face = np.abs(height - top) < MILLIMETRE
        assert face.any() and not black[face].any()


def test_a_ball_is_bright_where_the_lamp_is() -> None:
    ball = Piece((Box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5), GREY, "ellipsoid"),), (2.0, 0.0, 0.0), 70.0)
    walls, camera, intrinsics = solid((5, -9, -9), (6, 9, 9)), Camera((0, 0, 0), 0.0), camera_for((81, 61))
    seen = trace(line_up([walls, ball]), camera, intrinsics)[1] == 1
    # Looking along x, left is y: the lamp stands left of the ball, then above it, then on the camera's side.
    for lamp, brightest in (((2.0, 3.0, 0.0), (0, -1)), ((2.0, 0.0, 3.0), (-1, 0)), ((-3.0, 0.0, 0.0), (0, 0))):
        room = Room((9, 9, 9), walls, (ball,), (Lamp(lamp, (9, 9, 9)),), (0, 0, 0), camera, FILM)
        light = np.where(seen, render(room, intrinsics).image.mean(-1), 0)
        rows, columns = np.nonzero(light > 0.95 * light.max())
        middle = np.argwhere(seen).mean(0)
        found = np.sign(np.rint((np.array([rows.mean(), columns.mean()]) - middle) / 4))
        assert tuple(found) == brightest


def test_soft_shadows_fade_over_their_width() -> None:
    plate, floor = solid((-0.5, -9, 1.0), (0.5, 9, 1.01)), solid((-9, -9, -1), (9, 9, 0))
    camera, intrinsics = Camera((-3, 0, 2.5), 0.0, 40.0), camera_for((160, 120))
    on_floor = trace(line_up([floor, plate]), camera, intrinsics)[1] == 0
    widths = []
    for softness in (0.0, 0.05, 0.1):
        room = Room((9, 9, 9), floor, (plate,), (Lamp((0, 0, 2), (5, 5, 5)),), (0, 0, 0), camera, FILM, softness)
        column = render(room, intrinsics).image[:, 80].mean(-1)[on_floor[:, 80]]
        widths.append(int(((column > 0) & (column < 0.7 * column.max())).sum()))
    assert widths[0] + 3 < widths[1] < widths[2]


def test_gloss_shows_the_lamp_where_a_mirror_would() -> None:
    """Camera and lamp 1 m and 3 m above the floor, 4 m apart: the mirror image is met a quarter of the way."""
    shiny = Piece((Box((-9, -9, -1), (9, 9, 0), replace(GREY, gloss=0.3)),))
    camera, intrinsics = Camera((0, 0, 1), 0.0, 45.0), camera_for((160, 120))
    lamps = (Lamp((4.0, 0.0, 3.0), (1, 1, 1)),)
    lights = []
    for floor in (solid((-9, -9, -1), (9, 9, 0)), shiny):
        room = Room((9, 9, 9), floor, (), lamps, (0.3, 0.3, 0.3), camera, FILM)
        solids = line_up([floor])
        depth_m, number = trace(solids, camera, intrinsics)
        lights.append(_light(room, solids, cast_rays(camera, intrinsics), depth_m, number, intrinsics)[0])
    gleam = lights[1] - lights[0]
    row, column = np.unravel_index(gleam.argmax(), gleam.shape)
    x, y = (each[row, column] for each in np.broadcast_arrays(*rays(intrinsics)))
    right, down, forward = camera.axes()
    ahead, aside = (depth_m[row, column] * (x * right[k] + y * down[k] + forward[k]) for k in (0, 1))
    assert abs(ahead - 1) < 0.03 and abs(aside) < 0.03
    assert 0.25 < gleam.max() <= 0.3 and np.median(gleam) < 0.01


def test_a_mirror_shows_what_stands_before_it() -> None:
    """A mirror across the whole view, 2 m ahead: in it, a bright wall 3 m behind the camera, left half of it."""
    # In the middle of a large room, so that no corner darkens anything.
    middle = (50.0, 50.0, 50.0)
    black, bright, dark = (replace(GREY, colour=(c, c, c), second=(c, c, c)) for c in (0.0, 0.9, 0.1))
    glass = Piece((Box((2, -9, -9), (2.1, 9, 9), replace(black, mirror=0.8)),), middle)
    wall = Piece((Box((-4, 0, -9), (-3, 9, 9), bright), Box((-4, -9, -9), (-3, 0, 9), dark)), middle)
    camera, intrinsics = Camera(middle, 0.0), camera_for((64, 48))
    room = Room((100, 100, 100), glass, (wall,), (), (1, 1, 1), camera, FILM)
    solids = line_up([glass, wall])
    depth_m, number = trace(solids, camera, intrinsics)
    assert np.abs(depth_m - 2).max() < MILLIMETRE
    light = _light(room, solids, cast_rays(camera, intrinsics), depth_m, number, intrinsics)[0]
    # Looking along x, left is y, in a mirror too.
    left, right = light[:, 2:30], light[:, 34:62]
    assert np.ptp(left) < 1e-6 and np.ptp(right) < 1e-6
    np.testing.assert_allclose(left.mean() / right.mean(), 9, rtol=1e-3)


def test_hollows_are_dark_and_plain_slopes_are_not() -> None:
    slope = np.broadcast_to(np.linspace(1, 5, 96, dtype=np.float32)[:, None], (96, 128)).copy()
    inner = slice(12, -12), slice(12, -12)
    assert np.abs(_find_hollows(slope)[inner]).max() < 0.02
    slope[40:44, 60:64] += 0.3
    found = _find_hollows(slope)
    assert found[41, 61] > 0.8 and found[41, 58] == 0 and found[70, 61] < 0.02


def test_holes_are_as_wide_as_the_projectors_distance_says() -> None:
    """A plate 1 m away, a wall 3 m away: the projector's rays pass the plate's left edge 2/1 of its distance aside."""
    plate, wall = solid((1.0, -0.3, -0.4), (1.02, 0.3, 0.4)), solid((3, -9, -9), (4, 9, 9))
    room = Room((9, 9, 9), wall, (plate,), (), (1, 1, 1), Camera((0, 0, 0), 0.0), FILM)
    intrinsics = camera_for((320, 240))
    exact, holed = render(room, intrinsics), render(room, intrinsics, holes=True)
    assert exact.valid.all() and np.array_equal(exact.image, holed.image)
    assert np.array_equal(holed.depth_m, np.where(holed.valid, exact.depth_m, 0))
    hole = np.flatnonzero(~holed.valid[120])
    first_of_plate = int(np.flatnonzero(exact.depth_m[120] < 2)[0])
    # They lie on the wall just left of the plate, 0.15 m wide there.
    assert hole.max() == first_of_plate - 1 and np.array_equal(np.diff(hole), np.ones(hole.size - 1))
    assert abs(hole.size * 3 / intrinsics.fx_px - PROJECTOR_M * 2) < 2 * 3 / intrinsics.fx_px


def test_a_kinect_is_blind_to_what_is_near_and_what_shines() -> None:
    halves = Piece((Box((1, -9, -9), (2, 0, 9), GREY), Box((1, 0, -9), (2, 9, 9), replace(GREY, glow=1.0))))
    camera = camera_for((64, 48))
    far = render(Room((9, 9, 9), halves, (), (), (1, 1, 1), Camera((0, 0, 0), 0.0), FILM), camera, holes=True)
    near = render(Room((9, 9, 9), halves, (), (), (1, 1, 1), Camera((0.6, 0, 0), 0.0), FILM), camera, holes=True)
    # Looking along x, left is y.
    assert not far.valid[:, :31].any() and far.valid[:, 33:].all()
    assert not near.valid.any()
