"""The page as a visitor meets it: served by the script, driven by a headless Chromium."""

import io
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import ROOT, Script
from PIL import Image

from app import is_news
from src.estimator import DepthEstimator
from src.network import SHIPPED
from src.training import checkpoint

EXAMPLE = ROOT / "src" / "viewing" / "examples" / "room-2.jpg"
LIMIT_S = 120
QUIET = ("quic", "background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]
SOFTWARE_WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class Served(NamedTuple):
    """A running page, and the only folder where it may put files."""

    process: subprocess.Popen
    url: str
    temporary: Path

    def files(self) -> list[Path]:
        return [path for path in self.temporary.glob("depth-app-*/**/*") if path.is_file()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def served(offline: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home, temporary, port = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("temporary"), free_port()
    command = [sys.executable, str(ROOT / "scripts" / "app.py"), "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, **offline, "TMPDIR": str(temporary)}
    log = home / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        ready = time.monotonic() + LIMIT_S
        while "Ctrl-C ends it" not in log.read_text():
            assert process.poll() is None and time.monotonic() < ready, log.read_text()
            time.sleep(0.2)
        yield Served(process, f"http://127.0.0.1:{port}/", temporary)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        own = started.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome")
        found = own if Path(own).exists() else next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip(f"no browser: neither playwright's own nor any of {', '.join(names)}")
        with started.chromium.launch(executable_path=found, args=FLAGS + SOFTWARE_WEBGL) as browser:
            yield browser


@pytest.fixture
def page(served: Served, browser: Any) -> Iterator[Any]:
    """The page, freshly opened; it asks nobody but its own server for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_S * 1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    page.wait_for_selector("input[type=file]", state="attached")
    yield page
    page.close()
    assert asked
    assert not [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]


def summary(page: Any) -> str:
    return page.locator("text=Nearest").text_content()


def test_a_photo_becomes_metres_and_points(page: Any, served: Served, tmp_path: Path) -> None:
    depth_m = DepthEstimator(device="cpu")(EXAMPLE)
    page.set_input_files("input[type=file]", EXAMPLE)
    page.wait_for_selector(".js-plotly-plot .gl-container canvas", state="attached")

    numbers = [float(number) for number in re.findall(r"([\d.]+) m\b", summary(page))]
    assert numbers == pytest.approx(np.percentile(depth_m, (0, 50, 100)), abs=0.011)
    assert "Field of view 63°" in summary(page) and "assumed" in summary(page)
    assert page.locator("text=Network: the weights that ship").count() == 1
    assert page.locator(".js-plotly-plot").count() == 2

    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    for across, down in ((0.2, 0.8), (0.9, 0.1)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        expected = float(depth_m[int(down * 480), int(across * 640)])
        read = "expected => Math.abs(parseFloat(document.querySelector('.hoverlayer').textContent) - expected) < 0.03"
        page.wait_for_function(read, arg=expected, timeout=20_000)
        assert page.locator(".hoverlayer").first.text_content().endswith(" m")
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3), axis=0)) > 1000
    assert served.files() == [], "the photo is still on disk"


def test_an_example_and_another_field_of_view(page: Any) -> None:
    page.locator(".gallery-item").first.click()
    page.wait_for_selector("text=Nearest")
    before = summary(page)
    angle = page.locator("input[type=number]")
    angle.fill("90")
    angle.press("Tab")
    page.wait_for_selector("text=as you set it")
    assert "Field of view 90°" in summary(page)
    assert float(re.findall(r"median ([\d.]+)", summary(page))[0]) < float(re.findall(r"median ([\d.]+)", before)[0])


def test_what_is_no_photo_is_named_and_the_server_goes_on(page: Any, served: Served, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("a <b>note</b>")
    page.set_input_files("input[type=file]", tmp_path / "note.jpg")
    shown = page.wait_for_selector("[data-testid=toast-body]").text_content()
    assert shown.split("×")[-1].strip() == "note.jpg: got 13 bytes that are no image. Replace the file."
    assert served.files() == []
    page.set_input_files("input[type=file]", EXAMPLE)
    page.wait_for_selector("text=Nearest")


def test_a_file_that_is_too_large_is_refused(page: Any, served: Served, tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(20 * 2**20 + 1))
    page.set_input_files("input[type=file]", tmp_path / "large.jpg")
    assert "maximum allowed size" in page.wait_for_selector("[data-testid=toast-body]").text_content()
    # The page is polite; the server must refuse one who asks it directly, too.
    body = io.BytesIO()
    body.write(b'--b\r\nContent-Disposition: form-data; name="files"; filename="large.jpg"\r\n\r\n')
    body.write((tmp_path / "large.jpg").read_bytes() + b"\r\n--b--\r\n")
    heading = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{served.url}gradio_api/upload", body.getvalue(), heading)
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=LIMIT_S)
    assert served.files() == []


def test_a_busy_port_ends_with_one_line(script_inside: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = script_inside("app.py", "--port", port, status=2).stderr
    assert error == f"error: --host 127.0.0.1 --port {port}: Address already in use. Name another --port.\n"


def test_a_network_without_metres_is_refused(script: Script, tmp_path: Path) -> None:
    content = checkpoint.load(SHIPPED)
    weights, _ = checkpoint.choose_weights(content)
    checkpoint.export(tmp_path / "relative.safetensors", {**content["about"], "target": "relative"}, weights)
    error = script("app.py", "relative.safetensors", "--port", free_port(), status=2).stderr
    assert "learnt relative depth, and the page shows metres" in error


def test_only_a_preview_that_came_too_late_is_no_news() -> None:
    late = RuntimeError("File at path x does not exist.")
    late.__context__ = FileNotFoundError(2, "No such file or directory")
    for error, news in ((FileNotFoundError(), False), (late, False), (RuntimeError("else"), True), (None, True)):
        told = (type(error), error, None) if error else None
        assert is_news(logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "", (), told)) is news


def test_nothing_is_left_when_it_is_terminated(served: Served) -> None:
    """Comes last: it ends the page that the others share."""
    assert list(served.temporary.glob("depth-app-*"))
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=60) == 0
    assert not list(served.temporary.glob("depth-app-*"))
