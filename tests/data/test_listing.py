import os
import re
import shutil
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import exif, wavy_frame, write_depth
from PIL import ExifTags, Image, ImageOps

from src.conventions import UserError
from src.data.allowance import Allowance, allowed_bad
from src.data.csv_rows import LONGEST_LINE, Row, read_rows, read_splits, split_by_scene
from src.data.images import has_aspect
from src.data.listing import ListedPairs, Subset, UnsafePath

SIZE = 48, 64


def write_pairs(folder: Path, count: int, *, bits: int = 16) -> list[Row]:
    rows = []
    for number in range(count):
        image, depth_m = wavy_frame(number, *SIZE)
        Image.fromarray(image).save(folder / f"{number}.png")
        write_depth(folder / f"{number}-depth.png", depth_m, {8: 25.5, 16: 1000}[bits], bits)
        rows.append(Row(f"{number}.png", f"{number}-depth.png", f"scene{number % 3}"))
    return rows


def listed(rows: list[Row], root: Path, units_per_m: dict[int, float] | None = None, **options: object) -> ListedPairs:
    return ListedPairs(rows, root, units_per_m or {16: 1000}, max_depth_m=10, **options)


@pytest.mark.parametrize(("bits", "tolerance_m"), [(8, 0.02), (16, 0.0006)])
def test_depth_is_in_metres_whatever_its_bits(tmp_path: Path, bits: int, tolerance_m: float) -> None:
    pairs = listed(write_pairs(tmp_path, 1, bits=bits), tmp_path, {8: 25.5, 16: 1000})
    np.testing.assert_allclose(pairs[0].depth_m, wavy_frame(0, *SIZE)[1], atol=tolerance_m)


def test_zeros_the_far_end_and_the_border_are_invalid(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 1)
    depth_m = np.full(SIZE, 3.0)
    depth_m[20, 20:23] = 0, 10, 12
    write_depth(tmp_path / "0-depth.png", depth_m, 1000, 16)
    expected = depth_m == 3
    expected[:1] = expected[-2:] = expected[:, :3] = expected[:, -4:] = False
    np.testing.assert_array_equal(listed(rows, tmp_path, border_px=(1, 2, 3, 4))[0].valid, expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("stored", "units_per_m", "message"),
    [
        (np.float32(2430), 1, r"median 2\.43e\+03 m.* 0% valid.* --depth-scale 1000 or .*, or a"),  # float millimetres
        (np.uint16(3), 1000, r"median 0\.003 m.* --depth-scale 1, or"),  # metres in 16 bits
        (np.uint16(240), 1, r"--depth-scale 100 or 256, or"),
        (np.uint16(20000), 1000, r"--depth-scale 5000 or 6553\.5 or 8000 or 10000, or"),
        (np.float32(90000), 1, "Check --depth-scale and --max-depth"),
        (np.float32(1e38), 1e-3, "median 0 m"),  # infinite
    ],
)
def test_a_wrong_unit_names_a_likely_one(tmp_path: Path, stored: np.generic, units_per_m: float, message: str) -> None:
    rows = [row._replace(depth="x.npy") for row in write_pairs(tmp_path, 3)]
    np.save(tmp_path / "x.npy", np.full(SIZE, stored))
    with pytest.raises(UserError, match=message):
        listed(rows, tmp_path, {16: units_per_m, 32: units_per_m})


@pytest.mark.parametrize(("bits", "full"), [(16, 65535), (8, 255)])
def test_a_full_scale_value_with_a_gap_below_means_not_measured(tmp_path: Path, bits: int, full: int) -> None:
    rows = write_pairs(tmp_path, 6, bits=bits)
    for row in rows:
        stored = np.asarray(Image.open(tmp_path / row.depth)).copy()
        stored[:9] = full
        Image.fromarray(stored).save(tmp_path / row.depth)
    frame = ListedPairs(rows, tmp_path, {8: 25.5, 16: 1000}, max_depth_m=80)[5]
    assert not frame.depth_m[:9].any()
    assert frame.valid[9:].all()


def test_16_bit_depth_clipped_at_full_scale_is_not_measured_there(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 6)
    for row in rows:
        metres = np.concatenate([np.full(9, 65.535), np.linspace(65, 3, SIZE[0] - 9)])  # the sky, the ground up to it
        stored = (1000 * metres).round().astype(np.uint16)[:, None].repeat(SIZE[1], axis=1)
        Image.fromarray(stored).save(tmp_path / row.depth)
    frame = ListedPairs(rows, tmp_path, {16: 1000}, max_depth_m=80)[5]
    assert not frame.depth_m[:9].any()
    assert frame.valid[9:].all()


def test_arrays_are_read_and_what_is_not_finite_is_not_measured(tmp_path: Path) -> None:
    rows = [write_pairs(tmp_path, 1)[0]._replace(depth="0.npy")]
    depth_m = np.full((*SIZE, 1), 3.0, np.float64)
    depth_m[0, :4, 0] = np.nan, np.inf, 0, -1
    np.save(tmp_path / "0.npy", depth_m)
    frame = listed(rows, tmp_path, {32: 1})[0]
    assert frame.valid.sum() == depth_m.size - 4
    assert (frame.depth_m[1, 0], frame.depth_m.min()) == (3, 0)
    np.save(tmp_path / "0.npy", np.full(SIZE, 2500, np.uint16))
    assert (listed(rows, tmp_path)[0].depth_m == 2.5).all()


def test_scannets_sizes_have_one_aspect() -> None:
    assert has_aspect((968, 1296), (480, 640))
    assert not has_aspect((720, 1280), (480, 848 - 8))


def test_photo_and_depth_of_one_aspect_get_the_larger_size(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 2)
    small_m = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 4
    np.save(tmp_path / "0.npy", small_m)
    np.save(tmp_path / "1.npy", np.ones((96, 128), np.float32))
    rows = [row._replace(depth=f"{n}.npy") for n, row in enumerate(rows)]
    pairs = listed(rows, tmp_path, {32: 1})
    np.testing.assert_array_equal(pairs[0].depth_m, small_m.repeat(16, axis=0).repeat(16, axis=1))
    assert pairs[1].image.shape == (96, 128, 3)
    assert (pairs[1].camera.width_px, pairs[1].camera.fov_deg) == (128, pytest.approx(pairs[0].camera.fov_deg))
    Image.new("RGB", (64, 63)).save(tmp_path / rows[0].image)
    np.save(tmp_path / "0.npy", np.ones((64, 63), np.float32))
    assert listed(rows[:1], tmp_path, {32: 1})[0].valid.shape == (63, 64)
    for row in rows:
        np.save(tmp_path / row.depth, np.ones((9, 16), np.float32))
    with pytest.raises(UserError, match="16x9 pixels, expected 64x48"):
        listed(rows, tmp_path, {32: 1})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_depth_in_the_grid_of_the_sensor_is_turned_with_its_photo(tmp_path: Path, orientation: int) -> None:
    upright = np.full(SIZE, 4000, np.uint16)
    upright[:24, :32] = 1000  # near at the top left
    image = Image.fromarray((upright // 20).astype(np.uint8))
    back = {6: 8, 8: 6}.get(orientation, orientation)

    def turn(image: Image.Image) -> Image.Image:
        image.getexif()[ExifTags.Base.Orientation] = back
        return ImageOps.exif_transpose(image)

    turn(image).convert("RGB").save(tmp_path / "x.png", exif=exif(orientation=orientation))
    row = Row("x.png", "y.png", "")
    for depth in (turn(Image.fromarray(upright)), Image.fromarray(upright))[: 2 if orientation > 4 else 1]:
        depth.save(tmp_path / "y.png")
        frame = listed([row], tmp_path)[0]
        np.testing.assert_array_equal(frame.depth_m < 2, frame.image[..., 0] < 100)
        assert frame.depth_m[0, 0] == 1


def test_the_angle_of_view_is_given_or_from_exif_or_listed_or_assumed(tmp_path: Path) -> None:
    (row,) = write_pairs(tmp_path, 1)
    given = {"fov_deg": 50.0}

    def angle(row: Row, **options: float) -> float:
        return round(listed([row], tmp_path, **options)[0].camera.fov_deg)

    assert angle(row) == 63
    assert angle(row._replace(fov_deg=70.0)) == 70
    row = row._replace(image="0.jpg")
    Image.open(tmp_path / "0.png").save(tmp_path / "0.jpg", exif=exif(equivalent_mm=56))
    assert angle(row._replace(fov_deg=70.0)) == 34
    assert angle(row._replace(fov_deg=70.0), **given) == 50
    pattern = "16-bit, 1000 units a metre: .*median .*100% valid up to 10 m; camera of 50 degrees .*--fov"
    assert re.search(pattern, listed([row], tmp_path, **given).summary)
    assert listed([row], tmp_path, **given).fingerprint != listed([row], tmp_path).fingerprint
    depth = np.zeros((480, 640), np.uint16)
    depth[:30, :40] = 2000
    Image.fromarray(depth).save(tmp_path / row.depth)
    Image.new("RGB", (640, 480)).save(tmp_path / row.image)
    assert "0.391% valid" in listed([row], tmp_path, **given).summary


def test_a_bad_frame_is_an_error_only_when_it_is_read(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 4)
    before = listed(rows, tmp_path).fingerprint
    assert listed(rows, tmp_path).fingerprint == before
    (tmp_path / "1-depth.png").unlink()
    write_depth(tmp_path / "2-depth.png", np.ones(SIZE), 25.5, 8)
    write_depth(tmp_path / "3-depth.png", np.ones((48, 60)), 1000, 16)
    pairs = listed(rows, tmp_path)
    assert pairs.fingerprint != before
    assert pairs[0].image.shape == (*SIZE, 3)
    for index, message in ((1, r"1-depth\.png"), (2, "8-bit.*--depth-scale"), (3, "60x48 pixels, expected 64x48")):
        with pytest.raises(UserError, match=message):
            pairs[index]
    assert "16-bit, 1000 units a metre: " in pairs.summary
    assert "; also 8-bit, 25.5 units a metre" in listed(rows, tmp_path, {8: 25.5, 16: 1000}).summary


def test_mistakes_of_all_files_are_errors_at_once(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path, 6)
    with pytest.raises(UserError, match=r"elsewhere/0\.png.* 11 others"):
        listed(rows, tmp_path / "elsewhere")
    (tmp_path / "0-depth.png").unlink()
    with pytest.raises(UserError, match=r"5-depth\.png.*16-bit.*--depth-scale"):
        listed(rows, tmp_path, {8: 25.5})
    for row in rows[1:]:
        Image.new("RGB", SIZE[::-1]).save(tmp_path / row.depth)
    with pytest.raises(UserError, match=r"5-depth\.png.*RGB"):
        listed(rows, tmp_path)
    write_pairs(tmp_path, 1)
    listed(rows, tmp_path)  # one is readable


@pytest.mark.parametrize(("bits", "full_scale"), [(8, 255), (16, 65535), (16, 255), (32, 1), (32, 255)])
def test_depth_normalised_per_image_is_refused(tmp_path: Path, bits: int, full_scale: int) -> None:
    rows = write_pairs(tmp_path, 6)
    for number, row in enumerate(rows):
        depth_m = wavy_frame(number, *SIZE)[1]
        stored = depth_m * np.float32(full_scale / depth_m.max())
        np.save(tmp_path / f"{number}.npy", stored if bits == 32 else stored.round().astype(f"u{bits // 8}"))
        rows[number] = row._replace(depth=f"{number}.npy")
    with pytest.raises(UserError, match=f"normalised per image.* {full_scale}"):
        listed(rows, tmp_path, {8: 25.5, 16: 1000, 32: 1})
    rows[5] = rows[5]._replace(depth="5-depth.png")
    listed(rows, tmp_path, {8: 25.5, 16: 1000, 32: 1})  # not all reach it


def test_the_fingerprint_depends_on_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAMES_TO_CHECK", "FILES_TO_LOCATE", "THREADS"):
        monkeypatch.setattr(f"src.data.listing.{name}", 1)
    rows = [Row(f"{n}.png", f"{n}-depth.png", "") for n in range(7)]
    first, *others = (tmp_path / name for row in rows for name in row[:2])
    Image.new("L", (16, 16), 100).save(first)
    for path in others:
        shutil.copy2(first, path)  # all of one size and time
    fingerprints = {listed(rows, tmp_path, {8: 25.5}).fingerprint}
    for path in others[1:]:
        os.utime(path, (0, 0))
        fingerprints.add(listed(rows, tmp_path, {8: 25.5}).fingerprint)
        path.unlink()
        fingerprints.add(listed(rows, tmp_path, {8: 25.5}).fingerprint)
        shutil.copy2(first, path)
    assert len(fingerprints) == 1 + 2 * 12


def test_a_subset_has_the_chosen_frames(tmp_path: Path) -> None:
    pairs = listed(write_pairs(tmp_path, 3), tmp_path)
    subset = Subset(pairs, [0, 2])
    assert (len(subset), subset.names, subset.scenes) == (2, ["0.png", "2.png"], ["scene0", "scene2"])
    assert subset.fingerprint not in (pairs.fingerprint, Subset(pairs, [0]).fingerprint)
    assert subset.identity not in (pairs.identity, Subset(pairs, [0]).identity)
    np.testing.assert_array_equal(subset[1].depth_m, pairs[2].depth_m)
    with pytest.raises(IndexError):
        subset[2]


def test_links_are_followed_but_a_file_outside_of_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    good, *_ = rows = write_pairs(root, 3)
    (root / "2.png").unlink()
    (root / "2.png").symlink_to("0.png")
    (tmp_path / "link").symlink_to("data")
    pairs = listed(rows, tmp_path / "link")
    np.testing.assert_array_equal(pairs[2].image, pairs[0].image)
    secret = shutil.move(root / "1.png", tmp_path / "secret.png")
    (root / "1.png").symlink_to("../secret.png")
    with pytest.raises(UnsafePath):
        pairs[1]
    for name in ("1.png", "../secret.png", "x/../../secret.png", str(secret)):
        for row in (good._replace(image=name), good._replace(depth=name)):
            with pytest.raises(UnsafePath, match=r"leads out of the data root, to .*/secret\.png"):
                listed([good, row], root)


def test_rows_are_read_whatever_the_line_ends_and_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"a/1.jpg,a/1.png\r\nb/2.jpg,b/2.png,kitchen\r\n\r\n")
    expected = [Row("a/1.jpg", "a/1.png", "a"), Row("b/2.jpg", "b/2.png", "kitchen")]
    assert read_rows(path) == expected
    path.write_text('"a/1.jpg", "a/1.png"\n')
    assert read_rows(path) == expected[:1]
    path.write_text("Image_Path,depth\na/1.jpg,a/1.png\n")
    assert read_rows(path) == expected[:1]
    path.write_text("kitchen/rgb/1.jpg,1.png\nbath/rgb/1.jpg,2.png\n")
    assert [row.scene for row in read_rows(path)] == ["kitchen/rgb", "bath/rgb"]
    path.write_text("image,depth,scene,scene_type\na/1.jpg,a/1.png,a,room\nb/2.jpg,b/2.png,kitchen,room\n")
    assert read_rows(path) == expected
    path.write_text("image,depth,Split\na/1.jpg,a/1.png,train\nb/2.jpg,b/2.png,Validation\n")
    assert read_splits(path) == {"train": expected[:1], "val": [expected[1]._replace(scene="b")]}
    path.write_text("scene,depth,frame,rgb,fov_deg\n,a/1.png,1,a/1.jpg,\nkitchen,b/2.png,2,b/2.jpg,60.5\n")
    assert read_rows(path) == [expected[0], expected[1]._replace(fov_deg=60.5)]
    names = ["a..b/..c.png", "...png", "~/x.png", "$HOME", "a b.png", "Screenshot 3.00\u202fPM.png", "é/雪.png"]
    path.write_text("".join(f"{name},{name}\n" for name in names), encoding="utf-8")
    assert [row.image for row in read_rows(path)] == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg\n", r"row 1: got 'a\.jpg'"),
        (b"a,b\na,,c\n", "row 2"),
        (b'"a\n' * 5, "row 1: got 'a'"),  # an open quote does not consume the lines after it
        (b"", "empty"),
        (b"image,scene\n", "header 'image,scene', expected image,depth"),
        (b"image,depth,fov_deg\na.jpg,a.png,wide\n", r"row 1: got 'a\.jpg,a\.png,wide', expected an angle of 3\.2"),
        (b"image,depth,fov_deg\na.jpg,a.png,0.99\n", r"expected an angle of 3\.2 to 179 degrees \(not radians\)"),
        (b"image,depth,split\na.jpg,a.png,half\n", r"got 'a\.jpg,a\.png,half', expected image,depth,split"),
        (b"a/1.jpg,a/1.png,train\n", "row 1: got 'train' where a scene was expected"),
        (b"a/1.jpg,a/1.png,a/mask.npy\n", r"row 1: got 'a/mask\.npy' where a scene was expected"),
        (b"image,depth,scene_id,scene_type\n", "expected image,depth"),
        (b"image,depth,vfov\na.jpg,a.png,45\n", "got the column 'vfov', expected fov_deg: degrees along the longer"),
        (b"\xff\xfe\x00", "csv"),
        (b"a\0,b\n", "null byte"),
        ("a\u2028,b\n".encode(), r"'a\\u2028,b"),
    ],
)
def test_a_bad_list_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"pairs\.csv.*{message}") as caught:
        read_rows(path)
    assert len(str(caught.value).splitlines()) == 1


def test_long_lists_and_lines_are_refused_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.csv_rows.MOST_ROWS", 5)
    path = tmp_path / "pairs.csv"
    path.write_text("a.png,b.png\n" * 4 + f"{'a' * (LONGEST_LINE - 3)},b\n")
    assert len(read_rows(path)) == 5
    for content, reason in (("a.png,b.png\n" * 10**6, "more than 5 rows"), ("a" * 10**7, str(LONGEST_LINE))):
        path.write_text(content)
        tracemalloc.start()
        with pytest.raises(UserError, match=reason):
            read_rows(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def test_validation_holds_out_whole_scenes() -> None:
    rows = [Row(f"{n}", f"{n}", f"scene{n // 5}") for n in range(100)]
    train, held_out = split_by_scene(rows, 0.1)
    assert sorted(train + held_out) == sorted(rows)
    assert not {row.scene for row in train} & {row.scene for row in held_out}
    assert len(held_out) == 10
    assert split_by_scene(rows, 0.0) == (rows, [])
    # A scene that is larger than what is wanted is trained on.
    sizes = {"day": 500, "night": 20, "garage": 15, "hall": 40}
    uneven = [Row(f"{scene}{n}", f"{n}", scene) for scene, size in sizes.items() for n in range(size)]
    for seed in range(8):
        assert 15 <= len(split_by_scene(uneven, 0.1, seed)[1]) <= 100
        assert {row.scene for row in split_by_scene(uneven[:520], 0.01, seed)[1]} == {"night"}
    # Of one scene, the last rows.
    assert split_by_scene(rows[:5], 0.4) == (rows[:3], rows[3:5])
    assert split_by_scene(rows[:3], 0.1) == (rows[:2], rows[2:3])
    # So too where each frame has a folder of its own, which says nothing of scenes.
    alone = [row._replace(scene=row.image) for row in rows]
    assert split_by_scene(alone, 0.1) == (alone[:90], alone[90:])
    with pytest.raises(UserError, match="7: got it in the scenes 'scene1' and 'x', expected it in one"):
        split_by_scene([*rows, rows[7]._replace(scene="x")], 0.1)
    with pytest.raises(UserError, match="got one pair"):
        split_by_scene(rows[:1], 0.1)


def test_the_split_of_a_seed_is_pinned() -> None:
    # Published figures depend on it.
    rows = [Row(f"{scene}/{n}", f"{scene}/{n}", f"scene{scene}") for scene in range(40) for n in range(1 + scene % 3)]
    for seed, held_out in ((0, [3, 10, 12, 19, 30, 33]), (1, [0, 3, 17, 24, 34])):
        assert split_by_scene(rows, 0.1, seed)[1] == [row for row in rows if int(row.scene[5:]) in held_out]


def test_max_bad_is_a_number_a_share_or_a_default_but_never_all() -> None:
    # 0.29 * 100 is 28.999… in floating point.
    cases = (None, 6), (None, 50_688), (0, 50_688), (20, 6), (0.005, 1199), (0.29, 100)
    assert [allowed_bad(*case) for case in cases] == [10, 50, 0, 20, 5, 29]
    with pytest.raises(UserError, match=r"None of the 1 frames .* 0\.png: empty\."):
        Allowance(1).leave_out(0, UserError("0.png: empty."))


def test_the_time_of_a_split_grows_linearly_with_its_scenes() -> None:
    rows = [Row(f"{n}.jpg", f"{n}.png", f"scene{n // 2}") for n in range(100_000)]
    started = time.process_time()
    assert [len(part) for part in split_by_scene(rows, 0.5)] == [50_000, 50_000]
    assert time.process_time() - started < 5  # searching all rows for each scene took minutes
