import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from conftest import ROOT

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


def test_other_inputs_frames_are_not_listed_and_a_loop_of_links_once(tmp_path: Path, listed: list[Path]) -> None:
    photos = tmp_path / "input" / "photos"
    for number in range(150):
        (photos / "train" / f"class-{number:03}").mkdir(parents=True)
    (photos / "data" / "nyu2_train" / "office_0001_out").mkdir(parents=True)
    (photos / "loop").symlink_to(tmp_path / "input")
    assert find_nyu(tmp_path / "input") is None
    assert sorted(folder.name for folder in listed) == ["data", "input", "photos", "train"]


def test_splits_share_no_scene_and_have_their_own_encoding_and_an_invalid_border(nyu_folder: Path) -> None:
    train, val, test = (open_nyu(nyu_folder / "nyu_data", split, validation=0.1) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (15, 3, 3)
    assert not set(train.scenes) & set(val.scenes)
    assert "8-bit, 25.5 units a metre" in train.summary and "16-bit, 1000 units a metre" in test.summary
    valid = test[0].valid
    assert valid[5:-5, 6:-7].all() and valid.sum() == (96 - 10) * (128 - 13)


def test_the_listed_scenes_are_held_out(real_nyu: Path) -> None:
    root = find_nyu(real_nyu)
    assert root is not None
    if len(open_nyu(root, "train", validation=0)) != 795:
        pytest.skip("the list is of the 795 labelled frames")
    held_out = {Path(scene).name for scene in open_nyu(root, "val", validation=0.1).scenes}
    listed = (ROOT / "configs" / "README.md").read_text().split("## Validation scenes")[1]
    assert held_out == set(re.findall(r"\w+_\d{4}\w*", listed))


def test_kagglehubs_cache_is_used(nyu_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "kagglehub"
    version = cache / "datasets/soumikrakshit/nyu-depth-v2/versions/1"
    version.mkdir(parents=True)
    (nyu_folder / "nyu_data").rename(version / "nyu_data")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(cache))
    (version.parent.parent / "1.complete").touch()
    assert locate_nyu()[0] == version / "nyu_data"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules replace installed ones in the processes that are started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv(nyu.INSIDE_KAGGLE, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("head", "limit_s", "reason"),
    [
        ("time.sleep(60)", 0.2, "no answer"),
        ("time.sleep(60 if timeout > 5 else 0); raise TimeoutError('https://x')", 8.0, "TimeoutError"),
    ],
)
def test_an_unreachable_kaggle(
    modules: Path, monkeypatch: pytest.MonkeyPatch, head: str, limit_s: float, reason: str
) -> None:
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as of `docker run --user 1234`
    (modules / "requests.py").write_text(f"import time\n\ndef head(url, timeout):\n    {head}\n")
    (modules / "kagglehub.py").write_text("def dataset_download(handle): open('asked', 'w')")
    monkeypatch.chdir(modules)
    monkeypatch.setattr(nyu, "REACH_TIMEOUT_S", limit_s)
    assert locate_nyu() == (None, f"https://www.kaggle.com cannot be reached ({reason})")
    assert not Path("asked").exists()


def test_a_download(modules: Path, nyu_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "requests.py").write_text("def head(url, timeout): pass")
    (modules / "kagglehub.py").write_text("def dataset_download(handle): raise PermissionError(handle)")
    assert download_nyu() == (None, "kagglehub could not download it (PermissionError)")
    (modules / "requests.py").write_text("no internet")
    monkeypatch.setenv(nyu.INSIDE_KAGGLE, "Batch")  # where the data set is attached without internet
    downloaded = f"import time\n\ndef dataset_download(handle):\n    time.sleep(0.5); return {str(nyu_folder)!r}\n"
    (modules / "kagglehub.py").write_text(downloaded)
    assert download_nyu()[0] == nyu_folder / "nyu_data"
    monkeypatch.setattr(nyu, "ATTACH_TIMEOUT_S", 0.2)
    assert download_nyu() == (None, "kagglehub did not attach it within 0 minutes")
