"""The page as a visitor uses it: served by the script, driven by a headless Chromium."""

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import ROOT, Script, exif
from PIL import Image

from app import build_page, is_not_deleted_upload
from src.estimator import DepthEstimator

EXAMPLE = ROOT / "src" / "viewing" / "examples" / "room-2.jpg"
LIMIT_S = 120
DISABLED = ("quic", "background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{feature}" for feature in DISABLED)]
SOFTWARE_WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class Server(NamedTuple):
    """A running page, and the only folder to which it may write."""

    url: str
    temporary: Path

    def files(self) -> list[Path]:
        return [path for path in self.temporary.glob("depth-app-*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def server(offline: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page of the script; terminated, it has reported no error and leaves no file."""
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    command = [sys.executable, str(ROOT / "scripts" / "app.py"), "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, **offline, "TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=home, env=environment, **pipes) as process:
        assert process.stdout and any("Ctrl-C ends it" in line for line in process.stdout)
        assert list(temporary.glob("depth-app-*"))
        yield Server(f"http://127.0.0.1:{port}/", temporary)
        process.terminate()
        log, _ = process.communicate(timeout=60)
    assert "Traceback" not in log, log
    assert process.returncode == 143
    assert not list(temporary.glob("depth-app-*"))


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Any]:
    """The page, opened once; it requests nothing but from its own server."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        bundled = started.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome")
        path = bundled if Path(bundled).exists() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip(f"no browser: neither playwright's own nor any of {', '.join(names)}")
        with started.chromium.launch(executable_path=path, args=FLAGS + SOFTWARE_WEBGL) as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(LIMIT_S * 1000)
            urls: list[str] = []
            page.on("request", lambda request: urls.append(request.url))
            page.goto(server.url)
            page.wait_for_selector("input[type=file]", state="attached")
            yield page
            assert urls and all(url.startswith((server.url, "data:", "blob:")) for url in urls)


def test_a_photo_becomes_metres_and_points(page: Any, server: Server, estimator: DepthEstimator) -> None:
    depth_m = estimator(EXAMPLE)
    page.set_input_files("input[type=file]", EXAMPLE)
    page.wait_for_selector(".js-plotly-plot .gl-container canvas", state="attached")
    summary = page.locator("text=Nearest").text_content()
    numbers = [float(number) for number in re.findall(r"([\d.]+) m\b", summary)]
    assert numbers == pytest.approx(np.percentile(depth_m, (0, 50, 100)), abs=0.011)
    assert "Field of view 63°" in summary and "assumed" in summary
    assert page.locator(".js-plotly-plot").count() == 2
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    for across, down in ((0.2, 0.8), (0.9, 0.1)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        expected_m = float(depth_m[int(down * 480), int(across * 640)])
        check = "expected => Math.abs(parseFloat(document.querySelector('.hoverlayer').textContent) - expected) < 0.03"
        page.wait_for_function(check, arg=expected_m, timeout=20_000)
    assert server.files() == [], "the photo is still on disk"


def test_an_example_and_another_field_of_view(page: Any) -> None:
    before = page.locator("text=Nearest").text_content()
    page.locator(".gallery-item").first.click()
    page.wait_for_function("before => !document.body.textContent.includes(before)", arg=before)
    angle = page.locator("input[type=number]")
    angle.fill("90")
    angle.press("Tab")
    page.wait_for_selector("text=Field of view 90° along the longer side, as you set it")


def test_a_file_that_is_no_photo_or_too_large_is_refused(page: Any, server: Server, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("a <b>note</b>")
    page.set_input_files("input[type=file]", tmp_path / "note.jpg")
    page.wait_for_selector("[data-testid=toast-body] >> text=note.jpg: got 13 bytes")
    (tmp_path / "large.jpg").write_bytes(bytes(20 * 2**20 + 1))
    page.set_input_files("input[type=file]", tmp_path / "large.jpg")
    page.wait_for_selector("[data-testid=toast-body] >> text=maximum allowed size")
    assert server.files() == []


def test_the_slider_takes_what_the_page_shows(
    estimator: DepthEstimator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRADIO_TEMP_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    Image.new("RGB", (640, 480)).save(tmp_path / "x.jpg", exif=exif(equivalent_mm=230))
    page = build_page(estimator, tmp_path / "uploads")
    functions = {event.fn.__name__: event.fn for event in page.fns.values()}
    [slider] = (block for block in page.blocks.values() if type(block).__name__ == "Slider")
    _, photo, fov_deg, *_ = functions["show_upload"](tmp_path / "x.jpg")
    assert slider.minimum <= fov_deg <= slider.maximum
    assert f"Field of view {fov_deg}°" in functions["change_fov"](photo, fov_deg)[0]


def test_only_errors_about_deleted_uploads_are_filtered() -> None:
    caused = RuntimeError()
    caused.__context__ = FileNotFoundError()
    for error, kept in ((FileNotFoundError(), False), (caused, False), (RuntimeError(), True)):
        record = logging.LogRecord("", logging.ERROR, "", 0, "", (), (type(error), error, None))
        assert is_not_deleted_upload(record) is kept


def test_mistakes_are_one_line(script: Script, unused_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = script("app.py", "--port", port, status=2)
    assert done.stderr == f"error: 127.0.0.1, port {port}: Address already in use. Choose another --port.\n"
    assert not done.stdout  # refused before the network is loaded
    error = script("app.py", "--scale-m", 3, "--port", unused_port, status=2).stderr
    assert error.startswith("error: --scale-m 3: has no effect on a metric network")


def test_a_relative_network_is_shown_at_a_scale_that_is_said(
    relative_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRADIO_TEMP_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # which build_page sets for its own process
    page = build_page(DepthEstimator(relative_checkpoint, scale_m=3, device="cpu"), tmp_path)
    [upload] = (event.fn for event in page.fns.values() if event.fn.__name__ == "show_upload")
    summary, depth, _ = upload(EXAMPLE)[3:]
    assert "not measured: farthest point put at 3 m (--scale-m)" in summary
    assert 2.7 < np.nanmax(depth.data[0].z) <= 3
