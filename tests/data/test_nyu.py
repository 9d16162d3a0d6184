import socket
import threading
import time
from pathlib import Path

import pytest

from src.conventions import UserError
from src.data.nyu import download_nyu, find_nyu, locate_nyu, open_nyu


def test_found_at_the_folder_or_below(nyu_folder: Path) -> None:
    root = nyu_folder / "nyu_data"
    for start in (nyu_folder.parent, nyu_folder, root, root / "data"):
        assert find_nyu(start) == root
    assert find_nyu(root / "data" / "nyu2_train") is None


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


@pytest.fixture
def silent_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("silent_proxy")
def test_a_network_that_never_answers_is_noticed_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    started = time.monotonic()
    root, why = download_nyu(tmp_path)
    assert root is None
    assert "crawled" in why or "could not" in why
    assert time.monotonic() - started < 10


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
