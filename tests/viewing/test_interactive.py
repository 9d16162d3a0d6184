import base64
import io

import numpy as np
import pytest
from PIL import Image

from src.conventions import Intrinsics
from src.viewing.figures import DEPTH_COLOURS
from src.viewing.interactive import DEPTH_SIDE_PX, MOST_POINTS, PHOTO_SIDE_PX, cloud_figure, depth_figure
from src.viewing.pointcloud import Cloud, make_cloud


def ramp(height: int, width: int) -> np.ndarray:
    """Depth that names its pixel: row + column / 1000, from 1 m."""
    return (1 + np.arange(height)[:, None] + np.arange(width) / 1000).astype(np.float32)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize("size", [(6, 8), (480, 640), (3 * DEPTH_SIDE_PX + 1, 50)])
def test_the_cursor_reads_the_metres_of_the_pixel_under_it(size: tuple[int, int]) -> None:
    depth_m = ramp(*size)
    shown = depth_figure(grey(*size), depth_m).data[0]
    assert max(np.shape(shown.z)) <= DEPTH_SIDE_PX
    assert shown.hovertemplate == "%{z:.2f} m<extra></extra>"
    for row, column in ((0, 0), (1, 2), (len(shown.z) - 1, len(shown.z[0]) - 1)):
        assert shown.z[row][column] == depth_m[shown.y0 + row * shown.dy, shown.x0 + column * shown.dx]


def test_the_picture_covers_the_photo_and_is_not_upside_down() -> None:
    layout = depth_figure(grey(6, 8), ramp(6, 8)).layout
    assert layout.xaxis.range == (-0.5, 7.5)
    assert layout.yaxis.range == (5.5, -0.5)
    photo = layout.images[0]
    assert (photo.x, photo.y, photo.sizex, photo.sizey) == (-0.5, -0.5, 8, 6)


def test_near_is_bright_and_unknown_is_neither_coloured_nor_read() -> None:
    depth_m = np.full((6, 8), 2.0, np.float32)
    depth_m[2, 3] = 0
    shown = depth_figure(grey(6, 8), depth_m).data[0]
    assert np.isnan(shown.z[2][3])
    assert np.isnan(shown.z).sum() == 1
    assert not shown.hoverongaps
    assert (shown.zmin, shown.zmax) == (0, 2)
    for place, colour in (shown.colorscale[0], shown.colorscale[-1]):
        assert colour == "rgb({}, {}, {})".format(*DEPTH_COLOURS(place, bytes=True)[:3])
    assert sum(DEPTH_COLOURS(0.0)) > sum(DEPTH_COLOURS(1.0))
    assert shown.colorbar.title.text == "m"
    depth_figure(grey(6, 8), np.zeros((6, 8), np.float32))


def test_the_photo_is_sent_small() -> None:
    source = depth_figure(grey(1200, 1600), ramp(1200, 1600)).layout.images[0].source
    sent = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
    assert sent.size == (PHOTO_SIDE_PX, PHOTO_SIDE_PX * 3 // 4)


def test_a_button_never_hides_both_depth_and_photo() -> None:
    buttons = depth_figure(grey(6, 8), ramp(6, 8)).layout.updatemenus[0].buttons
    states = {button.label: (button.args[0]["opacity"], button.args[1]["images[0].visible"]) for button in buttons}
    assert states == {"depth": (1, False), "photo": (0, True), "both": (0.6, True)}


def test_a_point_stands_where_the_camera_saw_it() -> None:
    # 4 px right of and 2 px above the centre, 3 m ahead, at a focal length of 6 px: 2 m to the right, 1 m up.
    camera = Intrinsics(6, 6, 4, 4, 9, 9)
    depth_m = np.zeros((9, 9), np.float32)
    depth_m[2, 8] = 3
    image = grey(9, 9)
    image[2, 8] = 255, 0, 16
    shown = cloud_figure(Cloud(camera.unproject(depth_m)[2, 8][None], image[2, 8][None])).data[0]
    assert (shown.x[0], shown.y[0], shown.z[0]) == pytest.approx((2, 3, 1))
    assert shown.marker.color[0] == "#ff0010"


def test_a_metre_is_equally_long_on_each_axis_and_the_start_is_near_the_camera() -> None:
    rng = np.random.default_rng(0)
    points_m = rng.uniform((-3, -1, 1), (2, 1, 5), (1000, 3)).astype(np.float32)
    scene = cloud_figure(Cloud(points_m, np.zeros((1000, 3), np.uint8))).layout.scene
    spans = {name: np.ptp(scene[f"{name}axis"].range) for name in "xyz"}
    lengths = {name: scene.aspectratio[name] / spans[name] for name in "xyz"}
    assert lengths["x"] == pytest.approx(lengths["y"]) == pytest.approx(lengths["z"])
    middles = {name: np.mean(scene[f"{name}axis"].range) for name in "xyz"}
    right, ahead, up = (scene.camera.eye[name] / lengths[name] + middles[name] for name in "xyz")
    assert abs(right) < 1 and -2 < ahead < 0 and 0 < up < 1
    right, ahead, up = (scene.camera.center[name] / lengths[name] + middles[name] for name in "xyz")
    assert (right, ahead, up) == pytest.approx((0, np.median(points_m[:, 2]), 0), abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, MOST_POINTS, 3 * MOST_POINTS + 7])
def test_no_more_points_than_a_telephone_turns(count: int) -> None:
    points_m = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    shown = cloud_figure(Cloud(points_m, np.zeros((count, 3), np.uint8))).data[0]
    assert len(shown.x) == len(shown.marker.color) == min(count, MOST_POINTS)
    if count:
        assert (shown.x[0], shown.x[-1]) == (0, 3 * count - 3)


def test_a_figure_is_small_enough_for_a_page() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    depth_m = rng.uniform(1, 1.01, (480, 640)).astype(np.float32)
    cloud = make_cloud(image, depth_m, Intrinsics.of(640, 480, 500), most=MOST_POINTS)
    assert len(depth_figure(image, depth_m).to_json()) < 1_000_000
    assert len(cloud_figure(cloud).to_json()) < 1_000_000
