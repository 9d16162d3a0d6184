from pathlib import Path

import numpy as np
import pytest
from conftest import wavy_frame, write_depth
from PIL import Image

from src.conventions import UserError
from src.data.listing import FirstPairs, ListedPairs, Row, read_rows, split_by_scene


def write_pairs(folder: Path, count: int, *, bits: int = 16, normalised: bool = False) -> list[Row]:
    rows = []
    for number in range(count):
        image, depth_m = wavy_frame(number, 48, 64)
        units = (255 if bits == 8 else 65535) / depth_m.max() if normalised else {8: 25.5, 16: 1000}[bits]
        Image.fromarray(image).save(folder / f"{number}.png")
        write_depth(folder / f"{number}-depth.png", depth_m, units, bits)
        rows.append(Row(f"{number}.png", f"{number}-depth.png", f"scene{number % 3}"))
    return rows


def test_depth_comes_in_metres_whatever_its_bits(tmp_path: Path) -> None:
    _, expected = wavy_frame(0, 48, 64)
    for bits, tolerance in ((8, 0.02), (16, 0.0006)):
        rows = write_pairs(tmp_path, 1, bits=bits)
        pairs = ListedPairs(rows, tmp_path, {8: 25.5, 16: 1000}, max_depth_m=10)
        np.testing.assert_allclose(pairs[0].depth_m, expected, atol=tolerance)


def test_zeros_the_far_end_and_the_border_are_invalid(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 1)
    depth_m = np.full((48, 64), 3.0)
    depth_m[20, 20], depth_m[20, 21], depth_m[20, 22] = 0, 10, 12
    write_depth(tmp_path / "0-depth.png", depth_m, 1000, 16)
    valid = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10, border_px=(1, 2, 3, 4))[0].valid
    assert not valid[20, 20:23].any()
    assert valid.sum() == (48 - 3) * (64 - 7) - 3
    assert (valid[0].any(), valid[46].any(), valid[:, 2].any(), valid[:, 60].any()) == (False,) * 4


def test_a_depth_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 1)
    write_depth(tmp_path / "0-depth.png", np.ones((48, 60)), 1000, 16)
    with pytest.raises(UserError, match="got depth of 60x48 pixels, expected 64x48"):
        ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)[0]


def test_a_missing_file_is_named_with_its_row(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 3)
    (tmp_path / "1-depth.png").unlink()
    with pytest.raises(UserError, match=r"1-depth\.png: got no such file, but row 2"):
        ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)


@pytest.mark.parametrize("bits", [8, 16])
def test_depth_normalised_per_image_is_refused(tmp_path: Path, bits: int) -> None:
    rows = write_pairs(tmp_path, 6, bits=bits, normalised=True)
    with pytest.raises(UserError, match="normalised per image"):
        ListedPairs(rows, tmp_path, {8: 25.5, 16: 1000}, max_depth_m=10)


def test_one_saturated_frame_is_no_normalisation(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 6, bits=8)
    write_depth(tmp_path / "0-depth.png", np.full((48, 64), 10.0), 25.5, 8)
    ListedPairs(rows, tmp_path, {8: 25.5}, max_depth_m=10)


def test_depth_without_a_unit_is_refused(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 1, bits=8)
    with pytest.raises(UserError, match="--depth-scale"):
        ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)[0]


def test_changed_files_change_the_fingerprint(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 2)
    before = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint
    assert ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint == before
    write_depth(tmp_path / "1-depth.png", np.full((48, 64), 2.0), 1000, 16)
    assert ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint != before


def test_rows_are_read_whatever_the_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"a/1.jpg,a/1.png\r\nb/2.jpg,b/2.png,kitchen\r\n\r\n")
    assert read_rows(path) == [Row("a/1.jpg", "a/1.png", "a"), Row("b/2.jpg", "b/2.png", "kitchen")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg\n", "row 1: got 'a.jpg'"),
        (b"", "empty"),
        (b"a,b\na,,c\n", "row 2"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_rows(path)


def test_validation_holds_out_whole_scenes() -> None:
    rows = [Row(f"{scene}/{n}.jpg", f"{scene}/{n}.png", f"scene{scene}") for scene in range(20) for n in range(5)]
    train, held_out = split_by_scene(rows, 0.1)
    assert sorted(train + held_out) == sorted(rows)
    assert not {row.scene for row in train} & {row.scene for row in held_out}
    assert len(held_out) == 10
    assert split_by_scene(rows, 0.1) == (train, held_out)
    assert split_by_scene(rows, 0.0) == (rows, [])


def test_a_single_scene_gives_its_last_rows() -> None:
    rows = [Row(f"{n}.jpg", f"{n}.png", "here") for n in range(10)]
    assert split_by_scene(rows, 0.2) == (rows[:8], rows[8:])
    assert split_by_scene(rows[:3], 0.1) == (rows[:2], rows[2:3])


def test_first_pairs_are_the_first(tmp_path: Path) -> None:
    pairs = ListedPairs(write_pairs(tmp_path, 3), tmp_path, {16: 1000}, max_depth_m=10)
    first = FirstPairs(pairs, 2)
    assert (len(first), first.names) == (2, ["0.png", "1.png"])
    assert first.fingerprint != pairs.fingerprint
    np.testing.assert_array_equal(first[1].depth_m, pairs[1].depth_m)
