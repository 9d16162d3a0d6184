import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from src.conventions import UserError
from src.data import nyu
from src.data.nyu import download_nyu, find_nyu, locate_nyu, open_nyu


def test_found_at_the_folder_or_below(nyu_folder: Path) -> None:
    root = nyu_folder / "nyu_data"
    for start in (nyu_folder.parent, nyu_folder, root, root / "data"):
        assert find_nyu(start) == root
    assert find_nyu(root / "data" / "nyu2_train") is None


def test_found_from_inside(nyu_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nyu_folder / "nyu_data" / "data")
    assert find_nyu(Path()) == nyu_folder / "nyu_data"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose entries were read."""
    folders: list[Path] = []
    scandir = os.scandir

    def scan(folder: str | Path | int = ".") -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if not isinstance(folder, int):  # pytest removes its folders by their descriptors
            folders.append(Path(folder).resolve())
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    return folders


@pytest.mark.parametrize("mount", ["nyu-depth-v2", "datasets/soumikrakshit/nyu-depth-v2"])
def test_found_in_each_of_kaggles_mounts_without_listing_frames(
    mount: str, nyu_folder: Path, tmp_path: Path, listed: list[Path]
) -> None:
    place = tmp_path / "input" / mount
    place.parent.mkdir(parents=True)
    nyu_folder.rename(place)
    assert find_nyu(tmp_path / "input") == place / "nyu_data"
    assert not {"nyu2_train", "nyu2_test"} & {part for folder in listed for part in folder.parts}


def test_the_frames_of_other_inputs_are_not_listed(tmp_path: Path, listed: list[Path]) -> None:
    for number in range(150):
        (tmp_path / "input" / "photos" / "train" / f"class-{number:03}").mkdir(parents=True)
    (tmp_path / "input" / "photos" / "data" / "nyu2_train" / "office_0001_out").mkdir(parents=True)
    assert find_nyu(tmp_path / "input") is None
    assert {folder.name for folder in listed} == {"input", "photos", "train", "data"}


def test_a_loop_of_links_is_listed_once(tmp_path: Path, listed: list[Path]) -> None:
    (tmp_path / "input" / "empty").mkdir(parents=True)
    (tmp_path / "input" / "empty" / "loop").symlink_to(tmp_path / "input")
    assert find_nyu(tmp_path / "input") is None
    assert len(listed) == 2


def test_splits_share_no_scene_and_read_their_own_encoding(nyu_folder: Path) -> None:
    train, val, test = (open_nyu(nyu_folder / "nyu_data", split, validation=0.1) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (15, 3, 3)
    assert not set(train.scenes) & set(val.scenes)
    assert train.encoding(0) == "8-bit, 25.5 units per metre"
    assert test.encoding(0) == "16-bit, 1000 units per metre"
    for pairs in (train, test):  # one divisor for both would be off by 39 times
        depth_m = pairs[0].depth_m
        assert 0.9 < depth_m.min() < depth_m.max() < 6.1


def test_the_white_border_is_invalid(nyu_folder: Path) -> None:
    valid = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)[0].valid
    assert valid[5:-5, 6:-7].all()
    assert valid.sum() == (96 - 10) * (128 - 13)


def test_a_vanished_file_is_named(nyu_folder: Path) -> None:
    (nyu_folder / "nyu_data/data/nyu2_test/00001_depth.png").unlink()
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    with pytest.raises(UserError, match=r"00001_depth\.png: got no such file"):
        pairs[1]


def test_kagglehubs_cache_is_used(nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "kagglehub"
    version = cache / "datasets/soumikrakshit/nyu-depth-v2/versions/1"
    version.mkdir(parents=True)
    (nyu_folder / "nyu_data").rename(version / "nyu_data")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(cache))
    (version.parent.parent / "1.complete").touch()
    assert locate_nyu()[0] == version / "nyu_data"


@pytest.fixture(autouse=True)
def outside_kaggle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)


@pytest.fixture
def silent_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A network that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.fixture
def refused_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that refuses each connection at once."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def kaggle_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server in place of Kaggle's, which answers each request with an error status."""

    class Busy(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(nyu, "KAGGLE_URL", f"http://127.0.0.1:{server.server_port}", raising=False)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        yield
        server.shutdown()


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a kagglehub that writes `count` bytes, waits `pause_s` after each, and returns the folder."""

    def make(folder: Path, cache: Path, *, pause_s: float, count: int = 1) -> None:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "kagglehub.py").write_text(
            f"""
import time

def dataset_download(handle):
    for number in range({count}):
        with open({str(cache / "partial")!r}, "ab") as file:
            file.write(b"x" * ({count} > 1))
        time.sleep({pause_s})
    return {str(folder)!r}
"""
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
        cache.mkdir()
        # A real wait at a twentieth of its length.
        monkeypatch.setattr(nyu, "PATIENCE_S", nyu.PATIENCE_S / 20)
        monkeypatch.setattr(nyu, "POLL_S", 0.1, raising=False)

    return make


@pytest.mark.usefixtures("silent_proxy")
def test_a_network_that_never_answers_is_noticed_in_ten_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    root, why = download_nyu(tmp_path)
    assert root is None
    assert "cannot be reached" in why
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("refused_proxy")
def test_kagglehub_is_not_asked_where_the_network_refuses(
    nyu_folder: Path, tmp_path: Path, fake_hub: Callable[..., None]
) -> None:
    fake_hub(nyu_folder, tmp_path / "cache", pause_s=0)
    started = time.monotonic()
    assert download_nyu(tmp_path / "cache") == (None, "https://www.kaggle.com cannot be reached (ProxyError)")
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("refused_proxy")
def test_inside_kaggle_the_data_set_is_attached_without_internet(
    nyu_folder: Path, tmp_path: Path, fake_hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without a byte: 1 s here is 20 s there."""
    fake_hub(nyu_folder, tmp_path / "cache", pause_s=1)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert download_nyu(tmp_path / "cache")[0] == nyu_folder / "nyu_data"


@pytest.mark.usefixtures("kaggle_answers")
def test_a_download_may_be_silent_for_minutes(nyu_folder: Path, tmp_path: Path, fake_hub: Callable[..., None]) -> None:
    fake_hub(nyu_folder, tmp_path / "cache", pause_s=1)
    assert download_nyu(tmp_path / "cache")[0] == nyu_folder / "nyu_data"


@pytest.mark.usefixtures("kaggle_answers")
def test_a_download_is_stopped_ten_minutes_after_its_last_byte(
    nyu_folder: Path, tmp_path: Path, fake_hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub(nyu_folder, tmp_path / "cache", pause_s=1, count=4)
    assert nyu.PATIENCE_S == 600 / 20
    monkeypatch.setattr(nyu, "PATIENCE_S", 2.5)
    assert download_nyu(tmp_path / "cache")[0] == nyu_folder / "nyu_data"
    monkeypatch.setattr(nyu, "PATIENCE_S", 0.3)
    root, why = download_nyu(tmp_path / "cache")
    assert root is None
    assert "no byte" in why


def test_real_frames_are_indoor_metres(real_nyu: Path) -> None:
    root = find_nyu(real_nyu)
    assert root is not None
    for split in ("train", "test"):
        pairs = open_nyu(root, split, validation=0.1)
        for index in range(0, len(pairs), len(pairs) // 8):
            frame = pairs[index]
            assert frame.image.shape == (480, 640, 3)
            assert 0.3 < frame.depth_m[frame.valid].min() < frame.depth_m[frame.valid].max() <= 10
            assert 1 < frame.depth_m[frame.valid].mean() < 7
