import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.conventions import UserError
from src.data.frame import LONGEST_SIDE_PX, read_depth, read_rgb, shrink_depth, shrink_image

READERS = [read_rgb, read_depth]


def test_sixteen_bits_survive(tmp_path: Path) -> None:
    stored = np.array([[0, 255, 256], [1234, 9999, 65535]], dtype=np.uint16)  # convert("L") would clip at 255
    Image.fromarray(stored).save(tmp_path / "depth.png")
    values, bits = read_depth(tmp_path / "depth.png")
    assert bits == 16
    np.testing.assert_array_equal(values, stored)


def test_eight_bits_and_floats_are_told_apart(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 200, np.uint8)).save(tmp_path / "depth.png")
    Image.fromarray(np.full((2, 2), 2.5, np.float32)).save(tmp_path / "depth.tiff")
    assert read_depth(tmp_path / "depth.png")[1] == 8
    values, bits = read_depth(tmp_path / "depth.tiff")
    assert (bits, values[0, 0]) == (32, 2.5)


def test_a_picture_of_depth_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    with pytest.raises(UserError, match=r"colours\.png: got an image of mode RGB, expected one depth per pixel"):
        read_depth(tmp_path / "colours.png")


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
def test_an_unreadable_image_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "photo.jpg"
    if damage != "missing":
        Image.effect_noise((64, 64), 50).save(path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"not an image", "truncated": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UserError, match=r"photo\.jpg: got ") as caught:
        read_rgb(path)
    assert "\n" not in str(caught.value)


def test_a_photo_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_rgb(tmp_path / "turned.jpg").shape == (40, 20, 3)


def write_black_png(path: Path, width: int, height: int, bits: int = 1) -> None:
    """Write a whole PNG a row at a time: 30,000 x 30,000 pixels are 100 kB of file."""
    squeeze = zlib.compressobj(1)
    row = bytes(1 + -(-width * bits // 8))
    pixels = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
        for chunk in (b"IHDR" + header, b"IDAT" + pixels, b"IEND"):
            file.write(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)))


@pytest.mark.parametrize("read", READERS)
def test_a_decompression_bomb_is_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    write_black_png(tmp_path / "bomb.png", 30_000, 30_000)
    assert (tmp_path / "bomb.png").stat().st_size < 1_000_000
    with pytest.raises(UserError, match=r"bomb\.png: .*900000000 pixels.*decompression bomb"):
        read(tmp_path / "bomb.png")


def test_a_line_of_pixels_is_refused_where_it_is_too_long_for_a_photo(tmp_path: Path) -> None:
    for width, height in ((LONGEST_SIDE_PX, 1), (1, LONGEST_SIDE_PX)):
        write_black_png(tmp_path / "line.png", width, height, bits=8)
        image, (depth, _) = read_rgb(tmp_path / "line.png"), read_depth(tmp_path / "line.png")
        assert shrink_image(image, 8).shape == (8, 8, 3)
        assert shrink_depth(depth, depth == 0, 8).shape == (8, 8)
    write_black_png(tmp_path / "line.png", 1, LONGEST_SIDE_PX + 1)
    with pytest.raises(UserError, match=r"line\.png: got 1x65536 px, expected no side above 65535"):
        read_rgb(tmp_path / "line.png")


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.ppm").write_bytes(b"P5 0 4 255\n")
    for read in READERS:
        with pytest.raises(UserError, match=r"none\.ppm: got "):
            read(tmp_path / "none.ppm")


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    for path in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(UserError, match="got a folder or a device"):
            read_rgb(path)


@pytest.mark.parametrize("error", [struct.error("x"), IndexError(), zlib.error("a\nb"), TypeError("x"), MemoryError()])
def test_whatever_pillow_raises_is_one_line_with_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    for place in ("PIL.Image.open", "PIL.ImageOps.exif_transpose"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            with pytest.raises(UserError, match=r"x\.png: got a damaged or unreadable image \(\S") as caught:
                read_rgb(tmp_path / "x.png")
            assert "\n" not in str(caught.value)


def test_broken_exif_does_not_talk(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")
    assert read_rgb(tmp_path / "x.jpg").shape == (4, 4, 3)
    assert not recwarn.list


def test_shrinking_does_not_blend_invalid_depth_into_valid() -> None:
    depth_m = np.full((96, 128), 4.0, np.float32)
    valid = np.ones_like(depth_m, dtype=bool)
    depth_m[:, :64], valid[:, :64] = 900, False
    small = shrink_depth(depth_m, valid, 8)
    assert set(np.unique(small.round(4))) == {0.0, 4.0}
    assert (small[:, 4:] > 0).all()
    assert (small[:, :4] == 0).all()


def test_photo_and_depth_shrink_alike() -> None:
    ramp = np.linspace(20, 220, 128, dtype=np.float32)[None].repeat(96, axis=0)
    image = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    small = shrink_depth(ramp, np.ones_like(ramp, dtype=bool), 16)
    np.testing.assert_allclose(small, shrink_image(image, 16)[..., 0], atol=1.5)
