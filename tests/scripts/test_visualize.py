import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Script, wavy_frame
from PIL import Image

from src.conventions import NYU_INTRINSICS
from src.network import SHIPPED
from src.training import checkpoint

chunks = pytest.importorskip("rerun.chunk", reason="Rerun's own reader came after the last release for Python 3.10")


def read(path: Path, entity: str, component: str) -> dict[int, np.ndarray]:
    """One component's values by step, as Rerun reads them."""
    found = {}
    for chunk in chunks.RrdReader(path).stream().to_chunks():
        table = chunk.to_record_batch().to_pydict()
        if chunk.entity_path == entity and component in table:
            found |= {step: np.array(value) for step, value in zip(table["frame"], table[component], strict=True)}
    return found


def test_frames_of_nyu(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    done = script_inside("visualize.py", "--data-dir", nyu_folder, "--frames", 2)
    assert "the weights that ship" in done.stdout
    assert "open it with: rerun visualization.rrd" in done.stdout
    path = tmp_path / "visualization.rrd"
    titles = read(path, "/about", "TextDocument:text")
    assert [re.findall(r"\d{5}", str(titles[step]))[0] for step in (0, 1)] == ["00000", "00001"]
    camera = NYU_INTRINSICS.resized(128, 96)
    for name in ("truth", "prediction"):
        matrix = read(path, f"/world/{name}/camera", "Pinhole:image_from_camera")[1]
        expected = [camera.fx_px, 0, 0, 0, camera.fy_px, 0, camera.cx_px + 0.5, camera.cy_px + 0.5, 1]
        assert np.allclose(matrix, [expected])
    stored = read(path, "/world/truth/camera/depth", "DepthImage:buffer")[1].astype(np.uint8).view(np.float32).ravel()
    truth_m = wavy_frame(101)[1].ravel()
    # NYU's in-painted border is not shown as measured.
    known = stored > 0
    assert 0.7 < known.mean() < 0.95
    assert np.allclose(stored[known], truth_m[known], atol=0.001)


def test_photos_with_one_bad_file(script_inside: Script, tmp_path: Path) -> None:
    image = Image.fromarray(wavy_frame(1)[0])
    image.save(tmp_path / "a.jpg")
    (tmp_path / "bad.jpg").write_text("hello")
    image.resize((2048, 1536)).save(tmp_path / "c.jpg")
    done = script_inside("visualize.py", "*.jpg", "--fov", 90, "--save", "out/x.rrd", status=2)
    assert "error: bad.jpg: got 5 bytes that are no image" in done.stderr
    assert done.stderr.endswith("error: 1 of 3 frames failed, named above; the others are done.\n")
    path = tmp_path / "out" / "x.rrd"
    assert list(path.parent.iterdir()) == [path]
    sizes = read(path, "/world/prediction/camera", "Pinhole:resolution")
    assert {step: size.tolist() for step, size in sizes.items()} == {0: [[128, 96]], 1: [[1024, 768]]}
    assert read(path, "/world/prediction/camera", "Pinhole:image_from_camera")[1][0, 0] == pytest.approx(512)
    assert not read(path, "/world/truth/camera", "Pinhole:resolution")


def test_mistakes_cost_one_line(script_inside: Script, nyu_folder: Path, tmp_path: Path) -> None:
    content = checkpoint.load(SHIPPED)
    about = {**content["about"], "target": "relative"}
    checkpoint.save(tmp_path / "relative.pt", **{**content, "about": about})
    (tmp_path / "film.mp4").write_text("")
    (tmp_path / "bad.jpg").write_text("hello")
    for arguments, message in (
        (("none.jpg",), "none.jpg: got no such file"),
        (("none.pt",), "none.pt: no such checkpoint"),
        (("a.pt", "b.safetensors"), "got 2 checkpoints, expected at most one"),
        (("film.mp4",), "film.mp4: got a film or webcam, expected photos. Films go to scripts/predict.py."),
        (("0",), "0: got a film or webcam"),
        (("bad.jpg", "--data", "nyu"), "argument --data: has no effect on photos"),
        (("bad.jpg",), "visualization.rrd: not written, since there is no frame to show."),
        (("relative.pt", "--data-dir", nyu_folder), "learnt relative depth, and a cloud needs metres"),
        (("--data-dir", nyu_folder, "--save", "film.mp4/x.rrd"), "cannot be written"),
        (("--save", "x.rrd", "--web"), "not allowed with argument --save"),
        (("--fov", "180"), "expected an angle between 0 and 180"),
    ):
        done = script_inside("visualize.py", *arguments, status=2)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ") and message in last, arguments
    assert not list(tmp_path.glob("**/*.rrd*"))


def test_a_page_for_this_machine_alone(nyu_folder: Path, tmp_path: Path, offline: dict[str, str]) -> None:
    port = find_ports()
    command = [sys.executable, ROOT / "scripts" / "visualize.py", "--data-dir", nyu_folder, "--limit", 1, "--web"]
    process = subprocess.Popen(
        [*map(str, command), "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, **offline, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        url = next(line for line in process.stdout if line.startswith("serving ")).split()[1]
        assert url == f"http://127.0.0.1:{port}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{port + 1}%2Fproxy"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"rerun" in direct.open(url, timeout=20).read().lower()
        for number in (port, port + 1):
            # Another address of this machine, which a server for everybody would answer too.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", number), timeout=5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        # Not killed: that would leave Rerun's own program behind.
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in said
    assert process.returncode == 130
    for number in (port, port + 1):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=5)
    assert not list(tmp_path.glob("tmp*"))


def find_ports() -> int:
    """Find a free port whose next one is free too."""
    for _ in range(20):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports beside each other")
