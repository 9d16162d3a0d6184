import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Script, read_recording, wavy_frame
from PIL import Image

from src.conventions import NYU_INTRINSICS, Frame
from visualize import read_pair


def test_frames_of_nyu(script: Script, nyu_folder: Path) -> None:
    done = script("visualize.py", "--data-dir", nyu_folder, "--frames", 2)
    assert "open it with: rerun visualization.rrd" in done.stdout
    values = read_recording(Path("visualization.rrd"))
    for step in (0, 1):
        assert f"0000{step}" in str(values["/about", "TextDocument:text", step])
    camera = NYU_INTRINSICS.resized(128, 96)
    matrix_by_columns = [camera.fx_px, 0, 0, 0, camera.fy_px, 0, camera.cx_px + 0.5, camera.cy_px + 0.5, 1]
    assert np.allclose(values["/world/truth/camera", "Pinhole:image_from_camera", 1], matrix_by_columns)
    stored = stored_depth(values, "truth", 1)
    known = stored > 0
    assert 0.7 < known.mean() < 0.95  # NYU's in-painted border is not shown as measured
    assert np.allclose(stored[known], wavy_frame(101)[1].ravel()[known], atol=0.001)


def test_photos_with_one_bad_file(script: Script) -> None:
    image = Image.fromarray(wavy_frame(1)[0])
    image.save("a.jpg")
    Path("bad.jpg").write_text("hello")
    image.resize((2048, 1536)).save("c.jpg")
    done = script("visualize.py", "*.jpg", "--fov", 90, "--save", "my out/x.rrd", status=2)
    assert "rerun 'my out/x.rrd'" in done.stdout
    assert "error: bad.jpg: got 5 bytes" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 3 frames failed")
    values = read_recording(Path("my out/x.rrd"))
    for step, size in enumerate([(128, 96), (1024, 768)]):
        assert tuple(values["/world/prediction/camera", "Pinhole:resolution", step][0]) == size
    assert values["/world/prediction/camera", "Pinhole:image_from_camera", 1][0, 0] == pytest.approx(512)


def stored_depth(values: dict[tuple[str, str, int], np.ndarray], name: str, step: int = 0) -> np.ndarray:
    buffer = values[f"/world/{name}/camera/depth", "DepthImage:buffer", step]
    return buffer.astype(np.uint8).view(np.float32).ravel()


@pytest.mark.parametrize(
    ("typed", "scale"),
    [
        (["--data", "nyu", "--limit", 1], "the truth's"),
        (["--data", "nyu", "--limit", 1, "--scale-m", 3], "3 m (--scale-m)"),
        (["a.jpg"], "10 m (--scale-m)"),
    ],
)
def test_a_relative_network_is_shown_at_a_scale_that_is_said(
    script: Script, relative_checkpoint: Path, nyu_folder: Path, typed: list, scale: str
) -> None:
    Image.fromarray(wavy_frame(1)[0]).save("a.jpg")
    folder = ["--data-dir", nyu_folder] if "nyu" in typed else []
    done = script("visualize.py", relative_checkpoint, *typed, *folder)
    values = read_recording(Path("visualization.rrd"))
    expected_m = np.nanmax(stored_depth(values, "truth")) if scale == "the truth's" else float(scale.split()[0])
    assert np.nanmax(stored_depth(values, "prediction")) == pytest.approx(expected_m, rel=0.1)
    label = values["/world/prediction/label", "Points3D:labels", 0].tolist()[0]
    for text in (done.stdout, str(values["/about", "TextDocument:text", 0]), label):
        assert f"farthest point put at {scale}" in text
    if folder:
        assert values["/world/truth/label", "Points3D:labels", 0].tolist() == ["truth"]


def test_large_frames_of_a_data_set_are_shrunk_as_photos_are() -> None:
    size = 1500, 2048
    depth_m, camera = np.full(size, 3, np.float32), NYU_INTRINSICS.resized(*size[::-1])
    frame = Frame(np.zeros((*size, 3), np.uint8), depth_m, np.ones(size, bool), camera)
    photo, truth_m = read_pair([frame], 0)
    assert photo.image.shape == (750, 1024, 3)
    assert photo.camera.fov_deg == pytest.approx(frame.camera.fov_deg)
    np.testing.assert_array_equal(truth_m, np.full((750, 1024), 3))


def test_mistakes_are_one_line(script: Script) -> None:
    Path("video.mp4").touch()
    Path("bad.jpg").write_text("hello")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for arguments, message in (
            (("video.mp4",), "video.mp4: got a video or webcam"),
            (("0",), "0: got a video or webcam"),
            (("bad.jpg",), "visualization.rrd: not written"),
            (("bad.jpg", "--save", "bad.jpg/x.rrd"), "--save bad.jpg: cannot be written"),
            (("bad.jpg", "--save", "."), "argument --save: got '.', expected a name that ends in .rrd"),
            (("bad.jpg", "--scale-m", 3), "--scale-m 3: has no effect on a metric network"),
            (("bad.jpg", "--web", "--port", port - 1), f"port {port}: Address already in use"),
        ):
            error = script("visualize.py", *arguments, status=2).stderr.splitlines()[-1]
            assert error.startswith("error: ") and message in error, arguments
    assert not list(Path().glob("**/*.rrd*"))


def test_the_page_is_served_to_this_machine_only(
    nyu_folder: Path, tmp_path: Path, offline: dict[str, str], unused_port: int
) -> None:
    port = unused_port  # the next one is almost surely free too
    command = [sys.executable, ROOT / "scripts" / "visualize.py", "--data-dir", nyu_folder, "--limit", 1, "--web"]
    environment = {**os.environ, **offline, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*map(str, command), "--port", str(port)], cwd=tmp_path, env=environment, **pipes)
    try:
        assert process.stdout
        url = next(line for line in process.stdout if line.startswith("serving ")).split()[1]
        assert url == f"http://127.0.0.1:{port}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{port + 1}%2Fproxy"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"rerun" in direct.open(url, timeout=20).read().lower()
        for number in (port, port + 1):
            # Another address of this machine, on which a server for every interface would answer.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", number), timeout=5)
    finally:
        process.send_signal(signal.SIGTERM)  # SIGKILL would leave Rerun's own program running
        _, log = process.communicate(timeout=30)
    assert "Traceback" not in log
    assert process.returncode == 143
    for number in (port, port + 1):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=5)
    assert not list(tmp_path.glob("tmp*"))
