from pathlib import Path

import numpy as np
import pytest
from conftest import write_depth

from src.conventions import NYU_INTRINSICS, Frame
from src.data.nyu import open_nyu
from src.data.survey import survey
from src.rooms.rooms import RoomPairs


def test_counts_encodings_and_metres(nyu_folder: Path) -> None:
    found = survey(open_nyu(nyu_folder / "nyu_data", "train", validation=0.1))
    assert found.frames == 15
    assert set(found.scenes.values()) == {3}
    assert found.encodings == {"8-bit, 25.5 units per metre": 15}
    assert found.sizes_px == {(128, 96): 15}
    assert found.valid == pytest.approx((96 - 10) * (128 - 13) / (96 * 128))
    assert 1 <= found.depth_m["min"] < found.depth_m["p50"] < found.depth_m["max"] <= 6
    assert found.problems == []


class Steps:
    """One frame, each quarter of its rows a metre farther than the one above, its left quarter not measured."""

    names = scenes = ("steps",)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Frame:
        depth_m = np.repeat(np.arange(1, 5, dtype=np.float32), 3)[:, None] * np.ones((1, 16), np.float32)
        return Frame(np.zeros((12, 16, 3), np.uint8), depth_m, np.broadcast_to(np.arange(16) >= 4, (12, 16)))

    def encoding(self, index: int) -> str:
        return "none"


def test_the_mean_map_has_its_top_row_first_and_leaves_out_what_is_not_valid() -> None:
    found = survey(Steps()).mean_map_m
    assert np.isnan(found[:, 0]).all()
    assert np.allclose(found[:, 1:], np.arange(1, 5)[:, None])


def test_the_cameras_height_is_noted_where_the_floor_shows() -> None:
    heights_m = survey(RoomPairs(12, intrinsics=NYU_INTRINSICS.resized(160, 120))).heights_m
    assert 3 <= len(heights_m) < 12
    assert all(1.0 < height_m < 1.5 for height_m in heights_m)


def test_problems_are_named_and_the_rest_goes_on(nyu_folder: Path) -> None:
    folder = nyu_folder / "nyu_data/data/nyu2_test"
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    (folder / "00000_colors.png").write_bytes(b"")
    write_depth(folder / "00001_depth.png", np.full((96, 128), 2.0), 1000, 16)
    write_depth(folder / "00002_depth.png", np.zeros((96, 128)), 1000, 16)
    found = survey(pairs)
    assert found.frames == 2
    assert len(found.problems) == 3
    for problem, (name, what) in zip(
        found.problems,
        [("00000_colors", "no image"), ("00001_colors", "same everywhere"), ("00002_colors", "only 0%")],
        strict=True,
    ):
        assert name in problem
        assert what in problem
