from pathlib import Path

import pytest

from src.cli import sources
from src.cli.sources import choose_data
from src.conventions import UserError


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "locate_nyu", lambda: (None, "the network is off"))


def test_auto_falls_back_to_rooms_and_says_why() -> None:
    data = choose_data("auto")
    assert (data.kind, data.root) == ("rooms", None)
    assert "the network is off" in data.why


def test_auto_takes_nyu_where_it_finds_it(nyu_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_data("auto", nyu_folder).kind == "nyu"
    monkeypatch.setattr(sources, "locate_nyu", lambda: (nyu_folder / "nyu_data", "the mount"))
    assert choose_data("auto").kind == "nyu"


def test_nyu_never_falls_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the network is off"):
        choose_data("nyu")
    for kind in ("nyu", "auto"):
        for folder in (tmp_path, tmp_path / "none", Path("x" * 5000)):
            with pytest.raises(UserError, match="no NYU there"):
                choose_data(kind, folder)


def test_a_csv_must_be_a_file(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "no.csv", Path("x" * 5000)):
        with pytest.raises(UserError, match="expected a csv file"):
            choose_data("csv", folder)


def test_a_csv_is_split_and_scaled(nyu_folder: Path) -> None:
    path = nyu_folder / "nyu_data" / "pairs.csv"
    path.write_text((nyu_folder / "nyu_data/data/nyu2_train.csv").read_text())
    data = choose_data("csv", path, depth_scale=25.5, validation=0.2)
    train, val, everything = (data.open(split) for split in ("train", "val", "test"))
    assert not set(train.scenes) & set(val.scenes)
    assert len(train) + len(val) == len(everything) == 18
    assert 0.9 < train[0].depth_m.min() < train[0].depth_m.max() < 6.1
    assert data.last_split == "val"
    assert choose_data("auto", path).kind == "csv"


def test_an_empty_split_is_refused(nyu_folder: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        choose_data("nyu", nyu_folder, validation=0).open("val")


def test_limit_takes_the_first_frames(nyu_folder: Path) -> None:
    assert len(choose_data("nyu", nyu_folder).open("train", limit=4)) == 4


def test_rooms_have_the_stored_size_in_training_and_nyus_in_the_test() -> None:
    data = choose_data("rooms")
    assert data.open("train")[0].image.shape == (288, 384, 3)
    assert data.open("test")[0].image.shape == (480, 640, 3)
    assert len(data.open("val")) == 32
    assert [len(choose_data("rooms", rooms=7).open(split)) for split in ("train", "val", "test")] == [7, 32, 40]
    holed = choose_data("rooms", holes=True)
    assert not holed.open("train")[0].valid.all()
    assert holed.open("val")[0].valid.all()
