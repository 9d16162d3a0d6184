from __future__ import annotations

import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.conventions import Intrinsics, UserError
from src.viewing.rerun_log import Shot, open_window, place, record, serve

chunks = pytest.importorskip("rerun.chunk", reason="Rerun's own reader came after the last release for Python 3.10")

CAMERA = Intrinsics(fx_px=20, fy_px=25, cx_px=7, cy_px=5, width_px=16, height_px=12)
FRUSTUM = [20, 0, 0, 0, 25, 0, 7.5, 5.5, 1]  # by columns


def shot(depth_m: float = 2, truth_m: float | None = 4) -> Shot:
    """A plane that faces the camera, seen as one of another distance; its pixel (12, 9) is red."""
    image = np.full((12, 16, 3), 90, np.uint8)
    image[9, 12] = 255, 0, 0
    plane = np.full((12, 16), depth_m, np.float32)
    return Shot("a plane", image, CAMERA, plane, None if truth_m is None else plane * 0 + truth_m)


class Read:
    """A recording as Rerun reads it: every value by entity and component, in order of the frames."""

    def __init__(self, path: Path) -> None:
        reader = chunks.RrdReader(path)
        assert len(reader.recordings()) == len(reader.blueprints()) == 1
        self.values = self._collect(reader.stream())
        self.blueprint = self._collect(reader.stream(store=reader.blueprints()[0]))

    @staticmethod
    def _collect(stream: Any) -> dict[str, dict[str, list[tuple[int, Any]]]]:
        found: dict[str, dict[str, list[tuple[int, Any]]]] = {}
        for chunk in stream.to_chunks():
            table = chunk.to_record_batch().to_pydict()
            steps = table.get("frame", [-1] * chunk.num_rows)
            for name, column in table.items():
                if ":" in name:
                    rows = [(step, value) for step, value in zip(steps, column, strict=True) if value is not None]
                    found.setdefault(chunk.entity_path, {}).setdefault(name, []).extend(rows)
        return found

    def get(self, entity: str, component: str, step: int = 0) -> np.ndarray:
        [value] = [value for at, value in self.values[entity][component] if at == step]
        return np.array(value)

    def depth(self, entity: str, step: int = 0) -> np.ndarray:
        return self.get(entity, "DepthImage:buffer", step).astype(np.uint8).view(np.float32).reshape(12, 16)


def test_a_frame_with_truth(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.rrd"
    known = shot()
    truth_m = known.truth_m.copy()  # type: ignore[union-attr]
    truth_m[0, :4] = 0
    assert record([known._replace(truth_m=truth_m)], path) == 1
    assert list(path.parent.iterdir()) == [path]
    read = Read(path)
    spoken = {entity for entity in read.values if entity.startswith("/world/") or entity == "/about"}
    assert spoken == {
        "/about",
        *(f"/world/{name}{part}" for name in ("truth", "prediction") for part in ("", "/label", "/camera")),
        "/world/truth/camera/depth",
        *(f"/world/prediction/camera/{name}" for name in ("depth", "photo", "error")),
    }
    assert np.allclose(read.get("/world/truth/camera", "Pinhole:image_from_camera"), [FRUSTUM])
    assert read.get("/world/truth/camera", "Pinhole:resolution").tolist() == [[16, 12]]

    for name, depth_m, count in (("truth", 4, 16 * 12 - truth_m[truth_m == 0].size), ("prediction", 2, 16 * 12)):
        points = read.get(f"/world/{name}", "Points3D:positions")
        colours = read.get(f"/world/{name}", "Points3D:colors")
        # The unknown corner takes with it the pixels on its edge.
        assert count - 5 <= len(points) <= count and len(colours) == len(points)
        [red] = points[colours == 0xFF0000FF]
        assert np.allclose(red, [(12 - 7) / 20 * depth_m, (9 - 5) / 25 * depth_m, depth_m])
        assert np.allclose(read.depth(f"/world/{name}/camera/depth")[5:], depth_m)
        assert read.get(f"/world/{name}/camera/depth", "DepthImage:meter") == 1
        assert read.get(f"/world/{name}/camera/depth", "DepthImage:depth_range").tolist() == [[4, 0]]
        assert read.get(f"/world/{name}/label", "Points3D:labels").tolist() == [name]
        # Y points down.
        assert read.get(f"/world/{name}/label", "Points3D:positions")[0][1] < points[:, 1].min()
    assert np.array_equal(read.get("/world/prediction/camera/photo", "Image:buffer").ravel(), known.image.ravel())
    error_m = read.depth("/world/prediction/camera/error")
    assert not error_m[0, :4].any() and (error_m[1:] == 2).all()
    assert read.get("/world/prediction/camera/error", "DepthImage:depth_range").tolist() == [[0, 1]]
    about = str(read.get("/about", "TextDocument:text")[0])
    assert "a plane" in about and "0 to 4.0 m" in about and "Mean error: 2.00 m" in about


def test_clouds_stand_apart_about_the_middle(tmp_path: Path) -> None:
    record([shot(), shot(6, 3)], tmp_path / "x.rrd")
    read = Read(tmp_path / "x.rrd")
    for step, widest in enumerate((4, 6)):
        left, right = (
            read.get(f"/world/{name}", "Transform3D:translation", step)[0] for name in ("truth", "prediction")
        )
        assert left[0] == -right[0] and not left[1:].any() and not right[1:].any()
        assert 15 / 20 * widest < right[0] - left[0] < 15 / 20 * widest * 1.2
    assert place({}) == []


def test_a_photo_has_no_truth(tmp_path: Path) -> None:
    assert record([shot(truth_m=None)] * 3, tmp_path / "x.rrd") == 3
    read = Read(tmp_path / "x.rrd")
    assert not [entity for entity in read.values if "truth" in entity or "error" in entity]
    assert read.get("/world/prediction", "Transform3D:translation", 2).tolist() == [[0, 0, 0]]
    assert "rror" not in str(read.get("/about", "TextDocument:text", 2))


def test_the_blueprint_shows_each_cloud_once(tmp_path: Path) -> None:
    for truth_m, pictures in ((4, 4), (None, 2)):
        record([shot(truth_m=truth_m)], tmp_path / "x.rrd")
        shown = Read(tmp_path / "x.rrd").blueprint
        views = [
            content["ViewBlueprint:class_identifier"][0][1]
            for content in shown.values()
            if len(content) > 1 and "ViewBlueprint:class_identifier" in content
        ]
        assert sorted(views) == [["2D"]] * pictures + [["3D"], ["TextDocument"]]
        [scene] = [entity for entity in shown if entity.endswith("/EyeControls3D")]
        [(_, lines)] = shown[scene.replace("EyeControls3D", "ViewContents")]["ViewContents:query"]
        # A depth image below a camera that the scene shows would be drawn as a cloud.
        assert "**" not in lines[0] and "depth" not in lines[0]
        position = np.array(shown[scene]["EyeControls3D:position"][0][1][0])
        target = np.array(shown[scene]["EyeControls3D:look_target"][0][1][0])
        assert position[2] < 0 < target[2] and position[1] < 0


def test_nothing_known_and_nothing_near(tmp_path: Path) -> None:
    record([shot(0, 0)], tmp_path / "x.rrd")
    read = Read(tmp_path / "x.rrd")
    assert read.values["/world/truth"].get("Points3D:positions", [(0, [])])[0][1] == []
    assert "nan" in str(read.get("/about", "TextDocument:text"))


def test_no_frame_leaves_the_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "x.rrd").write_text("earlier")
    with pytest.raises(UserError, match="no frame to show"):
        record([], tmp_path / "x.rrd")
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        record([shot()], tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == {"x.rrd", "x"}
    assert (tmp_path / "x.rrd").read_text() == "earlier"


def test_a_full_disk_ends_in_one_line(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            record([shot()], tmp_path / "x.rrd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())


def test_a_busy_port_costs_one_line(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        for wanted in (port, port - 1):
            with pytest.raises(UserError, match=rf"port {port}: Address already in use. Name another with --port"):
                serve(tmp_path / "x.rrd", wanted)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others have a window at hand")
def test_a_machine_without_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record([shot()], tmp_path / "x.rrd")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"window did not open \([^:]*DISPLAY[^:]*\)\. Take --web"):
        open_window(tmp_path / "x.rrd")
