import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.conventions import UserError
from src.data.allowance import Allowance
from src.data.frame import Refused, shrink_depth, shrink_image
from src.data.nyu import open_nyu
from src.data.packed import VALIDATION_SIZES, Packed, Sizes, pack


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pack_holds_what_the_files_hold(nyu_folder: Path, tmp_path: Path, workers: int) -> None:
    pairs = open_nyu(nyu_folder / "nyu_data", "train", validation=0.1)
    packed = pack(pairs, tmp_path / "cache", VALIDATION_SIZES, max_depth_m=10, workers=workers)
    batch = packed[[4, 9]]
    assert batch.image.shape == (2, 3, 224, 224)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    for row, index in enumerate((4, 9)):
        frame = pairs[index]
        np.testing.assert_array_equal(batch.image[row].permute(1, 2, 0), shrink_image(frame.image, 224))
        depth_m = shrink_depth(frame.depth_m, frame.valid, 56)
        np.testing.assert_allclose(batch.depth_m[row, 0], depth_m, atol=1e-4)
        np.testing.assert_array_equal(batch.valid[row, 0], depth_m > 0)
    assert packed.aspect == pytest.approx(4 / 3)


def test_a_pack_is_taken_from_the_cache_until_the_frames_change(nyu_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def made(depth_px: int = 32, max_depth_m: float = 10) -> bool:
        """Tell whether frames had to be decoded."""
        seen = []

        def watch(items: Iterable[Any]) -> Iterable[Any]:
            seen.extend(items)
            return seen

        pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
        pack(pairs, cache, Sizes(64, depth_px), max_depth_m=max_depth_m, progress=watch)
        return bool(seen)

    assert made()
    assert not made()
    assert made(depth_px=64)
    assert made(max_depth_m=20)
    depth = nyu_folder / "nyu_data/data/nyu2_test/00001_depth.png"
    depth.write_bytes((depth.parent / "00002_depth.png").read_bytes())
    assert made()


class Run:
    """Packs the three test frames, as each run does, and keeps what is said and how many were decoded."""

    def __init__(self, nyu_folder: Path, tmp_path: Path) -> None:
        self.root, self.cache = nyu_folder / "nyu_data", tmp_path / "cache"
        self.frames = self.root / "data" / "nyu2_test"
        self.said: list[str] = []
        self.decoded = 0

    def pack(self, max_bad: int | float | None = None, workers: int = 0) -> Packed:
        self.said, self.decoded = [], 0
        pairs = open_nyu(self.root, "test", validation=0.1)
        return pack(
            pairs,
            self.cache,
            Sizes(64, 32),
            max_depth_m=10,
            allowance=Allowance(len(pairs), max_bad, self.said.append),
            workers=workers,
            progress=self.count,
        )

    def count(self, items: Iterable[Any]) -> Iterable[Any]:
        for item in items:
            self.decoded += 1
            yield item


@pytest.fixture
def run(nyu_folder: Path, tmp_path: Path) -> Run:
    return Run(nyu_folder, tmp_path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_frame_is_left_out_and_named_in_each_run(run: Run, workers: int) -> None:
    whole = run.pack()
    truncate(run.frames / "00001_colors.png")
    for decoded in (3, 0):
        packed = run.pack(workers=workers)
        assert run.decoded == decoded
        (line,) = run.said
        assert str(run.frames / "00001_colors.png") in line
        assert line.endswith("Replace the file. The frame is left out.")
        assert len(packed) == 2
        assert packed.aspect == whole.aspect
        assert packed.names == [whole.names[0], whole.names[2]]
        assert line == f"{packed.left_out[1]} The frame is left out."
        for after, before in zip(packed[[1, 0]], whole[[0, 2]], strict=True):
            assert torch.equal(after, before)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_frames_stop_the_pack_and_leave_nothing(run: Run, workers: int) -> None:
    for name in ("00000_colors.png", "00001_depth.png"):
        truncate(run.frames / name)
    for max_bad, allowed in ((0, 0), (1, 1), (0.5, 1)):
        with pytest.raises(
            UserError, match=rf"At least {allowed + 1} of 3 frames .* --max-bad allows {allowed}"
        ) as caught:
            run.pack(max_bad=max_bad, workers=workers)
        assert str(caught.value).isprintable()
        assert len(run.said) == allowed
        assert list(run.cache.iterdir()) == []
    assert len(run.pack(max_bad=2)) == 1
    with pytest.raises(UserError, match="At least 2 of 3 frames"):  # those of the cache count too
        run.pack(max_bad=1)
    assert len(run.pack(max_bad=1.0)) == 1
    assert run.decoded == 0


def test_frames_that_are_all_bad_stop_the_pack(run: Run) -> None:
    for number in range(3):
        truncate(run.frames / f"{number:05}_colors.png")
    with pytest.raises(UserError, match=r"None of the 3 frames can be used\. The last: .*00002_colors\.png"):
        run.pack()
    assert list(run.cache.iterdir()) == []


def test_a_frame_that_was_mended_comes_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (run.frames / "00001_colors.png").read_bytes()
    truncate(run.frames / "00001_colors.png")
    monkeypatch.setattr("src.data.listing.FILES_TO_CHECK", 1)  # of many files only some are looked at beforehand
    assert len(run.pack()) == 2
    (run.frames / "00001_colors.png").write_bytes(good)
    packed = run.pack()
    assert (len(packed), packed.left_out, run.said, run.decoded) == (3, {}, [], 3)
    run.pack()
    assert run.decoded == 0


def test_a_frame_outside_of_the_root_is_not_left_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.listing.FILES_TO_CHECK", 1)
    shutil.move(run.frames / "00001_colors.png", tmp_path / "away.png")
    (run.frames / "00001_colors.png").symlink_to(tmp_path / "away.png")
    with pytest.raises(Refused, match="leads out of the data root"):
        run.pack()
    assert run.said == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def other_shape(path: Path) -> None:
    np.save(path, np.load(path)[:, :-1])


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int32))


def no_names(path: Path) -> None:
    path.write_text(path.read_text().replace('"names"', '"nams"'))


DAMAGES = [
    *((name, Path.unlink) for name in ("images.npy", "depths.npy", "about.json")),
    *((name, cut) for name in ("images.npy", "depths.npy", "about.json")),
    *((name, other) for name in ("images.npy", "depths.npy") for other in (other_shape, other_type)),
    ("about.json", no_names),
]


@pytest.mark.parametrize(("name", "harm"), DAMAGES)
def test_a_damaged_pack_is_decoded_anew(run: Run, name: str, harm: Any) -> None:
    expected = run.pack()[[0, 1, 2]]
    (folder,) = run.cache.iterdir()
    harm(folder / name)
    assert all(torch.equal(a, b) for a, b in zip(run.pack()[[0, 1, 2]], expected, strict=True))
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
            aside.rename(folder)  # the other run is done while this one decodes

    late = Late(run.root.parent, tmp_path)
    assert len(late.pack()) == 3
    assert late.decoded == 3
    assert list(run.cache.iterdir()) == [folder]


def test_a_pack_that_cannot_be_written_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    for place, message in (("tempfile.mkdtemp", "cannot be used as cache"), ("os.replace", "could not be written")):
        with monkeypatch.context() as patch, pytest.raises(UserError, match=message):
            patch.setattr(place, refuse)
            run.pack()
        assert list(run.cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(nyu_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    with pytest.raises(UserError, match="--cache-dir"):
        pack(pairs, tmp_path / "file" / "cache", Sizes(64, 32), max_depth_m=10)


def test_what_killed_runs_left_is_dropped_after_a_day(run: Run) -> None:
    for name, age_h in (("unfinished-old", 25), ("unfinished-new", 1)):
        (run.cache / name).mkdir(parents=True)
        (run.cache / name / "images.npy").touch()
        os.utime(run.cache / name, (time.time() - 3600 * age_h,) * 2)
    run.pack()
    assert [path.name for path in run.cache.glob("unfinished-*")] == ["unfinished-new"]
