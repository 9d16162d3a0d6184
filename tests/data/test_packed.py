from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.conventions import UserError
from src.data.frame import shrink_depth, shrink_image
from src.data.nyu import open_nyu
from src.data.packed import VALIDATION_SIZES, Sizes, pack


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


def test_a_damaged_file_stops_the_pack_and_leaves_nothing(nyu_folder: Path, tmp_path: Path) -> None:
    broken = nyu_folder / "nyu_data/data/nyu2_test/00001_colors.png"
    broken.write_bytes(broken.read_bytes()[:400])
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"00001_colors\.png: got a damaged") as caught:
            pack(pairs, tmp_path / "cache", Sizes(64, 32), max_depth_m=10, workers=workers)
        assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(nyu_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    with pytest.raises(UserError, match="--cache-dir"):
        pack(pairs, tmp_path / "file" / "cache", Sizes(64, 32), max_depth_m=10)
