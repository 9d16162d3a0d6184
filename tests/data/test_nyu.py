import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from src.data import nyu
from src.data.nyu import download_nyu, find_nyu, locate_nyu, open_nyu


def test_found_at_the_folder_or_below(nyu_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = nyu_folder / "nyu_data"
    for start in (nyu_folder.parent, nyu_folder, root, root / "data"):
        assert find_nyu(start) == root
    assert find_nyu(root / "data" / "nyu2_train") is None
    monkeypatch.chdir(root / "data")
    assert find_nyu(Path()) == root


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
def test_found_in_each_of_kaggles_mounts(mount: str, nyu_folder: Path, tmp_path: Path, listed: list[Path]) -> None:
    folder = tmp_path / "input" / mount
    folder.parent.mkdir(parents=True)
    nyu_folder.rename(folder)
    assert find_nyu(tmp_path / "input") == folder / "nyu_data"
    assert not {"nyu2_train", "nyu2_test"} & {part for path in listed for part in path.parts}


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
    assert train.encoding(0) == "8-bit, 25.5 units a metre"
    assert test.encoding(0) == "16-bit, 1000 units a metre"


def test_the_white_border_is_invalid(nyu_folder: Path) -> None:
    valid = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)[0].valid
    assert valid[5:-5, 6:-7].all()
    assert valid.sum() == (96 - 10) * (128 - 13)


def test_kagglehubs_cache_is_used(nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "kagglehub"
    version = cache / "datasets/soumikrakshit/nyu-depth-v2/versions/1"
    version.mkdir(parents=True)
    (nyu_folder / "nyu_data").rename(version / "nyu_data")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(cache))
    (version.parent.parent / "1.complete").touch()
    assert locate_nyu()[0] == version / "nyu_data"


@pytest.fixture
def fake(nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Replace `requests.head`, and kagglehub by one that writes a byte each half second for 2.5 s; return its cache."""

    def install(head: str) -> Path:
        folder, cache = tmp_path / "fake", tmp_path / "cache"
        folder.mkdir()
        cache.mkdir()
        (folder / "requests.py").write_text(f"import time\n\ndef head(url, timeout):\n    {head}\n")
        (folder / "kagglehub.py").write_text(
            f"""
import time

def dataset_download(handle):
    for number in range(5):
        time.sleep(0.5)
        with open({str(cache / "partial")!r}, "ab") as file:
            file.write(b"x")
    return {str(nyu_folder)!r}
"""
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.delenv(nyu.INSIDE_KAGGLE, raising=False)
        monkeypatch.setattr(nyu, "POLL_S", 0.1)
        return cache

    return install


@pytest.mark.parametrize(
    ("head", "limit_s", "reason"),
    [
        ("time.sleep(60)", 1.0, "no answer"),
        ("time.sleep(60 if timeout > 5 else 0); raise TimeoutError('https://x')", 8.0, "TimeoutError"),
    ],
)
def test_a_network_that_does_not_reach_kaggle_is_noticed(
    head: str, limit_s: float, reason: str, fake: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = fake(head)
    monkeypatch.setattr(nyu, "REACH_TIMEOUT_S", limit_s)
    assert download_nyu(cache) == (None, f"https://www.kaggle.com cannot be reached ({reason})")
    assert not list(cache.iterdir())


def test_a_stalled_download_ends(
    fake: Callable[[str], Path], nyu_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = fake("pass")
    monkeypatch.setattr(nyu, "STALL_TIMEOUT_S", 0.2)
    root, reason = download_nyu(cache)
    assert root is None
    assert "no byte" in reason
    monkeypatch.setattr(nyu, "STALL_TIMEOUT_S", 1.8)
    (cache.parent / "fake" / "requests.py").write_text("no internet")
    monkeypatch.setenv(nyu.INSIDE_KAGGLE, "Batch")  # where the data set is attached without internet
    assert download_nyu(cache)[0] == nyu_folder / "nyu_data"
