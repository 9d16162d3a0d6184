"""Reading photos and depth, and resizing them."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import exif
from PIL import Image

from src.conventions import NYU_INTRINSICS, UserError
from src.data import images, photos
from src.data.frame import common_size, place, shrink_depth, shrink_image
from src.data.images import LONGEST_SIDE_PX, open_image, read_array, read_depth, to_rgb
from src.data.photos import find_inputs, make_photo, read_photo, shrink_photo


def read_rgb(path: Path) -> np.ndarray:
    return to_rgb(open_image(path), path)


RED_LEFT = np.zeros((48, 64, 3), np.uint8)
RED_LEFT[:, :32, 0] = 255


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "bits", "stored"),
    [
        ("x.png", 16, np.array([[0, 255, 256], [1234, 9999, 65535]], np.uint16)),  # convert("L") would clip at 255
        ("x.png", 8, np.array([[0, 1, 255]], np.uint8)),
        ("x.tiff", 32, np.array([[2.5, np.inf]], np.float32)),
    ],
)
def test_stored_depth_is_read_unchanged(tmp_path: Path, name: str, bits: int, stored: np.ndarray) -> None:
    values, read_bits = read_depth(save(tmp_path / name, Image.fromarray(stored)))
    assert read_bits == bits
    np.testing.assert_array_equal(values, stored)


@pytest.mark.parametrize(("maximum", "bits"), [(200, 8), (255, 8), (9999, 16), (65535, 16)])
def test_a_pgm_of_any_maximum_is_read_unchanged(tmp_path: Path, maximum: int, bits: int) -> None:
    stored = np.array([[0, 1, maximum // 2], [7, 150, maximum]], f">u{bits // 8}")
    (tmp_path / "x.pgm").write_bytes(b"P5 3 2 %d\n" % maximum + stored.tobytes())
    values, read_bits = read_depth(tmp_path / "x.pgm")
    assert read_bits == bits
    np.testing.assert_array_equal(values, stored)


RED = Image.fromarray(RED_LEFT)
UPRIGHT = {"exif": exif(orientation=6), "quality": 95}


@pytest.mark.parametrize(
    ("name", "image", "options", "left", "right"),
    [
        ("x.jpg", RED, {"quality": 95}, (255, 0, 0), 0),
        ("x.jpg", RED.convert("CMYK"), {"quality": 95}, (255, 0, 0), 0),
        ("x.png", RED.convert("P"), {}, (255, 0, 0), 0),
        ("x.png", Image.fromarray(np.asarray(RED.convert("L")).astype(np.uint16) * 257), {}, 76, 0),
        ("x.tif", Image.fromarray(np.asarray(RED.convert("L")).astype(np.int32)), {}, 76, 0),
        ("x.png", Image.fromarray(RED_LEFT[..., 0].astype(np.uint16) * 16), {}, 255, 0),  # a sensor of 12 bits
        ("x.png", Image.fromarray(np.dstack([RED_LEFT, RED_LEFT[..., 0]])), {}, (255, 0, 0), 255),  # transparent black
        ("x.gif", RED, {"save_all": True, "append_images": [Image.new("RGB", RED.size, "blue")]}, (255, 0, 0), 0),
        ("x.png", RED.convert("L").point(lambda v: 255 * (v > 9)).convert("1"), {}, 255, 0),
        ("x.jpg", RED.transpose(Image.Transpose.ROTATE_90), UPRIGHT, (255, 0, 0), 0),
    ],
)
def test_every_mode_becomes_upright_rgb(
    tmp_path: Path, name: str, image: Image.Image, options: dict[str, object], left: object, right: int
) -> None:
    pixels = read_photo(save(tmp_path / name, image, **options)).image
    assert pixels.shape == (48, 64, 3)
    for column, expected in ((8, left), (56, right)):
        assert np.abs(pixels[24, column].astype(int) - expected).max() < 6


def test_unusable_photos_are_named_in_one_line(tmp_path: Path) -> None:
    image = Image.fromarray(RED_LEFT)
    content = save(tmp_path / "x.jpg", image).read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "no-pixels.ppm").write_bytes(b"P5 0 4 255\n")
    save(tmp_path / "tiny.png", Image.new("RGB", (1, 1)))
    save(tmp_path / "float.tif", Image.fromarray(np.zeros((32, 32), np.float32)))
    save(tmp_path / "program.jpg", image, format="EPS")  # for which Pillow would run Ghostscript
    os.mkfifo(tmp_path / "pipe.png")  # reading it would block
    for name, reason in {
        "program.jpg": "no image",
        "truncated.jpg": "damaged",
        "empty.jpg": "got 0 bytes",
        "text.jpg": "got 5 bytes",
        "no-pixels.ppm": "got",
        "tiny.png": "1x1",
        "float.tif": "floating-point",
        "none.jpg": "no such file",
        "pipe.png": "device",
        ".": "folder",
    }.items():
        with pytest.raises(UserError, match=f"{name}: .*{reason}") as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_only_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = tmp_path / "x.jpg"
    damaged = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0"
    assert read_rgb(save(path, Image.new("L", (50, 30)), exif=damaged)).shape == (30, 50, 3)
    save(path, Image.new("L", (50, 50)))
    for read in (read_rgb, read_depth):
        with pytest.raises(UserError, match=r"x\.jpg: .*2500 pixels.*decompression bomb"):
            read(path)
    with pytest.raises(UserError, match="Resize the photo"):
        open_image(path)


def test_a_row_of_pixels_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    image = read_rgb(save(path, Image.new("L", (LONGEST_SIDE_PX, 1))))
    assert shrink_image(image, 8).shape == (8, 8, 3)
    with pytest.raises(UserError, match="1x65536"):
        read_rgb(save(path, Image.new("L", (1, LONGEST_SIDE_PX + 1))))


def test_arrays_are_read_in_any_order(tmp_path: Path) -> None:
    for order in "CF":
        np.save(tmp_path / "x.npy", np.asarray(RED_LEFT, order=order))
        np.testing.assert_array_equal(read_photo(tmp_path / "x.npy").image, RED_LEFT)
    stored = np.arange(6, dtype=">f4").reshape(2, 3)
    np.save(tmp_path / "x.npy", stored)
    assert read_array(tmp_path / "x.npy").dtype == np.float32
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), stored)


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "reason"),
    [
        ((48, 64), "<f4", 48 * 64 * 4, r"got an array \(48, 64\) of float32, expected a photo: \(H, W, 3\) uint8"),
        ((3, 48, 64), "|u1", 3 * 48 * 64, r"got an array \(3, 48, 64\) of uint8"),
        ((0, 64, 3), "|u1", 0, "got an array"),
        ((1, 65536, 3), "|u1", 65536 * 3, "65536x1 px"),
        ((48, 64, 3), "|u1", 99, "greater than file"),
        ((10**6, 10**6, 3), "|u1", 99, "greater than file"),  # 3 TB
        ((2**32, 2**32), "|u1", 99, "too big"),  # its number of elements overflows to 0
        ((40000, 60000, 3), "|u1", 7_200_000_000, "got 7.2 GB"),  # a sparse file
        ((2,), "|O", 99, "objects"),
    ],
)
def test_unusable_arrays_are_named(tmp_path: Path, shape: tuple[int, ...], dtype: str, size: int, reason: str) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + size)
    with pytest.raises(UserError, match=rf"x\.npy: .*{reason}") as caught:
        read_photo(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


def test_heic_is_read_if_its_package_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    for name in ("x.heic", "x.jpg"):  # messengers rename them
        save(tmp_path / name, Image.fromarray(RED_LEFT), format="HEIF", quality=95)
        assert np.abs(read_photo(tmp_path / name).image.astype(int) - RED_LEFT).mean() < 6
    assert find_inputs([str(tmp_path)]) == [tmp_path / "x.heic", tmp_path / "x.jpg"]


@pytest.mark.parametrize(
    ("brand", "package"), [(b"heic", "pillow-heif"), (b"mif1", "pillow-heif"), (b"avif", "pillow>=11")]
)
def test_a_needed_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brand: bytes, package: str) -> None:
    monkeypatch.setattr(images, "FORMATS", ["JPEG"])
    (tmp_path / "x.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(99))
    with pytest.raises(UserError, match=rf"x\.jpg: .*{brand.decode().upper()}.*pip install '?{package}"):
        read_photo(tmp_path / "x.jpg")


def test_inputs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(photos, "PHOTO_SUFFIXES", photos.PHOTO_SUFFIXES - photos.HEIF_SUFFIXES)
    (tmp_path / "empty").mkdir()
    (tmp_path / "phone").mkdir()
    for name in ("b.jpg", "a.PNG", "film.mp4", "notes.txt", "README", "x_depth.npy", ".hidden.jpg", "phone/1.HEIC"):
        (tmp_path / name).touch()
    found = find_inputs([".", "*.jpg", "0", "notes.txt"])
    assert found == [Path("a.PNG"), Path("b.jpg"), Path("film.mp4"), "0", Path("notes.txt")]
    assert capsys.readouterr().err == ".: skipped 1 without suffix, 1 .txt, 1 .npy\n"
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.jpg").touch()
    assert find_inputs(["mor*"]) == [Path("more/c.jpg")]
    (tmp_path / "7").touch()
    assert find_inputs(["7"]) == [Path("7")]  # a file of that name, not the webcam
    refused = {"empty": "no files", "no-*.jpg": "no match", "phone": "1 .heic (pip install pillow-heif)"}
    for word, reason in refused.items():
        with pytest.raises(UserError, match=re.escape(word) + ".*" + re.escape(reason)):
            find_inputs([word])


def test_the_focal_length_comes_from_fov_then_exif_then_nyu(tmp_path: Path) -> None:
    image, plane = Image.fromarray(RED_LEFT), {"focal_mm": 5.0, "per_unit": 40.0, "unit": 3}
    # A 35 mm equivalent of 43.27 mm, the diagonal of the film, is the photo's diagonal: 80 px.
    with_exif = save(tmp_path / "x.jpg", image, exif=exif(equivalent_mm=43))
    photo = read_photo(with_exif)
    assert photo.focal_from == "EXIF"
    assert photo.camera.fx_px == pytest.approx(80 * 43 / math.hypot(36, 24))
    assert read_photo(with_exif, fov_deg=90).camera.fx_px == pytest.approx(32)
    # 5 mm on a sensor of 4 px per mm (40 per cm): 20 px.
    by_plane = save(tmp_path / "x.jpg", image, exif=exif(**plane))
    assert read_photo(by_plane).camera.fx_px == pytest.approx(20)
    for tags in (
        {},
        {"equivalent_mm": 65535},
        {**plane, "unit": 9},
        {**plane, "focal_mm": -5.0},
        {**plane, "per_unit": 1e5},
    ):
        photo = read_photo(save(tmp_path / "x.jpg", image, exif=exif(**tags)))
        assert photo.focal_from == "assumed"
        assert photo.camera.fx_px == pytest.approx(64 * NYU_INTRINSICS.fx_px / 640)
    pages = {"save_all": True, "append_images": [image], "exif": exif(equivalent_mm=43).tobytes()}
    assert read_photo(save(tmp_path / "x.tif", image, **pages)).focal_from == "EXIF"


@pytest.mark.parametrize(
    ("size", "tags", "share"),
    [
        ((64, 48), {"width": 64, "height": 48}, 1),
        ((48, 64), {"width": 64, "height": 48}, 1),  # turned by a tool that kept the tags
        ((64, 48), {"width": 64, "height": 48, "orientation": 6}, 1),  # not turned yet
        ((48, 64), {"width": 48, "height": 64, "orientation": 8}, 1),
        ((24, 32), {"width": 64, "height": 48}, 1 / 2),  # turned and resized
        ((32, 24), {"width": 64, "height": 48}, 1 / 2),
        ((48, 64), {"width": 48}, 1),
        ((32, 24), {"width": 64}, 1 / 2),
        ((64, 48), {"width": 0, "height": 0}, 1),
    ],
)
def test_the_focal_length_follows_pixels_that_were_turned_or_resized(
    tmp_path: Path, size: tuple[int, int], tags: dict[str, int], share: float
) -> None:
    path = tmp_path / "x.jpg"
    save(path, Image.new("RGB", size), exif=exif(focal_mm=5.0, per_unit=100.0, unit=3, **tags))
    photo = read_photo(path)
    assert (photo.focal_from, photo.camera.fx_px) == ("EXIF", pytest.approx(50 * share))


@pytest.mark.parametrize(
    ("size", "focal", "shape", "scale"),
    [
        ((640, 480), None, (224, 224), 1),
        ((320, 240), 1, (128, 128), 8 / 7),  # half of NYU: 112 px, rounded to 128
        ((640, 480), 1.69, (160, 160), 160 / 132.5),  # 132 px, 157 after 0.3 of the way to 224
        ((1280, 960), 2, (224, 224), 1),  # NYU's frame in twice the pixels
        ((480, 640), 1, (288, 160), None),
        ((160, 120), 1, (96, 96), 96 / 56),  # too small: seen too near
        ((640, 480), 8, (96, 96), 96 / 28),
        ((640, 480), 1 / 4, (448, 448), 1 / 2),  # too large
        ((5000, 40), None, (32, 448), None),
    ],
)
def test_an_angle_covers_as_many_pixels_as_in_training(
    size: tuple[int, int], focal: float | None, shape: tuple[int, int], scale: float | None
) -> None:
    photo = make_photo(np.zeros((*size[::-1], 3), np.uint8), focal_px=focal and focal * NYU_INTRINSICS.fx_px)
    placement = place(photo.camera)
    assert (placement.height_px, placement.width_px) == shape
    assert scale is None or placement.scale == pytest.approx(scale, rel=1e-2)


@pytest.mark.parametrize(
    ("size", "fov_deg", "used", "scale"),
    [
        ((640, 480), 57, (640, 480), 1.12),  # narrower: enlarged
        ((480, 640), 63, (480, 360), 1.33),  # portrait: the middle
        ((640, 480), 80, (498, 373), 0.94),  # wider: the middle
        ((640, 360), 63, (480, 360), 1.33),
    ],
)
def test_other_cameras_are_cropped(size: tuple[int, int], fov_deg: float, used: tuple[int, int], scale: float) -> None:
    camera = make_photo(np.zeros((*size[::-1], 3), np.uint8), fov_deg=fov_deg).camera
    placement = place(camera, (224, 224))
    parts = placement.columns, placement.rows
    assert [part.stop - part.start for part in parts] == pytest.approx(used, abs=30)
    assert [part.start + part.stop for part in parts] == pytest.approx(size, abs=1)
    assert placement.scale == pytest.approx(scale, abs=0.05)
    # A flat wall covers as many pixels a metre as the training camera shows of a wall at the depth to learn.
    expected = NYU_INTRINSICS.resized(224, 224).fx_px * placement.scale
    assert 224 / used[0] * camera.fx_px == pytest.approx(expected, rel=0.1)


def test_common_size_is_the_median_and_nyus_is_square() -> None:
    assert common_size([NYU_INTRINSICS]) == (224, 224)
    cameras = [make_photo(np.zeros((480, 640, 3), np.uint8), fov_deg=angle).camera for angle in (35, 35, 63)]
    assert common_size(cameras) == (128, 128)


def test_a_shrunk_photo_keeps_its_angle_of_view() -> None:
    photo = make_photo(RED_LEFT, fov_deg=90)
    small = shrink_photo(photo, 32)
    assert small.image.shape == (24, 32, 3)
    assert small.image[12, 6, 0] == 255 > small.image[12, 24, 0]
    assert (small.camera.fx_px, small.camera.cx_px, small.camera.cy_px) == pytest.approx((16, 15.5, 11.5))
    assert shrink_photo(photo, 64) is photo
    assert shrink_photo(make_photo(np.zeros((32, 5000, 3), np.uint8)), 100).image.shape == (16, 2500, 3)


def test_photo_and_depth_shrink_alike() -> None:
    ramp = np.linspace(20, 220, 128, dtype=np.float32)[None].repeat(96, axis=0)
    image = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    small = shrink_depth(ramp, np.ones_like(ramp, dtype=bool), 16)
    np.testing.assert_allclose(small, shrink_image(image, 16)[..., 0], atol=1.5)


def test_depth_is_shrunk_over_its_valid_pixels_alone() -> None:
    depth_m = np.full((96, 128), 4.0, np.float32)
    valid = np.ones_like(depth_m, dtype=bool)
    depth_m[:, :64], valid[:, :64] = 900, False
    small = shrink_depth(depth_m, valid, 8)
    np.testing.assert_allclose(small, np.repeat([[0.0, 4.0]], 4, axis=1).repeat(8, axis=0), rtol=1e-5)
    sparse = np.random.default_rng(0).random((96, 128)) < 0.02
    small = shrink_depth(np.full((96, 128), 3.0, np.float32), sparse, 16)
    assert (small > 0).mean() > 0.9
    np.testing.assert_allclose(small[small > 0], 3, rtol=1e-5)
