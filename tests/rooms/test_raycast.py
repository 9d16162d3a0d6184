"""Depth against geometry worked out by hand, to a millimetre; where compiled kernels are kept."""

import math
from pathlib import Path

import numpy as np
import pytest
from analytic import GREY, MILLIMETRE, camera_for, rays, solid
from hypothesis import given
from hypothesis import strategies as st

from src.rooms.kernels import compilation
from src.rooms.kernels.compilation import prepare_cache
from src.rooms.kernels.lamps import occludes
from src.rooms.kernels.tracing import trace_rays
from src.rooms.raycast import Box, Camera, Piece, camera_rays, pack_solids, trace

SIZES = [(384, 288), (57, 91)]
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("pitch", "roll"), [(50.0, 0.0), (60.0, -15.0)])
def test_floor_under_a_pitched_and_rolled_camera(size: tuple[int, int], pitch: float, roll: float) -> None:
    floor, camera = solid((-300, -300, -1), (300, 300, 0)), Camera((0.3, 0.2, 1.6), 123.0, pitch, roll)
    depth_m, _ = trace(pack_solids([floor]), camera, camera_for(size))
    (x, y), p, r = rays(camera_for(size)), math.radians(pitch), math.radians(roll)
    descent = math.sin(p) + math.cos(p) * (x * math.sin(r) + y * math.cos(r))
    assert descent.min() > 0
    assert np.abs(depth_m - 1.6 / descent).max() < MILLIMETRE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [0, 1])
def test_a_box_hides_the_wall_right_of_and_above_the_middle(size: tuple[int, int], first: int) -> None:
    # Looking along x, right is -y: this box covers 0.2 to 0.9 m to the right and 0.1 to 0.6 m up, at 2 m.
    scene = [solid((4, -20, -20), (5, 20, 20)), solid((2.0, -0.9, 1.6), (2.001, -0.2, 2.1))]
    solids = pack_solids(scene if first == 0 else scene[::-1])
    depth_m, number = trace(solids, Camera((0.0, 0.0, 1.5), 0.0), camera_for(size))
    x, y = rays(camera_for(size))
    box = (x > 0.1) & (x < 0.45) & (y > -0.3) & (y < -0.05)
    assert box.any() and np.array_equal(number == 1 - first, box)
    assert np.abs(depth_m - np.where(box, 2.0, 4.0)).max() < MILLIMETRE


@pytest.mark.parametrize("shape", ["ellipsoid", "cylinder"])
@pytest.mark.parametrize(("away", "r"), [(2.0, 0.5), (6.0, 0.03)])
def test_ball_and_cylinder(shape: str, away: float, r: float) -> None:
    camera, intrinsics = Camera((0.2, -0.1, 1.5), 0.0), camera_for((384, 288))
    x, y = rays(intrinsics)
    piece = Piece((Box((-r, -r, -r), (r, r, r), GREY, shape),), (0.2 + away, -0.1, 1.5), 33.0)
    depth_m, _ = trace(pack_solids([piece]), camera, intrinsics)
    # (x Z)^2 (+ (y Z)^2) + (Z - away)^2 = r^2, the smaller root.
    square = 1 + x * x + (y * y if shape == "ellipsoid" else 0)
    root = away * away - square * (away * away - r * r)
    near = (away - np.sqrt(np.maximum(root, 0))) / square
    expected = np.where((root > 0) & (np.abs(y * near) <= r), near, np.inf)
    # A ray that grazes a rim may hit or miss.
    sure = (np.abs(root) > 0.03 * r * r) & (np.abs(np.abs(y * near) - r) > 0.01 * r)
    hit = np.isfinite(expected)
    assert hit.any() and np.array_equal(np.isfinite(depth_m)[sure], hit[sure])
    np.testing.assert_allclose(depth_m[hit & sure], expected[hit & sure], rtol=0, atol=MILLIMETRE)


@given(seed=SEEDS)
def test_any_box_is_seen_whole_and_rays_meet_what_pixels_show(seed: int) -> None:
    """Boxes anywhere, also behind and around the camera, against the slab method in numpy, and alone or together."""
    rng, intrinsics = np.random.default_rng(seed), camera_for((40, 30))
    lows, yaw, origin = rng.uniform(-2, 1.5, (4, 3)), rng.uniform(0, 360), rng.uniform(-2, 2, 3)
    highs = lows + rng.uniform(0.05, 1.5, (4, 3))
    camera = Camera(tuple(rng.uniform(-1, 1, 3)), rng.uniform(0, 360), rng.uniform(-40, 40), rng.uniform(-9, 9))
    boxes = [Box(tuple(low), tuple(high), GREY) for low, high in zip(lows, highs, strict=True)]
    # A piece with another yaw comes first, so that its rays are left in the buffer.
    floor, pose = Piece((Box((-9.0, -9.0, -9.0), (9.0, 9.0, -8.0), GREY),), yaw_deg=17.0), (tuple(origin), yaw)
    solids = pack_solids([floor, Piece(tuple(boxes), *pose)])
    depth_m, number = trace(solids, camera, intrinsics)
    apart = trace(pack_solids([floor, *(Piece((box,), *pose) for box in boxes)]), camera, intrinsics)
    assert np.array_equal(depth_m, apart[0]) and np.array_equal(number, apart[1])

    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    into = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    world = camera_rays(camera, intrinsics)
    ray, eye = np.moveaxis(world, 0, -1)[..., None, :] @ into, (np.array(camera.position) - origin) @ into
    ends = np.stack([(lows - eye) / ray, (highs - eye) / ray])
    near, far = ends.min(0).max(-1), ends.max(0).min(-1)
    expected = np.where((near < far) & (near > 0.02), near, np.inf).min(-1)
    # A ray that grazes an edge may hit or miss.
    sure = ((np.abs(far - near) > 1e-3) & (np.abs(near - 0.02) > 1e-3)).all(-1) & (number != 0)
    np.testing.assert_allclose(depth_m[sure], expected[sure], atol=MILLIMETRE)

    starts = np.repeat(np.array(camera.position, np.float32)[:, None], number.size, axis=1)
    distance, box = (values.reshape(30, 40) for values in trace_rays(solids, starts, world.reshape(3, -1)))
    same = sure & (box == number)
    assert same.sum() >= 0.99 * sure.sum()
    np.testing.assert_allclose(distance[same], depth_m[same], atol=MILLIMETRE)


def test_outdated_folders_are_removed_and_unwritable_ones_skipped(tmp_path: Path) -> None:
    sources, cache, blocked = tmp_path / "sources", tmp_path / "cache", tmp_path / "file"
    sources.mkdir()
    blocked.touch()
    found = set()
    for name, text in (("a.py", "x = 1"), ("b.py", "x = 1"), ("a.py", "x = 2")):
        (sources / name).write_text(text)
        folder = prepare_cache(sources, [blocked, cache])
        assert list(cache.iterdir()) == [folder]
        found.add(folder)
    assert len(found) == 3 and prepare_cache(sources, [blocked]) is None


def test_kernels_are_kept_in_the_folder_of_their_sources(tmp_path: Path) -> None:
    folder = prepare_cache(Path(compilation.__file__).parent, [tmp_path])
    assert folder and Path(occludes.stats.cache_path).parent.name == folder.name
