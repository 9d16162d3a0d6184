"""Statistics of a data set and of its cameras."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_depth

from src.conventions import NYU_INTRINSICS, Frame
from src.data.camera_height import estimate_height
from src.data.listing import Subset
from src.data.nyu import open_nyu
from src.data.survey import survey

SIZE = 120, 160
RAYS = NYU_INTRINSICS.resized(*SIZE[::-1]).unproject(np.ones(SIZE, np.float32))
VALID = np.ones(SIZE, bool)


def see_floor(height_m: float, pitch_deg: float = 0, roll_deg: float = 0, wall_m: float = 4) -> np.ndarray:
    """Depth of an empty floor and of the wall in front."""
    pitch, roll = np.radians((pitch_deg, roll_deg))
    down = np.array((np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch), np.sin(pitch)))
    forward = np.array((0, 0, 1)) - down[2] * down
    floor_m = height_m / np.maximum(RAYS @ down, 1e-9)
    return np.minimum(floor_m, wall_m / (RAYS @ forward / np.linalg.norm(forward)))


@pytest.mark.parametrize("pose", [(1.2, 12, 0), (1.5, 20, 3), (0.8, 10, -8), (2.0, 35, 5)])
def test_the_height_of_a_camera_is_estimated_from_the_floor(pose: tuple[float, float, float]) -> None:
    depth_m = see_floor(*pose)
    assert estimate_height(depth_m, VALID) == pytest.approx(pose[0], abs=0.01)
    assert estimate_height(np.full(SIZE, np.nan), ~VALID) is estimate_height(np.full(SIZE, 2.0), VALID) is None
    frame = Frame(np.zeros((*SIZE, 3), np.uint8), np.float32(depth_m), VALID, NYU_INTRINSICS)
    assert survey(Listed([frame])).heights_m == pytest.approx([pose[0]], abs=0.05)


@pytest.mark.parametrize(("first_row", "height_m"), [(80, 1.2), (65, None)])
def test_a_table_is_no_floor(first_row: int, height_m: float | None) -> None:
    depth_m = see_floor(1.2, 20)
    depth_m[first_row:] *= 0.6
    assert estimate_height(depth_m, VALID) == (height_m and pytest.approx(height_m, abs=0.01))


def test_counts_sizes_and_metres(nyu_folder: Path) -> None:
    found = survey(open_nyu(nyu_folder / "nyu_data", "train", validation=0.1))
    assert found.frames == 15
    assert set(found.scenes.values()) == {3}
    assert found.sizes_px == {(128, 96): 15}
    assert found.valid == pytest.approx((96 - 10) * (128 - 13) / (96 * 128))
    assert 1 <= found.depth_m["min"] < found.depth_m["p50"] < found.depth_m["max"] <= 6
    assert found.problems == []


class Listed(list[Frame]):
    """A frame from memory."""

    names = scenes = ("0",)


def test_the_mean_map_has_its_top_row_first_and_omits_invalid_pixels() -> None:
    depth_m = np.repeat(np.arange(1, 5, dtype=np.float32), 3)[:, None].repeat(16, axis=1)
    frame = Frame(
        np.zeros((12, 16, 3), np.uint8), depth_m, np.broadcast_to(np.arange(16) >= 4, (12, 16)), NYU_INTRINSICS
    )
    found = survey(Listed([frame]))
    expected = np.repeat([[1.0], [2], [3], [4]], 4, axis=1)
    expected[:, 0] = np.nan
    np.testing.assert_allclose(found.mean_map_m, expected)
    assert found.heights_m == []
    sparse = frame._replace(valid=np.arange(192).reshape(12, 16) % 20 == 0)
    assert survey(Listed([sparse])).problems == []


def test_depth_is_sampled_from_all_columns() -> None:
    depth_m = np.linspace(1, 5, 1500, dtype=np.float32)[None].repeat(1000, axis=0)  # a stride of 1,500 is a column
    valid = np.ones(depth_m.shape, bool)
    found = survey(Listed([Frame(np.zeros((*depth_m.shape, 3), np.uint8), depth_m, valid, NYU_INTRINSICS)]))
    assert (found.depth_m["p5"], found.depth_m["mean"]) == pytest.approx((1.2, 3), abs=0.1)


def test_problems_are_named_and_the_rest_is_counted(nyu_folder: Path) -> None:
    folder = nyu_folder / "nyu_data/data/nyu2_test"
    pairs = open_nyu(nyu_folder / "nyu_data", "test", validation=0.1)
    (folder / "00000_colors.png").write_bytes(b"")
    write_depth(folder / "00001_depth.png", np.full((96, 128), 2.0), 1000, 16)
    write_depth(folder / "00002_depth.png", np.zeros((96, 128)), 1000, 16)
    found = survey(Subset(pairs, [0, 1, 2, 2]))
    assert found.frames == 3
    for index, problem in zip((0, 1, 2, 2), found.problems, strict=True):
        assert f"0000{index}_colors" in problem
        assert ("no image", "same everywhere", "only 0.0%")[index] in problem
