import contextlib
import itertools
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import SmallDisk
from PIL import Image

from src.conventions import UserError
from src.data.allowance import Allowance
from src.data.augment import Augmentation
from src.data.batches import TrainingBatches
from src.data.csv_rows import Row
from src.data.frame import shrink_depth, shrink_image
from src.data.listing import ListedPairs, UnsafePath
from src.data.nyu import open_nyu
from src.data.packed import TRAINING_SIZES, Packed, Sizes, pack


class Run:
    """Packs the three test frames as each run does; records what is reported and how many frames are decoded."""

    def __init__(self, nyu_folder: Path, tmp_path: Path) -> None:
        self.root, self.cache = nyu_folder / "nyu_data", tmp_path / "cache"
        self.photo = self.root / "data" / "nyu2_test" / "00001_colors.png"
        self.reported: list[str] = []
        self.decoded = 0

    def pack(self, max_bad: int | float | None = None, workers: int = 0, max_depth_m: float = 10) -> Packed:
        self.reported, self.decoded = [], 0
        pairs = open_nyu(self.root, "test", validation=0.1)
        allowance = Allowance(len(pairs), max_bad, self.reported.append)
        options = {"max_depth_m": max_depth_m, "workers": workers, "progress": self.count}
        return pack(pairs, self.cache, Sizes(64, 32), allowance=allowance, **options)

    def count(self, items: Iterable[Any]) -> Iterable[Any]:
        for item in items:
            self.decoded += 1
            yield item


@pytest.fixture
def run(nyu_folder: Path, tmp_path: Path) -> Run:
    return Run(nyu_folder, tmp_path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def test_a_disk_that_fills_while_frames_are_packed_is_an_error(run: Run, small_disk: SmallDisk) -> None:
    # A memory map of a file of holes would end the process by SIGBUS.
    run.cache = small_disk(4_000_000)

    def fill_the_disk(items: Iterable[Any]) -> Iterable[Any]:
        for item in items:
            with contextlib.suppress(OSError):
                (run.cache / "other").write_bytes(bytes(8_000_000))
            yield item

    run.count = fill_the_disk  # type: ignore[method-assign]
    with pytest.raises(UserError, match="could not be written"):
        run.pack()
    assert [path.name for path in run.cache.iterdir()] == ["other"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pack_holds_what_the_files_hold(run: Run, workers: int) -> None:
    packed = run.pack(workers=workers)
    batch = packed[[2, 1]]  # read in order
    assert batch.image.shape == (2, 3, 64, 64)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    for row, frame in enumerate(map(open_nyu(run.root, "test", validation=0.1).__getitem__, (1, 2))):
        np.testing.assert_array_equal(batch.image[row].permute(1, 2, 0), shrink_image(frame.image, 64))
        depth_m = shrink_depth(frame.depth_m, frame.valid, 32)
        np.testing.assert_allclose(batch.depth_m[row, 0], depth_m, atol=1e-4)
        np.testing.assert_array_equal(batch.valid[row, 0], depth_m > 0)
    assert packed.aspect == pytest.approx(4 / 3)


def test_a_pack_is_reused_until_its_frames_or_units_change(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for max_depth_m, decoded in ((10, 3), (10, 0), (20, 3), (10, 0)):
        run.pack(max_depth_m=max_depth_m)
        assert run.decoded == decoded
    run.photo.write_bytes((run.photo.parent / "00002_colors.png").read_bytes())
    run.pack()
    assert run.decoded == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_frame_is_left_out_and_named_in_each_run_until_it_is_readable(run: Run, workers: int) -> None:
    content = run.photo.read_bytes()
    truncate(run.photo)
    for decoded in (3, 0):
        packed = run.pack(workers=workers)
        assert run.decoded == decoded
        (line,) = run.reported
        assert line == f"{packed.left_out[1]} The frame is left out."
        assert str(run.photo) in line
        assert [Path(name).name for name in packed.names] == ["00000_colors.png", "00002_colors.png"]
    run.photo.write_bytes(content)
    whole = run.pack()
    assert (len(whole), whole.left_out, run.reported, run.decoded) == (3, {}, [], 3)
    for tensor, expected in zip(packed[[1, 0]], whole[[0, 2]], strict=True):
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_frames_stop_the_pack_and_leave_nothing(run: Run, workers: int) -> None:
    truncate(run.photo)
    truncate(run.photo.with_name("00002_depth.png"))
    for max_bad, allowed in ((0, 0), (0.5, 1)):
        # Not `as caught`: the error would keep the loader in a reference cycle, which torch needs 10 s to collect.
        with pytest.raises(UserError, match=rf"^At least {allowed + 1} of 3 .*--max-bad allows {allowed}\..* file\.$"):
            run.pack(max_bad, workers)
        assert len(run.reported) == allowed
        assert list(run.cache.iterdir()) == []
    assert len(run.pack(max_bad=2)) == 1
    with pytest.raises(UserError, match="2 of 3 frames"):  # those of the cache count too
        run.pack(max_bad=1)
    assert run.decoded == 0


def test_a_frame_outside_of_the_root_is_not_left_out(run: Run, tmp_path: Path) -> None:
    run.photo.rename(tmp_path / "away.png")
    run.photo.symlink_to(tmp_path / "away.png")
    with pytest.raises(UnsafePath):
        run.pack()
    assert run.reported == []


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "of another shape": lambda path: np.save(path, np.load(path)[:, :-1]),
    "of another type": lambda path: np.save(path, np.load(path).astype(np.int32)),
    "without names": lambda path: path.write_text(path.read_text().replace('"names"', '"nams"')),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(("images.npy", "depths.npy"), list(DAMAGE)[:-1]),
        *itertools.product(["about.json"], ("missing", "cut", "without names")),
    ],
)
def test_a_damaged_pack_is_decoded_again(run: Run, name: str, damage: str) -> None:
    expected = run.pack()[[0, 1, 2]]
    (folder,) = run.cache.iterdir()
    DAMAGE[damage](folder / name)
    assert all(torch.equal(tensor, other) for tensor, other in zip(run.pack()[[0, 1, 2]], expected, strict=True))
    assert run.decoded == 3
    run.pack()
    assert run.decoded == 0
    assert list(run.cache.iterdir()) == [folder]


def test_of_two_runs_that_pack_the_same_the_first_wins(run: Run, tmp_path: Path) -> None:
    run.pack()
    (folder,) = run.cache.iterdir()
    aside = folder.rename(tmp_path / "aside")

    class Late(Run):
        def count(self, items: Iterable[Any]) -> Iterable[Any]:
            yield from super().count(items)
            aside.rename(folder)  # the other run ends while this one decodes

    late = Late(run.root.parent, tmp_path)
    assert len(late.pack()) == late.decoded == 3
    assert list(run.cache.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("function", "message"),
    [("os.mkdir", "--cache-dir"), ("pathlib.Path.mkdir", "--cache-dir"), ("os.replace", "not be written")],
)
def test_an_unwritable_cache_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, function: str, message: str) -> None:
    run.cache.mkdir()
    monkeypatch.setattr(function, Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=message):
        run.pack()
    assert list(run.cache.iterdir()) == []


def test_what_killed_runs_left_is_deleted_after_a_day(run: Run) -> None:
    for name, age_h in (("unfinished-old", 25), ("unfinished-new", 1)):
        (run.cache / name).mkdir(parents=True)
        (run.cache / name / "images.npy").touch()
        os.utime(run.cache / name, (time.time() - 3600 * age_h,) * 2)
    run.pack()
    assert [path.name for path in run.cache.glob("unfinished-*")] == ["unfinished-new"]


def test_frames_without_valid_depth_are_counted_apart_from_bad_ones(run: Run) -> None:
    Image.fromarray(np.zeros((96, 128), np.uint16)).save(run.photo.parent / "00001_depth.png")
    for decoded in (3, 0):
        packed = run.pack(max_bad=0)
        assert (packed.rows.tolist(), packed.empty, run.reported, run.decoded) == ([0, 2], [1], [], decoded)


def pack_wall(folder: Path, depth_m: float, *angles_deg: float) -> Packed:
    """Pack a frame of a wall for each of these angles of view."""
    Image.new("RGB", (320, 240)).save(folder / "x.png")
    np.save(folder / "x.npy", np.full((240, 320), depth_m, np.float32))
    rows = [Row("x.png", "x.npy", "", fov_deg) for fov_deg in angles_deg]
    return pack(ListedPairs(rows, folder, {32: 1}, max_depth_m=10), folder, TRAINING_SIZES, max_depth_m=10)


def test_depth_is_stored_as_the_training_camera_would_see_it(tmp_path: Path) -> None:
    packed = pack_wall(tmp_path, 4.0, 35.0, 35.0, 63.4)
    batch = packed[[0, 2]]
    assert batch.image.shape[2:] == (165, 165)  # for an input of 128x128
    torch.testing.assert_close(batch.depth_m.amax((1, 2, 3)) * batch.scale, torch.full((2,), 4.0), atol=1e-3, rtol=0)
    assert batch.scale.tolist() == pytest.approx([1.125, 1], abs=0.02)
    batches = TrainingBatches(packed, 2, augmentation=Augmentation.none(), seed=0, device=torch.device("cpu"))
    assert next(batches.epoch(0)).image.shape == (2, 3, 128, 128)


@pytest.mark.parametrize("fov_deg", [35.0, 63.4, 120.0, 150.0])
def test_depth_counts_up_to_the_range_in_metres_of_its_own_camera(tmp_path: Path, fov_deg: float) -> None:
    batch = pack_wall(tmp_path, 9.5, fov_deg)[[0]]
    assert batch.valid.all()
    torch.testing.assert_close(batch.depth_m * batch.scale, torch.full_like(batch.depth_m, 9.5), atol=1e-3, rtol=0)


def test_a_pack_is_as_readable_as_the_umask_allows(run: Run) -> None:
    before = os.umask(0o027)
    try:
        run.pack()
    finally:
        os.umask(before)
    (folder,) = run.cache.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o750, 0o640, 0o640, 0o640]


def test_a_pack_that_can_be_neither_read_nor_removed_gets_a_second_name(run: Run) -> None:
    run.pack()
    (folder,) = run.cache.iterdir()
    shutil.rmtree(folder)
    folder.touch()  # what another user's private folder is to this one: no pack, and rmtree fails
    for decoded in (3, 0):
        run.pack()
        assert run.decoded == decoded


def test_a_pack_is_sent_to_workers_as_its_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.cache.parent)
    run.cache = Path(run.cache.name)
    packed = run.pack()
    sent = pickle.dumps(packed)
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    for tensor, expected in zip(pickle.loads(sent)[[2, 0]], packed[[2, 0]], strict=True):
        assert torch.equal(tensor, expected)
