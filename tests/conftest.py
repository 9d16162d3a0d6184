"""Tiny data sets in the Kaggle layout, real frames where there are some, and scripts run as a user runs them."""

import gc
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# One thread in each test process and in all that it starts: pytest-xdist runs one test process a core, and runs that
# are compared bit for bit need the same number.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from src.choices import ROOMS  # what imports torch, tests do: xdist imports this file once more, to distribute them

gc.disable()  # until all is imported, a third of whose time it would take

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "src" / "viewing" / "examples" / "room-1.jpg"
REAL_NYU = Path(os.environ.get("NYU_DIR", ROOT.parent / "shared" / "nyu"))

ABOUT = {"encoder": "x", "target": "metric", "max_depth_m": 10.0, "data": "rooms", "epoch": 3}
ABOUT |= {"options": {}, "revision": "abc"}
"""What a checkpoint says of its network at least."""

# The same cases on every machine, and none remembered: a test that fails here fails there.
IGNORED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("short", derandomize=True, database=None, deadline=None, suppress_health_check=IGNORED)
settings.load_profile("short")

LONGEST = ("test_notebooks.py", "test_survival.py", "test_train.py")
TOGETHER = ("test_app.py", "test_onnx.py", "test_rooms.py", "test_distributed.py")
"""Modules whose own fixtures take seconds: one process runs all of their tests."""


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but not of what was imported."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no process is left with them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Distribute single tests, and whole modules where `TOGETHER` says so."""

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return module if module.endswith(TOGETHER) else nodeid

    return Scheduling(config, log)


def wavy_frame(seed: int, height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random photo and a depth of 1 to 6 m that follows its red channel."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return image, 1 + image[..., 0].astype(np.float32) / 51


def write_depth(path: Path, depth_m: np.ndarray, units_per_m: float, bits: int) -> None:
    stored = np.rint(depth_m * units_per_m).astype(np.uint8 if bits == 8 else np.uint16)
    Image.fromarray(stored).save(path)


def exif(**values: float) -> Image.Exif:
    tags = {"orientation": 0x0112, "equivalent_mm": 0xA405, "focal_mm": 0x920A, "per_unit": 0xA20E, "unit": 0xA210}
    tags |= {"width": 0xA002, "height": 0xA003}
    result, camera = Image.Exif(), {}
    for name, value in values.items():
        (result if name == "orientation" else camera)[tags[name]] = value
    if camera:
        result[0x8769] = camera  # before 11.1, Pillow saves no changes of get_ifd()
    return result


def make_nyu(parent: Path) -> Path:
    """6 scenes of 3 training pairs (8-bit depth, 255 = 10 m) and 3 test pairs (16-bit, mm; CRLF in the csv)."""
    data = parent / "nyu" / "nyu_data" / "data"
    (data / "nyu2_test").mkdir(parents=True)
    train, test = [], []
    for scene in range(6):
        folder = data / "nyu2_train" / f"office_{scene:04}_out"
        folder.mkdir(parents=True)
        for number in range(1, 4):
            image, depth_m = wavy_frame(10 * scene + number)
            Image.fromarray(image).save(folder / f"{number}.jpg")
            write_depth(folder / f"{number}.png", depth_m, 25.5, 8)
            stem = f"data/nyu2_train/{folder.name}/{number}"
            train.append(f"{stem}.jpg,{stem}.png")
    for number in range(3):
        image, depth_m = wavy_frame(100 + number)
        Image.fromarray(image).save(data / "nyu2_test" / f"{number:05}_colors.png")
        write_depth(data / "nyu2_test" / f"{number:05}_depth.png", depth_m, 1000, 16)
        test.append(f"data/nyu2_test/{number:05}_colors.png,data/nyu2_test/{number:05}_depth.png")
    (data / "nyu2_train.csv").write_text("\n".join(train) + "\n")
    (data / "nyu2_test.csv").write_text("\r\n".join(test) + "\r\n", newline="")
    return parent / "nyu"


@pytest.fixture
def nyu_folder(tmp_path: Path) -> Path:
    return make_nyu(tmp_path)


@pytest.fixture(scope="session")
def real_nyu() -> Path:
    if not REAL_NYU.is_dir():
        pytest.skip(f"no real NYU frames at {REAL_NYU}; set NYU_DIR to test on some")
    return REAL_NYU


class Ended(NamedTuple):
    """How a script ended."""

    status: int
    stdout: str
    stderr: str


Script = Callable[..., Ended]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all test processes of this session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def offline(shared: Path) -> dict[str, str]:
    """What makes this a machine without data, caches and network."""
    home = shared / "home"
    refused = "http://127.0.0.1:9"
    return {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), refused),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
        "XDG_CACHE_HOME": str(home / "cache"),
        "KAGGLEHUB_CACHE": str(home / "kagglehub"),
        "HF_HOME": str(home / "huggingface"),
    }


@pytest.fixture
def script(
    tmp_path: Path, offline: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Script:
    """Run a script as a user does, but in this process: without imports of seconds. An empty folder is the current."""
    before = signal.getsignal(signal.SIGTERM)  # a script replaces it
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ROOMS, "test", 2)  # rendering and scoring all 40 takes longer than the rest of a tiny run
    for name, value in offline.items():
        monkeypatch.setenv(name, value)

    def call(name: str, *arguments: object, status: int = 0) -> Ended:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        ended = 0
        try:
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
        done = Ended(ended, *capfd.readouterr())
        assert ended == status, done
        return done

    return call


TRAINED = ["--augment", "--clip", "0.7", "--limit", "8", "--batch-size", "2", "--epochs", "2"]


class Trained(NamedTuple):
    """A finished run, and the NYU it was trained on."""

    run: Path
    nyu: Path


@pytest.fixture(scope="session")
def trained(shared: Path, offline: dict[str, str]) -> Trained:
    """One tiny run of train.py in a process of its own: 8 frames, 2 epochs of 4 steps. Not to be changed."""
    folder = shared / "trained"
    nyu, run = folder / "nyu", folder / "run"
    with FileLock(shared / "trained.lock"):
        if not (folder / "stdout").exists():
            folder.mkdir()
            command = [sys.executable, ROOT / "scripts" / "train.py", "--data-dir", make_nyu(folder), "--out", run]
            environment = {**os.environ, **offline}
            done = subprocess.run([*command, *TRAINED], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            (folder / "stdout").write_text(done.stdout)
    return Trained(run, nyu)


@pytest.fixture
def finished_run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the tiny run, to resume, evaluate or damage: `run` in the empty folder."""
    return Path(shutil.copytree(trained.run, tmp_path / "run"))


@pytest.fixture(scope="session")
def estimator() -> Any:
    from src.estimator import DepthEstimator

    return DepthEstimator(device="cpu")


@pytest.fixture(scope="session")
def relative_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, declared as one that predicts relative depth."""
    from src.network import SHIPPED
    from src.training import checkpoint

    path = tmp_path_factory.mktemp("relative") / "relative.safetensors"
    content = checkpoint.load(SHIPPED)
    weights, _ = checkpoint.choose_weights(content)
    scores = content["about"]["scores"]
    defined = {name: scores["protocols"][name] for name in ("relative", "eigen_median")}
    about = {**content["about"], "target": "relative", "scores": {**scores, "protocols": defined}}
    checkpoint.export(path, about, weights)
    return path


def read_recording(path: Path, *, blueprint: bool = False) -> dict[tuple[str, str, int], np.ndarray]:
    """Read a recording with Rerun's reader: values by entity, component and frame; frame -1 where it has none."""
    chunks = pytest.importorskip("rerun.chunk", reason="Rerun's last release for Python 3.10 has no reader")
    reader = chunks.RrdReader(path)
    stream = reader.stream(store=reader.blueprints()[0]) if blueprint else reader.stream()
    values = {}
    for chunk in stream.to_chunks():
        table = chunk.to_record_batch().to_pydict()
        steps = table.get("frame", [-1] * chunk.num_rows)
        for name in table:
            rows = zip(steps, table[name], strict=True)
            values |= {(chunk.entity_path, name, step): np.array(value) for step, value in rows if value is not None}
    return values


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


SmallDisk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a file system of so many bytes, which takes root."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a small file system")
        return disk

    yield mount
    subprocess.run(["umount", "-l", str(disk)], capture_output=True)
