import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.conventions import NYU_INTRINSICS, UserError
from src.data.photos import find_inputs, make_photo, read_photo, shrink_photo, view

RED_LEFT = np.zeros((48, 64, 3), np.uint8)
RED_LEFT[:, :32, 0] = 255


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def exif(**values: float) -> Image.Exif:
    tags = {"orientation": 0x0112, "equivalent_mm": 0xA405, "focal_mm": 0x920A, "per_unit": 0xA20E, "unit": 0xA210}
    made = Image.Exif()
    for name, value in values.items():
        (made if name == "orientation" else made.get_ifd(0x8769))[tags[name]] = value
    return made


def test_folders_globs_and_numbers_are_expanded_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "film.mp4", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    found = find_inputs([".", "*.jpg", "0", "notes.txt"])
    assert found == [Path("a.PNG"), Path("b.jpg"), Path("film.mp4"), "0", Path("notes.txt")]
    (tmp_path / "7").touch()
    assert find_inputs(["7"]) == [Path("7")]  # a file of that name wins over the webcam
    with pytest.raises(UserError, match="a folder without photos"):
        find_inputs(["empty"])
    with pytest.raises(UserError, match=r"no-\*\.jpg: got no such file"):
        find_inputs(["no-*.jpg"])


@pytest.mark.parametrize("kind", ["jpeg", "cmyk", "palette", "grey16", "alpha", "animated", "bits"])
def test_every_mode_arrives_as_the_same_rgb(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(RED_LEFT)
    grey16 = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16)) * 257)
    path = {
        "jpeg": lambda: save(tmp_path / "x.jpg", image, quality=95),
        "cmyk": lambda: save(tmp_path / "x.jpg", image.convert("CMYK"), quality=95),
        "palette": lambda: save(tmp_path / "x.png", image.convert("P")),
        "grey16": lambda: save(tmp_path / "x.png", grey16),
        "alpha": lambda: save(tmp_path / "x.png", image.convert("RGBA")),
        "animated": lambda: save(
            tmp_path / "x.gif", image, save_all=True, append_images=[Image.new("RGB", image.size, "blue")]
        ),
        "bits": lambda: save(tmp_path / "x.png", image.convert("L").point(lambda v: 255 * (v > 9)).convert("1")),
    }[kind]()
    read = read_photo(path).image
    assert read.shape == (48, 64, 3)
    expected = {"grey16": (76, 76, 76), "bits": (255, 255, 255)}.get(kind, (255, 0, 0))
    assert np.abs(read[24, 8].astype(int) - expected).max() < 6
    assert read[24, 56].max() < 6


def test_what_is_transparent_is_white_and_not_what_hides_below(tmp_path: Path) -> None:
    image = Image.fromarray(RED_LEFT).convert("RGBA")
    image.putalpha(0)
    assert (read_photo(save(tmp_path / "x.png", image)).image == 255).all()


def test_a_turned_photo_stands_upright(tmp_path: Path) -> None:
    lying = Image.fromarray(RED_LEFT).transpose(Image.Transpose.ROTATE_90)
    read = read_photo(save(tmp_path / "x.jpg", lying, exif=exif(orientation=6), quality=95))
    assert read.image.shape == (48, 64, 3)
    assert read.image[24, 8, 0] > 200 > read.image[24, 56, 0]


def test_the_focal_length_comes_from_fov_then_exif_then_nyu(tmp_path: Path) -> None:
    image = Image.fromarray(RED_LEFT)
    # 43.27 mm is the diagonal of the film, so an equivalent of as many millimetres is a diagonal of pixels: 80.
    with_exif = save(tmp_path / "x.jpg", image, exif=exif(equivalent_mm=43))
    photo = read_photo(with_exif)
    assert photo.focal_from == "EXIF"
    assert photo.camera.fx_px == pytest.approx(80 * 43 / math.hypot(36, 24))
    assert read_photo(with_exif, fov_deg=90).camera.fx_px == pytest.approx(32)
    plain = read_photo(save(tmp_path / "y.jpg", image))
    assert plain.focal_from == "assumed"
    assert plain.camera.fx_px == pytest.approx(64 * NYU_INTRINSICS.fx_px / 640)
    # 5 mm on a sensor of 4 px per mm (10 per 2.5 mm): 20 px.
    by_plane = save(tmp_path / "z.jpg", image, exif=exif(focal_mm=5.0, per_unit=40.0, unit=3))
    assert read_photo(by_plane).camera.fx_px == pytest.approx(20)
    nonsense = save(tmp_path / "n.jpg", image, exif=exif(focal_mm=5.0, per_unit=40.0, unit=9))
    assert read_photo(nonsense).focal_from == "assumed"


def test_what_is_no_photo_costs_one_line(tmp_path: Path) -> None:
    whole = save(tmp_path / "x.jpg", Image.fromarray(RED_LEFT)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "zero.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    save(tmp_path / "one.png", Image.new("RGB", (1, 1)))
    save(tmp_path / "float.tif", Image.fromarray(np.zeros((32, 32), np.float32)))
    Image.fromarray(RED_LEFT).save(tmp_path / "program.jpg", format="EPS")
    for name, message in {
        "program.jpg": "are no image",  # Pillow would start Ghostscript
        "cut.jpg": "damaged or unreadable",
        "zero.jpg": "got 0 bytes that are no image",
        "text.jpg": "got 5 bytes that are no image",
        "one.png": "got 1x1 px, expected at least 16",
        "float.tif": "floating-point pixels",
        "none.jpg": "no such file",
    }.items():
        with pytest.raises(UserError, match=message):
            read_photo(tmp_path / name)


def test_a_photo_of_108_megapixels_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = save(tmp_path / "x.png", Image.new("L", (12000, 9000), 90), compress_level=1)
    photo = read_photo(path)
    assert photo.image.shape == (9000, 12000, 3)
    assert view(photo).image.shape == (224, 224, 3)
    assert not recwarn.list
    save(path, Image.new("1", (20000, 10000)))
    with pytest.raises(UserError, match="decompression bomb"):
        read_photo(path)


def seen(width: int, height: int, **camera: float) -> tuple[tuple[int, ...], float]:
    as_seen = view(make_photo(np.zeros((height, width, 3), np.uint8), **camera))
    return as_seen.image.shape[:2], as_seen.scale


def test_nyus_own_frames_are_seen_as_in_training() -> None:
    shape, scale = seen(640, 480)
    assert shape == (224, 224)
    assert scale == pytest.approx(1, abs=1e-3)


def test_an_angle_covers_as_many_pixels_whatever_the_photo() -> None:
    # Half of NYU's width, and of its height, through NYU's lens.
    assert seen(320, 240, focal_px=NYU_INTRINSICS.fx_px)[0] == (128, 128)
    # The same frame in twice the pixels.
    assert seen(1280, 960, focal_px=2 * NYU_INTRINSICS.fx_px)[0] == (224, 224)
    upright, _ = seen(480, 640, focal_px=NYU_INTRINSICS.fx_px)
    assert upright == (288, 160)


def test_what_the_size_cannot_give_is_left_to_the_scale() -> None:
    # A quarter of NYU's field would be 56 px; the least side is 96, so things look 96 / 56 too near.
    shape, scale = seen(160, 120, focal_px=NYU_INTRINSICS.fx_px)
    assert shape == (96, 96)
    assert scale == pytest.approx(96 / 56, rel=1e-2)
    # A long lens, twice the side in pixels: seen at 96 px instead of 28.
    assert seen(640, 480, focal_px=8 * NYU_INTRINSICS.fx_px)[1] == pytest.approx(96 / 28, rel=1e-2)
    # Nothing grows beyond twice the training size.
    shape, scale = seen(640, 480, focal_px=NYU_INTRINSICS.fx_px / 4)
    assert max(shape) == 448
    assert scale == pytest.approx(0.5, rel=1e-2)
    assert min(seen(5000, 40)[0]) >= 32


def test_a_shrunk_photo_sees_the_same_angle() -> None:
    photo = make_photo(RED_LEFT, fov_deg=90)
    small = shrink_photo(photo, 16)
    assert small.image.shape == (12, 16, 3)
    assert small.image[6, 3, 0] == 255 > small.image[6, 12, 0]
    assert small.camera.fx_px == pytest.approx(8)
    assert (small.camera.cx_px, small.camera.cy_px) == (7.5, 5.5)
    assert shrink_photo(photo, 64) is photo
    assert shrink_photo(make_photo(np.zeros((16, 5000, 3), np.uint8)), 100).image.shape == (1, 100, 3)
