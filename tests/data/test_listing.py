import shutil
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import wavy_frame, write_depth
from PIL import Image

from src.conventions import UserError
from src.data import listing
from src.data.frame import Refused
from src.data.listing import LONGEST_LINE, FirstPairs, ListedPairs, Row, read_rows, split_by_scene


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


def test_a_missing_file_is_an_error_only_of_its_frame(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 3)
    whole = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint
    (tmp_path / "1-depth.png").unlink()
    pairs = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)
    assert pairs[0].image.shape == pairs[2].image.shape
    with pytest.raises(UserError, match=r"1-depth\.png"):
        pairs[1]
    assert pairs.fingerprint != whole


def test_a_list_of_nothing_but_missing_files_is_refused(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 3)
    with pytest.raises(UserError, match=r"elsewhere/0\.png.* 5 others"):
        ListedPairs(rows, tmp_path / "elsewhere", {16: 1000}, max_depth_m=10)


def test_depth_that_cannot_be_read_anywhere_is_refused(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 6)
    for row in rows[1:]:
        Image.new("RGB", (64, 48)).save(tmp_path / row.depth)
    ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)
    Image.new("RGB", (64, 48)).save(tmp_path / rows[0].depth)
    with pytest.raises(UserError, match="mode RGB"):
        ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)


@pytest.mark.parametrize("bits", [8, 16])
def test_depth_normalised_per_image_is_refused(tmp_path: Path, bits: int) -> None:
    rows = write_pairs(tmp_path, 6, bits=bits, normalised=True)
    (tmp_path / "1-depth.png").write_text("unreadable")
    with pytest.raises(UserError, match="normalised per image"):
        ListedPairs(rows, tmp_path, {8: 25.5, 16: 1000}, max_depth_m=10)


def test_one_saturated_frame_is_no_normalisation(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 6, bits=8)
    write_depth(tmp_path / "0-depth.png", np.full((48, 64), 10.0), 25.5, 8)
    ListedPairs(rows, tmp_path, {8: 25.5}, max_depth_m=10)


def test_depth_without_a_unit_is_refused_at_once(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 3, bits=8)
    (tmp_path / "0-depth.png").unlink()
    with pytest.raises(UserError, match=r"1-depth\.png.*--depth-scale"):
        ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)


def test_one_odd_bit_depth_is_an_error_only_of_its_frame(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 3)
    write_depth(tmp_path / "1-depth.png", np.ones((48, 64)), 25.5, 8)
    pairs = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10)
    for read in (pairs.__getitem__, pairs.encoding):
        read(0)
        with pytest.raises(UserError, match="--depth-scale"):
            read(1)


@pytest.mark.filterwarnings("error")
def test_depth_beyond_all_numbers_is_invalid_and_silent(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 1)
    rows[0] = rows[0]._replace(depth="0.tiff")
    Image.fromarray(np.full((48, 64), 1e38, np.float32)).save(tmp_path / "0.tiff")
    assert not ListedPairs(rows, tmp_path, {32: 1e-3}, max_depth_m=10)[0].valid.any()


def test_changed_files_change_the_fingerprint(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 2)
    before = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint
    assert ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint == before
    write_depth(tmp_path / "1-depth.png", np.full((48, 64), 2.0), 1000, 16)
    assert ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=10).fingerprint != before


def test_the_fingerprint_tells_which_file_is_missing(tmp_path: Path) -> None:
    rows = [Row("a.png", "b.png", ""), Row("c.png", "d.png", "")]
    Image.new("L", (4, 3), 100).save(tmp_path / "a.png")
    fingerprints = set()
    for missing in "bcd":
        for name in "bcd":
            shutil.copy2(tmp_path / "a.png", tmp_path / f"{name}.png")  # all of one size and time
        (tmp_path / f"{missing}.png").unlink()
        fingerprints.add(ListedPairs(rows, tmp_path, {8: 25.5}, max_depth_m=10).fingerprint)
    assert len(fingerprints) == 3


def test_rows_are_read_whatever_the_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"a/1.jpg,a/1.png\r\nb/2.jpg,b/2.png,kitchen\r\n\r\n")
    assert read_rows(path) == [Row("a/1.jpg", "a/1.png", "a"), Row("b/2.jpg", "b/2.png", "kitchen")]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"a.jpg\n", "row 1: got 'a.jpg', expected image,depth"),
        (b"a,b\na,,c\n", "row 2"),
        (b'"a\n' * 5, "row 1: got 'a'"),  # an open quote does not swallow the lines after it
        (b"", ""),
        (b"\xff\xfe\x00", ""),
        (b"a\0,b\n", "null byte"),
        ("a\u2028,b\n".encode(), r"'a\\u2028,b"),
    ],
)
def test_a_bad_list_is_refused_in_one_line(tmp_path: Path, content: bytes, row: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"pairs\.csv.*{row}") as caught:
        read_rows(path)
    assert len(str(caught.value).splitlines()) == 1


def test_names_that_only_look_odd_are_taken(tmp_path: Path) -> None:
    names = ["a..b/..c.png", "...png", "~/x.png", "$HOME", "a b.png", "Screenshot 3.00\u202fPM.png", "é/雪.png"]
    path = tmp_path / "pairs.csv"
    path.write_text("".join(f"{name},{name}\n" for name in names), encoding="utf-8")
    assert [row.image for row in read_rows(path)] == names


def test_a_file_outside_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = write_pairs(tmp_path / "data", 3)
    pairs = ListedPairs(rows, tmp_path / "data", {16: 1000}, max_depth_m=10)
    secret = shutil.move(tmp_path / "data" / "1.png", tmp_path / "secret.png")
    (tmp_path / "data" / "1.png").symlink_to("../secret.png")
    with pytest.raises(Refused):
        pairs[1]
    for name in ("1.png", "../secret.png", "x/../../secret.png", str(secret)):
        for names in (f"{name},0-depth.png", f"0.png,{name}"):
            (tmp_path / "data" / "pairs.csv").write_text(f"0.png,0-depth.png\n{names}\n")
            listed = read_rows(tmp_path / "data" / "pairs.csv")
            with pytest.raises(Refused, match=r"leads out of the data root, to .*/secret\.png"):
                ListedPairs(listed, tmp_path / "data", {16: 1000}, max_depth_m=10)


def test_links_within_the_root_and_to_it_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = write_pairs(tmp_path / "data", 2)
    (tmp_path / "data" / "1.png").unlink()
    (tmp_path / "data" / "1.png").symlink_to("0.png")
    (tmp_path / "link").symlink_to("data")
    pairs = ListedPairs(rows, tmp_path / "link", {16: 1000}, max_depth_m=10)
    np.testing.assert_array_equal(pairs[1].image, pairs[0].image)


def test_a_list_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.csv"
    monkeypatch.setattr(listing, "MOST_ROWS", 5)
    path.write_text("a.png,b.png\n" * 5)
    assert len(read_rows(path)) == 5
    path.write_text("a.png,b.png\n" * 6)
    with pytest.raises(UserError, match="more than 5 rows"):
        read_rows(path)


def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"{'a' * (LONGEST_LINE - 3)},b\n")
    assert len(read_rows(path)) == 1
    path.write_text("a" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match=f"longer than {LONGEST_LINE}"):
        read_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_validation_holds_out_whole_scenes() -> None:
    rows = [Row(f"{scene}/{n}.jpg", f"{scene}/{n}.png", f"scene{scene}") for scene in range(20) for n in range(5)]
    train, held_out = split_by_scene(rows, 0.1)
    assert sorted(train + held_out) == sorted(rows)
    assert not {row.scene for row in train} & {row.scene for row in held_out}
    assert len(held_out) == 10
    assert split_by_scene(rows, 0.1) == (train, held_out)
    assert split_by_scene(rows, 0.0) == (rows, [])


def test_the_split_of_a_seed_is_pinned() -> None:
    # Published figures depend on it.
    rows = [Row(f"{scene}/{n}", f"{scene}/{n}", f"scene{scene}") for scene in range(40) for n in range(1 + scene % 3)]
    for seed, held_out in ((0, [3, 10, 12, 19, 30, 33]), (1, [0, 3, 17, 24, 34])):
        assert split_by_scene(rows, 0.1, seed)[1] == [row for row in rows if int(row.scene[5:]) in held_out]


def test_many_scenes_are_split_in_no_time() -> None:
    rows = [Row(f"{n}.jpg", f"{n}.png", f"scene{n}") for n in range(50_000)]
    started = time.process_time()
    train, held_out = split_by_scene(rows, 0.5)
    assert time.process_time() - started < 5  # a look at all rows for each scene took a minute
    assert (len(train), len(held_out)) == (25_000, 25_000)


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
