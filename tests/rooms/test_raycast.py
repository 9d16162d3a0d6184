"""Depth against geometry worked out by hand, to a millimetre."""

from __future__ import annotations

import math

import numpy as np
import pytest
from analytic import GREY, MILLIMETRE, camera_for, rays, solid

from src.rooms.raycast import Box, Camera, Piece, line_up, trace

SIZES = [(640, 480), (384, 288), (57, 91)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("heading", [0.0, 90.0, 217.3])
def test_fronto_parallel_wall_has_its_distance_everywhere(size: tuple[int, int], heading: float) -> None:
    place = (1.2, -0.7, 1.4)
    wall = Piece((Box((2.345, -20, -20), (2.5, 20, 20), GREY),), place, heading)
    depth_m, _ = trace(line_up([wall]), Camera(place, heading), camera_for(size))
    assert np.abs(depth_m - 2.345).max() < MILLIMETRE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("yaw", [-40.0, 12.5, 35.0])
def test_turned_wall_is_a_tilted_plane(size: tuple[int, int], yaw: float) -> None:
    wall = Piece((Box((0, -90, -90), (0.1, 90, 90), GREY),), (3.0, 0.0, 0.0), yaw)
    intrinsics = camera_for(size)
    depth_m, _ = trace(line_up([wall]), Camera((0, 0, 1.5), 0.0), intrinsics)
    x, _ = rays(intrinsics)
    # The wall holds the points (X, Y) with cos (X - 3) + sin Y = 0; a pixel's ray has X = Z and Y = -x Z.
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    assert np.abs(depth_m - 3 * cos / (cos - sin * x)).max() < MILLIMETRE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("pitch", "roll"), [(50.0, 0.0), (45.0, 8.0), (60.0, -15.0)])
def test_floor_under_a_pitched_and_rolled_camera(size: tuple[int, int], pitch: float, roll: float) -> None:
    floor = solid((-300, -300, -1), (300, 300, 0))
    intrinsics = camera_for(size)
    depth_m, _ = trace(line_up([floor]), Camera((0.3, 0.2, 1.6), 123.0, pitch, roll), intrinsics)
    x, y = rays(intrinsics)
    p, r = math.radians(pitch), math.radians(roll)
    sinks = math.sin(p) + math.cos(p) * (x * math.sin(r) + y * math.cos(r))
    assert sinks.min() > 0
    assert np.abs(depth_m - 1.6 / sinks).max() < MILLIMETRE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [0, 1])
def test_box_hides_the_wall_right_of_and_above_the_middle(size: tuple[int, int], first: int) -> None:
    # Looking along x, right is -y: this box covers 0.2 to 0.9 m to the right and 0.1 to 0.6 m up, at 2 m.
    scene = [solid((4, -20, -20), (5, 20, 20)), solid((2.0, -0.9, 1.6), (2.001, -0.2, 2.1))]
    intrinsics = camera_for(size)
    depth_m, number = trace(line_up(scene if first == 0 else scene[::-1]), Camera((0, 0, 1.5), 0.0), intrinsics)
    x, y = rays(intrinsics)
    box = (x > 0.1) & (x < 0.45) & (y > -0.3) & (y < -0.05)
    assert box.any() and not box.all()
    assert np.array_equal(number == 1 - first, box)
    assert np.abs(depth_m - np.where(box, 2.0, 4.0)).max() < MILLIMETRE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("away", "radius"), [(2.0, 0.5), (6.0, 0.03)])
def test_ball_and_cylinder(size: tuple[int, int], away: float, radius: float) -> None:
    camera, intrinsics, r = Camera((0.2, -0.1, 1.5), 0.0), camera_for(size), radius
    x, y = rays(intrinsics)
    low, high = (-r, -r, -r), (r, r, r)
    for shape, axes in (("ellipsoid", (x, y)), ("cylinder", (x,))):
        solid = Piece((Box(low, high, GREY, shape),), (0.2 + away, -0.1, 1.5), 33.0)
        depth_m, _ = trace(line_up([solid]), camera, intrinsics)
        # (x Z)^2 (+ (y Z)^2) + (Z - away)^2 = r^2, the smaller root.
        square = 1 + sum(axis * axis for axis in axes) + 0 * (x + y)
        root = away * away - square * (away * away - r * r)
        near = (away - np.sqrt(np.maximum(root, 0))) / square
        expected = np.where((root > 0) & (np.abs(y * near) <= r), near, np.inf)
        # A ray that grazes a rim may fall on either side of it.
        sure = (np.abs(root) > 0.03 * r * r) & (np.abs(np.abs(y * near) - r) > 0.01 * r)
        hit = np.isfinite(expected)
        assert np.array_equal(np.isfinite(depth_m)[sure], hit[sure])
        assert hit.any() or radius < 0.1
        np.testing.assert_allclose(depth_m[hit & sure], expected[hit & sure], rtol=0, atol=MILLIMETRE)


def test_a_cylinders_top_is_flat() -> None:
    intrinsics = camera_for((64, 48))
    drum = Piece((Box((-0.5, -0.5, 0), (0.5, 0.5, 0.4), GREY, "cylinder"),))
    depth_m, _ = trace(line_up([drum]), Camera((0, 0, 2.0), 0.0, 90.0), intrinsics)
    x, y = rays(intrinsics)
    on_top = (1.6 * x) ** 2 + (1.6 * y) ** 2 < 0.49**2
    assert on_top.any()
    assert np.abs(depth_m[on_top] - 1.6).max() < MILLIMETRE


def test_no_window_cuts_a_box() -> None:
    """Boxes anywhere, behind and around the camera too, against rays that are tried one and all."""
    rng = np.random.default_rng(5)
    intrinsics = camera_for((40, 30))
    x, y = (axis[..., None] for axis in rays(intrinsics))
    for _ in range(60):
        low, yaw, origin = rng.uniform(-2, 1.5, 3), rng.uniform(0, 360), rng.uniform(-2, 2, 3)
        high = low + rng.uniform(0.05, 1.5, 3)
        camera = Camera(tuple(rng.uniform(-1, 1, 3)), rng.uniform(0, 360), rng.uniform(-40, 40), rng.uniform(-9, 9))
        piece = Piece((Box(tuple(low), tuple(high), GREY),), tuple(origin), yaw)
        right, down, forward = map(np.array, camera.axes())
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        into = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        ray, eye = (x * right + y * down + forward) @ into, (np.array(camera.position) - origin) @ into
        ends = np.stack([(low - eye) / ray, (high - eye) / ray])
        near, far = ends.min(0).max(-1), ends.max(0).min(-1)
        expected = np.where((near < far) & (near > 0.02), near, np.inf)
        depth_m, _ = trace(line_up([piece]), camera, intrinsics)
        # A ray that grazes an edge may fall on either side of it.
        sure = (np.abs(far - near) > 1e-4) & (np.abs(near - 0.02) > 1e-4)
        np.testing.assert_allclose(depth_m[sure], expected[sure], atol=MILLIMETRE)


def test_a_piece_is_seen_as_its_boxes_are_one_by_one() -> None:
    """Some lie beside the picture while others are in it."""
    rng, intrinsics = np.random.default_rng(6), camera_for((40, 30))
    seen = 0
    for _ in range(100):
        lows = rng.uniform(-2, 2, (6, 3))
        boxes = [Box(tuple(low), tuple(low + rng.uniform(0.1, 0.8, 3)), GREY) for low in lows]
        origin, yaw = tuple(rng.uniform((2, -1, -1), (4, 1, 1))), rng.uniform(0, 360)
        camera = Camera((0, 0, 0), rng.uniform(-40, 40), rng.uniform(-20, 20), rng.uniform(-9, 9))
        # A floor in a frame of its own is looked at first, so that its rays lie about.
        floor = Piece((Box((-9, -9, -5), (9, 9, -4), GREY),), yaw_deg=17.0)
        together = trace(line_up([floor, Piece(tuple(boxes), origin, yaw)]), camera, intrinsics)
        apart = trace(line_up([floor, *(Piece((box,), origin, yaw) for box in boxes)]), camera, intrinsics)
        assert all(np.array_equal(one, other) for one, other in zip(together, apart, strict=True))
        seen += len(np.unique(together[1]))
    assert seen > 300
