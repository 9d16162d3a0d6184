"""Light, shadows and mirrors against geometry worked out by hand."""

from functools import partial

import numpy as np
import pytest
from analytic import GREY, MILLIMETRE, PLAIN, camera_for, rays, solid

from src.rooms.kernels.surfaces import sample_surfaces
from src.rooms.lighting import Lamp, Room, light_pixels, render
from src.rooms.raycast import Box, Camera, Piece, camera_rays, pack_materials, pack_solids, trace

ORIGIN, DARK, SIZE_M = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (9.0, 9.0, 9.0)
FLOOR, HIGH_LAMP = solid((-9, -9, -1), (9, 9, 0)), Lamp((0.0, 0.0, 2.0), (5.0, 5.0, 5.0))


def light_of(room: Room, size: tuple[int, int] = (160, 120)) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear red light and the depth of a room."""
    pieces, intrinsics = (room.shell, *room.pieces), camera_for(size)
    solids, materials = pack_solids(pieces), pack_materials(pieces)
    depth_m, number = trace(solids, room.camera, intrinsics)
    sample = partial(sample_surfaces, solids, materials, intrinsics.fx_px)
    return light_pixels(room, solids, sample, camera_rays(room.camera, intrinsics), depth_m, number)[0], depth_m


def world_points(camera: Camera, depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = rays(camera_for(depth_m.shape[::-1]))
    right, down, forward = camera.axes()
    return tuple(camera.position[k] + depth_m * (x * right[k] + y * down[k] + forward[k]) for k in range(3))


def test_nothing_hit_is_zero_and_beyond_ten_metres_is_not_valid() -> None:
    far, near = Box((12.0, 0.5, -9.0), (13.0, 9.0, 9.0), GREY), Box((3.0, -9.0, -9.0), (4.0, -0.5, 9.0), GREY)
    room = Room((20, 20, 20), Piece((near, far)), (), (), (1, 1, 1), Camera(ORIGIN, 0.0), PLAIN)
    image, depth_m, valid, _ = render(room, camera_for((64, 48)))
    assert np.allclose(depth_m[:, 0], 12) and (depth_m[:, 32] == 0).all() and np.allclose(depth_m[:, -1], 3)
    assert not valid[:, :33].any() and valid[:, -1].all()
    assert (image[:, 32] == 0).all() and (image[:, -1] > 0).all()


def test_a_lamps_light_falls_with_the_square_of_its_distance_and_the_cosine() -> None:
    """A lamp at the camera, 2 m before a wall: albedo / 2 m^2, softened by the lamp's size of 0.6 m^2."""
    wall, camera = solid((2, -9, -9), (3, 9, 9)), Camera(ORIGIN, 0.0)
    light, _ = light_of(Room(SIZE_M, wall, (), (Lamp(ORIGIN, (5.0, 5.0, 5.0)),), DARK, camera, PLAIN))
    x, y = rays(camera_for((160, 120)))
    square = 1 + x * x + y * y
    np.testing.assert_allclose(light, 0.5 * 5 / np.sqrt(square) / (4 * square + 0.6), rtol=1e-4)


@pytest.mark.parametrize("top", [1.0, 2.2])
def test_a_plate_casts_its_shadow_where_the_lamp_says(top: float) -> None:
    """The lamp hangs at 2 m: below it the plate darkens a rectangle of the floor but not itself, above it nothing."""
    halves = Box((-0.3, -0.2, -0.05), (0.0, 0.2, 0.0), GREY), Box((0.0, -0.2, -0.05), (0.3, 0.2, 0.0), GREY)
    plate, camera = Piece(halves, (0.1, 0.15, top), 90.0), Camera((-2.5, -0.1, 2.1), 0.0, 40.0)
    light, depth_m = light_of(Room(SIZE_M, FLOOR, (plate,), (HIGH_LAMP,), DARK, camera, PLAIN))
    x, y, height = world_points(camera, depth_m)
    # Turned a quarter, the plate spans -0.1 to 0.3 in x and -0.15 to 0.45 in y. Its rims, 1 m and 1.05 m below
    # the lamp, cast a shadow at most 2 / 1 as large, which reaches farthest from the upper rim.
    dark = (x > -0.2) & (x < 0.6) & (y > -0.3) & (y < 0.9) & (top < 2)
    edge = np.minimum.reduce([abs(x + 0.2), abs(x - 0.6), abs(y + 0.3), abs(y - 0.9)]) < 0.01
    on_floor, on_plate = np.abs(height) < MILLIMETRE, np.abs(height - top) < MILLIMETRE
    assert np.array_equal((light == 0)[on_floor & ~edge], dark[on_floor & ~edge])
    assert dark[on_floor].any() == on_plate.any() == (top < 2) and (light[on_plate] > 0).all()


def test_soft_shadows_fade_over_their_width() -> None:
    plate, camera, widths = solid((-0.5, -9, 1.0), (0.5, 9, 1.01)), Camera((-3.0, 0.0, 2.5), 0.0, 40.0), []
    for softness in (0.0, 0.05, 0.1):
        light, depth_m = light_of(Room(SIZE_M, FLOOR, (plate,), (HIGH_LAMP,), DARK, camera, PLAIN, softness))
        column = light[:, 80][np.abs(world_points(camera, depth_m)[2][:, 80]) < MILLIMETRE]
        widths.append(int(((column > 0) & (column < 0.5 * column.max())).sum()))
    assert widths[0] + 3 < widths[1] < widths[2]


def test_gloss_shows_the_lamp_where_a_mirror_would() -> None:
    """Camera and lamp 1 m and 3 m above the floor, 4 m apart: the mirror image is met a quarter of the way."""
    camera, lamp = Camera((0.0, 0.0, 1.0), 0.0, 45.0), Lamp((4.0, 0.0, 3.0), (1.0, 1.0, 1.0))
    floors = [Box((-9.0, -9.0, -1.0), (9.0, 9.0, 0.0), GREY._replace(gloss=gloss)) for gloss in (0.0, 0.3)]
    rooms = [Room(SIZE_M, Piece((floor,)), (), (lamp,), (0.3, 0.3, 0.3), camera, PLAIN) for floor in floors]
    (matt, depth_m), (glossy, _) = map(light_of, rooms)
    highlight = glossy - matt
    pixel = np.unravel_index(highlight.argmax(), highlight.shape)
    x, y, _ = (values[pixel] for values in world_points(camera, depth_m))
    assert abs(x - 1) < 0.03 and abs(y) < 0.03
    assert 0.25 < highlight.max() <= 0.3 and np.median(highlight) < 0.01


def test_a_mirror_shows_what_stands_before_it() -> None:
    """A mirror across the whole view, 2 m ahead: in it, 3 m behind the camera, a wall whose left half is bright."""
    middle = (50.0, 50.0, 50.0)  # of a large room, so that no corner is dark
    black, bright, dark = (GREY._replace(colour=(c, c, c), second=(c, c, c)) for c in (0.0, 0.9, 0.1))
    glass = Piece((Box((2.0, -9.0, -9.0), (2.1, 9.0, 9.0), black._replace(mirror=0.8)),), middle)
    halves = Box((-4.0, 0.0, -9.0), (-3.0, 9.0, 9.0), bright), Box((-4.0, -9.0, -9.0), (-3.0, 0.0, 9.0), dark)
    room = Room((100, 100, 100), glass, (Piece(halves, middle),), (), (1, 1, 1), Camera(middle, 0.0), PLAIN)
    light, depth_m = light_of(room, (64, 48))
    assert np.abs(depth_m - 2).max() < MILLIMETRE
    # Looking along x, left is y, in a mirror too.
    left, right = light[:, 2:30], light[:, 34:62]
    assert np.ptp(left) < 1e-6 and np.ptp(right) < 1e-6
    np.testing.assert_allclose(left.mean() / right.mean(), 9, rtol=1e-3)
