from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.conventions import UserError
from src.data.frame import read_depth, read_rgb, shrink_depth, shrink_image


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
