from pathlib import Path

import numpy as np
import pytest
import trimesh

from src.conventions import NYU_INTRINSICS, Intrinsics
from src.viewing.pointcloud import make_cloud, write_ply

BLACK = np.zeros((480, 640, 3), np.uint8)


def test_a_strided_cloud_is_a_subset_of_the_whole() -> None:
    depth_m = np.full((480, 640), 3.0, np.float32)
    image = BLACK.copy()
    image[:, 320:] = 200
    whole, strided = (make_cloud(image, depth_m, NYU_INTRINSICS, max_points=most) for most in (10**6, 5000))
    assert len(whole.points_m) == 480 * 640
    grid = whole.points_m.reshape(480, 640, 3)[4::8, 4::8]
    assert strided.points_m == pytest.approx(grid.reshape(-1, 3), abs=1e-5)
    assert (strided.colours == image[4::8, 4::8].reshape(-1, 3)).all()


def test_holes_and_interpolated_edges_are_left_out() -> None:
    depth_m = np.full((480, 640), 2.0, np.float32)
    depth_m[:, 320:] = 4.0
    depth_m[:, 316:324] = np.linspace(2.2, 3.8, 8)
    depth_m[:40] = 0
    cloud = make_cloud(BLACK, depth_m, NYU_INTRINSICS)
    assert set(np.round(cloud.points_m[:, 2], 3)) == {2.0, 4.0}
    assert len(cloud.points_m) == pytest.approx(440 * 630, rel=0.01)


def test_a_floor_seen_at_a_low_angle_stays() -> None:
    below_px = np.arange(480, dtype=np.float32)[:, None] - NYU_INTRINSICS.cy_px
    floor_m = np.where(below_px > 40, 1.4 * NYU_INTRINSICS.fy_px / np.maximum(below_px, 1), 0).astype(np.float32)
    depth_m = np.broadcast_to(np.where(floor_m < 9, floor_m, 0), (480, 640))
    cloud = make_cloud(BLACK, depth_m, NYU_INTRINSICS)
    assert len(cloud.points_m) > 0.97 * (depth_m > 0).sum()
    assert cloud.points_m[:, 1] == pytest.approx(1.4, abs=1e-3)


def test_a_ply_is_read_back_upright_with_its_colours(tmp_path: Path) -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    cloud = make_cloud(image, np.full((6, 8), 2.0, np.float32), Intrinsics(100.0, 50.0, 3.0, 1.0, 8, 6))
    write_ply(cloud, tmp_path / "x.ply")
    assert b"format binary_little_endian 1.0" in (tmp_path / "x.ply").read_bytes()
    read = trimesh.load(tmp_path / "x.ply")
    assert read.vertices == pytest.approx(cloud.points_m * [1, -1, -1])
    assert (np.asarray(read.colors)[:, :3] == image.reshape(-1, 3)).all()
