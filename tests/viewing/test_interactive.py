import base64
import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from src.conventions import NYU_INTRINSICS, Intrinsics
from src.viewing.figures import DEPTH_COLOURS
from src.viewing.interactive import DEPTH_SIDE_PX, MAX_POINTS, cloud_figure, depth_figure, jpeg_data_url
from src.viewing.pointcloud import Cloud, make_cloud, write_ply


def make_ramp(height: int, width: int) -> np.ndarray:
    """Depth that encodes its pixel: row + column / 1000, from 1 m."""
    return (1 + np.arange(height)[:, None] + np.arange(width) / 1000).astype(np.float32)


def make_grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("size", [(6, 8), (480, 640), (3 * DEPTH_SIDE_PX + 1, 50)])
def test_the_cursor_reads_the_metres_of_the_pixel_under_it(size: tuple[int, int]) -> None:
    depth_m = make_ramp(*size)
    figure = depth_figure(make_grey(*size), depth_m)
    heatmap, layout, (height, width) = figure.data[0], figure.layout, size
    assert max(np.shape(heatmap.z)) <= DEPTH_SIDE_PX
    for row, column in ((0, 0), (1, 2), (len(heatmap.z) - 1, len(heatmap.z[0]) - 1)):
        pixel = heatmap.y0 + row * heatmap.dy, heatmap.x0 + column * heatmap.dx
        assert heatmap.z[row][column] == depth_m[pixel]
    assert (layout.xaxis.range, layout.yaxis.range) == ((-0.5, width - 0.5), (height - 0.5, -0.5))
    photo = layout.images[0]
    assert (photo.x, photo.y, photo.sizex, photo.sizey) == (-0.5, -0.5, width, height)


def test_near_is_bright_and_unknown_is_neither_coloured_nor_read() -> None:
    depth_m = np.full((6, 8), 2.0, np.float32)
    depth_m[2, 3] = 0
    heatmap = depth_figure(make_grey(6, 8), depth_m).data[0]
    assert np.argwhere(np.isnan(heatmap.z)).tolist() == [[2, 3]]
    assert not heatmap.hoverongaps
    assert (heatmap.zmin, heatmap.zmax) == (0, 2)
    for position, colour in (heatmap.colorscale[0], heatmap.colorscale[-1]):
        assert colour == "rgb({}, {}, {})".format(*DEPTH_COLOURS(position, bytes=True)[:3])
    assert depth_figure(make_grey(6, 8), 0 * depth_m).data[0].zmax == 1


def test_a_button_never_hides_both_depth_and_photo_which_is_sent_small() -> None:
    buttons = depth_figure(make_grey(6, 8), make_ramp(6, 8)).layout.updatemenus[0].buttons
    states = {button.label: (button.args[0]["opacity"], button.args[1]["images[0].visible"]) for button in buttons}
    assert states == {"depth": (1, False), "photo": (0, True), "both": (0.6, True)}
    content = base64.b64decode(jpeg_data_url(make_grey(1200, 1600)).removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (640, 480)


def test_a_point_is_shown_at_its_place_in_its_colour() -> None:
    # 4 px right of and 2 px above the centre, 3 m ahead, at a focal length of 6 px: 2 m to the right, 1 m up.
    depth_m = np.zeros((9, 9), np.float32)
    depth_m[2, 8] = 3
    points_m = Intrinsics(6, 6, 4, 4, 9, 9).unproject(depth_m)[2, 8][None]
    scatter = cloud_figure(Cloud(points_m, np.array([[255, 0, 16]], np.uint8))).data[0]
    assert (scatter.x[0], scatter.y[0], scatter.z[0]) == pytest.approx((2, 3, 1))
    assert scatter.marker.color[0] == "#ff0010"


def test_axes_are_equally_scaled_and_the_first_view_is_near_the_camera() -> None:
    rng = np.random.default_rng(0)
    points_m = rng.uniform((-3, -1, 1), (2, 1, 5), (1000, 3)).astype(np.float32)
    scene = cloud_figure(Cloud(points_m, np.zeros((1000, 3), np.uint8))).layout.scene
    scales = {name: scene.aspectratio[name] / np.ptp(scene[f"{name}axis"].range) for name in "xyz"}
    assert scales["x"] == pytest.approx(scales["y"]) == pytest.approx(scales["z"])
    centres = {name: np.mean(scene[f"{name}axis"].range) for name in "xyz"}
    right, ahead, up = (scene.camera.eye[name] / scales[name] + centres[name] for name in "xyz")
    assert abs(right) < 1 and -2 < ahead < 0 and 0 < up < 1
    target = [scene.camera.center[name] / scales[name] + centres[name] for name in "xyz"]
    assert target == pytest.approx((0, np.median(points_m[:, 2]), 0), abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, 3 * MAX_POINTS + 7])
def test_a_cloud_of_any_size_is_thinned_evenly(count: int) -> None:
    points_m = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    figure = cloud_figure(Cloud(points_m, np.zeros((count, 3), np.uint8)))
    assert len(figure.data[0].x) == len(figure.data[0].marker.color) == min(count, MAX_POINTS)
    assert count == 0 or (figure.data[0].x[0], figure.data[0].x[-1]) == (0, 3 * count - 3)
    assert len(figure.to_json()) < 1_000_000


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


def test_holes_and_interpolated_edges_are_left_out_but_not_sparse_points() -> None:
    depth_m = np.full((480, 640), 2.0, np.float32)
    depth_m[:, 320:] = 4.0
    depth_m[:, 316:324] = np.linspace(2.2, 3.8, 8)
    depth_m[:40] = 0
    cloud = make_cloud(BLACK, depth_m, NYU_INTRINSICS)
    assert set(np.round(cloud.points_m[:, 2], 3)) == {2.0, 4.0}
    assert len(cloud.points_m) == pytest.approx(440 * 630, rel=0.01)
    sparse_m = np.zeros((480, 640), np.float32)
    sparse_m[::5, ::7] = 2.0
    assert len(make_cloud(BLACK, sparse_m, NYU_INTRINSICS).points_m) == (sparse_m > 0).sum()
    assert len(make_cloud(BLACK, sparse_m, NYU_INTRINSICS, max_points=10_000).points_m) == (sparse_m > 0).sum()


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
