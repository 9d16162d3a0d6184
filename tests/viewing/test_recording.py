import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import read_recording

from src.conventions import Intrinsics, UserError
from src.viewing.recording import PredictedFrame, write_recording
from src.viewing.rerun_viewer import open_window

CAMERA = Intrinsics(fx_px=20, fy_px=25, cx_px=7, cy_px=5, width_px=16, height_px=12)
MATRIX_BY_COLUMNS = [20, 0, 0, 0, 25, 0, 7.5, 5.5, 1]


def make_frame(depth_m: float = 2, truth_m: float | None = 4) -> PredictedFrame:
    """A plane parallel to the image, predicted at another distance; its pixel (12, 9) is red."""
    image = np.full((12, 16, 3), 90, np.uint8)
    image[9, 12] = 255, 0, 0
    truth = None if truth_m is None else np.full((12, 16), truth_m, np.float32)
    return PredictedFrame("a plane", image, CAMERA, np.full((12, 16), depth_m, np.float32), truth)


def test_a_frame_with_truth(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.rrd"
    frame = make_frame()
    assert frame.truth_m is not None
    frame.truth_m[0, :4] = 0
    assert write_recording([frame], path) == 1
    assert list(path.parent.iterdir()) == [path]
    values = read_recording(path)
    assert np.allclose(values["/world/truth/camera", "Pinhole:image_from_camera", 0], [MATRIX_BY_COLUMNS])
    assert values["/world/truth/camera", "Pinhole:resolution", 0].tolist() == [[16, 12]]
    for name, depth_m, count in (("truth", 4, 16 * 12 - 4), ("prediction", 2, 16 * 12)):
        points_m = values[f"/world/{name}", "Points3D:positions", 0]
        colours = values[f"/world/{name}", "Points3D:colors", 0]
        # Pixels at the edge of the unknown corner are left out too.
        assert count - 5 <= len(points_m) <= count and len(colours) == len(points_m)
        [red] = points_m[colours == 0xFF0000FF]
        assert np.allclose(red, [(12 - 7) / 20 * depth_m, (9 - 5) / 25 * depth_m, depth_m])
        entity = f"/world/{name}/camera/depth"
        map_m = values[entity, "DepthImage:buffer", 0].astype(np.uint8).view(np.float32).reshape(12, 16)
        assert np.allclose(map_m[5:], depth_m)
        assert values[entity, "DepthImage:meter", 0] == 1
        assert values[entity, "DepthImage:depth_range", 0].tolist() == [[4, 0]]
        assert values[f"/world/{name}/label", "Points3D:labels", 0].tolist() == [name]
        assert values[f"/world/{name}/label", "Points3D:positions", 0][0][1] < points_m[:, 1].min()  # Y is down
    assert np.array_equal(values["/world/prediction/camera/photo", "Image:buffer", 0].ravel(), frame.image.ravel())
    entity = "/world/prediction/camera/error"
    error_m = values[entity, "DepthImage:buffer", 0].astype(np.uint8).view(np.float32).reshape(12, 16)
    assert np.isnan(error_m[0, :4]).all() and (error_m[1:] == 2).all()
    assert values[entity, "DepthImage:depth_range", 0].tolist() == [[0, 1]]
    about = str(values["/about", "TextDocument:text", 0])
    assert "a plane" in about and "0 to 4.0 m" in about and "Mean error: 2.00 m" in about


def test_truth_and_prediction_are_beside_each_other(tmp_path: Path) -> None:
    write_recording([make_frame(), make_frame(6, 3)], tmp_path / "x.rrd")
    values = read_recording(tmp_path / "x.rrd")
    for step, widest in enumerate((4, 6)):
        left, right = (values[f"/world/{name}", "Transform3D:translation", step][0] for name in ("truth", "prediction"))
        assert left[0] == -right[0] and not left[1:].any() and not right[1:].any()
        assert 15 / 20 * widest < right[0] - left[0] < 15 / 20 * widest * 1.2


@pytest.mark.parametrize(("truth_m", "pictures"), [(4, 4), (None, 2)])
def test_the_blueprint_shows_each_cloud_once(tmp_path: Path, truth_m: float | None, pictures: int) -> None:
    write_recording([make_frame(truth_m=truth_m)], tmp_path / "x.rrd")
    values = read_recording(tmp_path / "x.rrd", blueprint=True)
    views = [value[0] for (_, name, _), value in values.items() if name == "ViewBlueprint:class_identifier"]
    assert sorted(views) == ["2D"] * pictures + ["3D", "TextDocument"]
    [eye] = {entity for entity, _, _ in values if entity.endswith("/EyeControls3D")}
    contents = values[eye.replace("EyeControls3D", "ViewContents"), "ViewContents:query", -1][0]
    # A depth image below a camera that the scene shows would be drawn as a cloud.
    assert "**" not in contents and "depth" not in contents
    position, target = (values[eye, f"EyeControls3D:{name}", -1][0] for name in ("position", "look_target"))
    assert position[2] < 0 < target[2] and position[1] < 0


def test_photos_without_truth_and_frames_without_any_known_pixel(tmp_path: Path) -> None:
    assert write_recording([make_frame(truth_m=None)] * 3, tmp_path / "x.rrd") == 3
    values = read_recording(tmp_path / "x.rrd")
    assert not [entity for entity, _, _ in values if "truth" in entity or "error" in entity]
    assert values["/world/prediction", "Transform3D:translation", 2].tolist() == [[0, 0, 0]]
    write_recording([make_frame(0, 0)], tmp_path / "x.rrd")
    values = read_recording(tmp_path / "x.rrd")
    assert not len(values.get(("/world/truth", "Points3D:positions", 0), []))
    assert "nan" in str(values["/about", "TextDocument:text", 0])


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "x.rrd"
    path.write_text("earlier")
    with pytest.raises(UserError, match=r"x\.rrd: not written"):
        write_recording([], path)
    # With a full disk, which Rerun's own writer would wait for.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"x\.rrd: cannot be written"):
            write_recording([make_frame()], path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a window")
def test_a_machine_without_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recording([make_frame()], tmp_path / "x.rrd")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"\([^:]*DISPLAY[^:]*\)"):
        open_window(tmp_path / "x.rrd")
