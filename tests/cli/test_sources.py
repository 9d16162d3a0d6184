from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import wavy_frame
from PIL import Image

from src.cli import sources
from src.cli.data import open_data
from src.cli.network import choose_split
from src.cli.sources import Data, choose_data, join_keys
from src.cli.training import order_frames
from src.conventions import UserError
from src.data.listing import Concatenation, Subset
from src.data.packed import VALIDATION_SIZES, pack


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "locate_nyu", lambda: (None, "the network is off"))


def test_auto_takes_nyu_where_it_finds_it(nyu_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = choose_data("auto", nyu_folder, validation=0)
    assert data.kind == "nyu"
    with pytest.raises(UserError, match="empty"):
        data.open("val")
    monkeypatch.setattr(sources, "locate_nyu", lambda: (nyu_folder / "nyu_data", "the mount"))
    assert choose_data("auto").kind == "nyu"


@pytest.mark.parametrize(
    ("kind", "message"), [("nyu", "no NYU there"), ("auto", "no NYU there"), ("csv", "expected a csv file")]
)
def test_data_that_are_not_there_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    for folder in (tmp_path, tmp_path / "none", Path("x" * 5000)):
        with pytest.raises(UserError, match=message):
            choose_data(kind, folder)
    if kind != "auto":
        with pytest.raises(UserError, match="the network is off" if kind == "nyu" else message):
            choose_data(kind)


def test_weights_that_held_nothing_out_have_seen_the_validation_frames(nyu_folder: Path) -> None:
    data = choose_data("nyu", nyu_folder, validation=0.3)
    about = {"options": {"data": "nyu+rooms", "validation": 0.0}}  # as of the weights that ship
    assert [data.count_trained(about, split, data.open(split)) for split in ("val", "test")] == [6, 0]
    assert data.count_trained({"options": {"data": "rooms", "validation": 0.1}}, "val", data.open("val")) == 0


def test_training_frames_are_known_in_copies_but_not_by_their_names_alone(tmp_path: Path) -> None:
    def write(name: str, count: int, first: int = 0) -> Data:
        (tmp_path / name / "a").mkdir(parents=True)
        for number in range(count):
            image, depth_m = wavy_frame(first + number, 48, 64)
            Image.fromarray(image).save(tmp_path / name / "a" / f"{number}.bmp")  # as large as any other
            np.save(tmp_path / name / "a" / f"{number}.npy", depth_m)
        return list_files(tmp_path / name / "x.csv", count, "")

    def list_files(path: Path, count: int, prefix: str) -> Data:
        path.write_text("".join(f"{prefix}a/{number}.bmp,{prefix}a/{number}.npy\n" for number in range(count)))
        return choose_data("csv", path, validation=0.25)

    own, longer, others = write("own", 8), write("longer", 40), write("others", 8, first=100)
    above = list_files(tmp_path / "x.csv", 8, "own/./")
    about = {"options": {"data": "csv", "validation": 0.25}, "frames": join_keys(own.open("train"))}
    for data, known, split in ((own, 6, "val"), (above, 6, "val"), (longer, 6, "test"), (others, 0, "test")):
        assert data.count_trained(about, "test", data.open("test")) == known
        assert choose_split(None, data, about) == split


def test_rooms_are_mixed_with_real_frames_to_train_on_only(nyu_folder: Path, tmp_path: Path) -> None:
    data = choose_data("nyu+rooms", nyu_folder, validation=0.2, rooms=5)
    real, mixed = data.open("train"), data.open_training()
    assert (data.name, data.kind, data.last_split) == ("nyu+rooms", "nyu", "test")
    assert list(mixed.names) == [*real.names, *(f"rooms/train/00000{index}" for index in range(5))]
    assert len(data.open_training(2)) == 4
    np.testing.assert_array_equal(mixed[1].image, real[1].image)
    np.testing.assert_array_equal(mixed[len(real)].depth_m, choose_data("rooms", rooms=5).open("train")[0].depth_m)

    (nyu_folder / "nyu_data" / real.names[1]).write_bytes(b"damaged")
    packed = pack(mixed, tmp_path, VALIDATION_SIZES, max_depth_m=10)
    for repeat, shown in ((None, 1), (3, 3)):  # 13 real frames are more than half already
        counts = Counter(packed.names[row] for row in order_frames(packed, mixed, repeat))
        expected = {name: 1 if "rooms" in name else shown for index, name in enumerate(mixed.names) if index != 1}
        assert counts == expected
    only_rooms = pack(Concatenation([Subset(real, []), *mixed.parts[1:]]), tmp_path, VALIDATION_SIZES, max_depth_m=10)
    with pytest.raises(UserError, match="none of the real frames"):
        order_frames(only_rooms, Concatenation([Subset(real, []), *mixed.parts[1:]]), None)
    assert order_frames(packed, real, None) == list(range(len(packed)))


def test_a_csv_is_split_and_scaled(nyu_folder: Path) -> None:
    path = nyu_folder / "nyu_data" / "pairs.csv"
    path.write_text((nyu_folder / "nyu_data/data/nyu2_train.csv").read_text())
    data = choose_data("csv", path, depth_scale=25.5, validation=0.2)
    train, val, everything = (data.open(split) for split in ("train", "val", "test"))
    assert not set(train.scenes) & set(val.scenes)
    assert len(train) + len(val) == len(everything) == 18
    assert 0.9 < train[0].depth_m.min() < train[0].depth_m.max() < 6.1
    assert data.last_split == "val"
    assert data.open("train") is train  # without looking at all of its files again
    assert choose_data("auto", path).kind == "csv"


@pytest.mark.parametrize(
    ("template", "train", "val", "test"),
    [
        ("{kind}/{number}", "01234", "5", "012345"),
        ("{kind}/{split}/{scene}/{number}", "0123", "45", "012345"),
        ("{split}/{kind}/{number}", "0123", "45", "012345"),
        ("{kind}/{long}/{number}", "0123", "45", "012345"),
        ("{kind}/{split}/{number}.x", "0123", "45", "012345"),
    ],
)
def test_a_folder_of_images_and_depth_is_paired_by_name_and_split(
    tmp_path: Path, template: str, train: str, val: str, test: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        words = {"number": number, "split": "train" if number < 4 else "val", "scene": f"scene{number // 2}"}
        words["long"] = {"train": "training", "val": "validation"}[words["split"]]
        photo, depth = (tmp_path / template.format(kind=kind, **words) for kind in ("images", "depth"))
        photo.parent.mkdir(parents=True, exist_ok=True)
        depth.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(f"{photo}.JPG")
        np.save(f"{depth}.npy" if number < 6 else f"{depth}-depth.npy", np.full((48, 64), 2.5, np.float32))
    (photo.parent / "._0.JPG").touch()  # which macOS writes beside each file of a memory card
    data = choose_data("auto", tmp_path)
    assert data.holds_out and choose_data("auto", tmp_path, validation=0).holds_out == ("val" in data.listed)
    assert (data.kind, choose_data("csv", tmp_path).kind, data.last_split) == ("folder", "folder", "val")
    for split, numbers in (("train", train), ("val", val), ("test", test)):
        pairs = data.open(split)
        assert "".join(sorted(Path(name).name[0] for name in pairs.names)) == numbers
        assert (pairs[0].depth_m == 2.5).all()
    typed = {"typed": {"validation"}, "data": "folder", "data_dir": tmp_path, "validation": 0.1}
    open_data(Namespace(**typed, depth_scale=None, fov=None))
    said = capsys.readouterr()
    assert "1 photos have no depth" in said.err
    assert ("no effect on your folder: --validation" in said.out) == ("val" in data.listed)


@pytest.mark.parametrize("template", ["{kind}/{split}", "{split}/{kind}"])
def test_a_split_of_an_unknown_name_is_not_trained_on(tmp_path: Path, template: str) -> None:
    for split in ("train", "eval"):
        for kind in ("images", "depth"):
            folder = tmp_path / template.format(kind=kind, split=split)
            folder.mkdir(parents=True)
            Image.new("L", (64, 48)).save(folder / "0.png")
    with pytest.raises(UserError, match=r"eval.*expected every photo in one of these"):
        choose_data("folder", tmp_path).open("train")


def test_a_folder_has_a_test_split_of_its_own(tmp_path: Path) -> None:
    for split in ("train", "Test"):
        for kind in ("images", "depth"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(tmp_path / "images" / split / f"{split}.png")
        Image.fromarray(np.full((48, 64), 2500, np.uint16)).save(tmp_path / "depth" / split / f"{split}.png")
    data = choose_data("folder", tmp_path, validation=0)
    assert data.last_split == "test"
    names = [data.open(split).names for split in ("train", "test")]
    assert names == [["images/train/train.png"], ["images/Test/Test.png"]]
    for kind in ("images", "depth"):
        (tmp_path / kind / "train").rename(tmp_path / f"{kind}-elsewhere")
        (tmp_path / kind / "train").symlink_to(tmp_path / f"{kind}-elsewhere")
        (tmp_path / kind / "train" / "loop").symlink_to(tmp_path / kind)
    assert [len(choose_data("folder", tmp_path, validation=0).open(split)) for split in ("train", "test")] == [1, 1]
    with pytest.raises(UserError, match="expected a folder with images/ and depth/"):
        choose_data("folder", tmp_path / "images")
    for path in tmp_path.glob("depth*/**/*.png"):
        path.unlink()
    with pytest.raises(UserError, match="2 photos below images/, none with a file of its name"):
        data = choose_data("folder", tmp_path)
        data.open("train")


def test_rooms_have_the_stored_size_in_training_and_nyus_in_the_test() -> None:
    data = choose_data("rooms")
    assert data.open("train")[0].image.shape == (288, 384, 3)
    assert data.open("test")[0].image.shape == (480, 640, 3)
    assert len(data.open("val")) == 32
    assert [len(choose_data("rooms", rooms=7).open(split)) for split in ("train", "val", "test")] == [7, 32, 40]
