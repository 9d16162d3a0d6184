"""Image files: photos as RGB, depth as the stored numbers."""

import contextlib
import math
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from src.conventions import UserError

with contextlib.suppress(ImportError):  # not required
    from pillow_heif import register_heif_opener

    register_heif_opener()
Image.init()
FORMATS = sorted({"AVIF", "BMP", "GIF", "HEIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"} & Image.OPEN.keys())
"""Formats that are opened. Pillow supports more, among them EPS, for which it would run Ghostscript."""

READERS = dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "pillow-heif")
READERS |= {b"avif": "'pillow>=11.3'", b"avis": "'pillow>=11.3'"}
"""Package that reads a file by its brand: the bytes behind `ftyp` (ISO/IEC 14496-12; 23008-12, annex B)."""

LONGEST_SIDE_PX = 65_535
"""JPEG's limit. A PNG of a few kilobytes can hold a row of 10^8 pixels, whose resizing would take gigabytes."""

LARGEST_ARRAY_BYTES = 2**30  # of an .npy file: 134 megapixels in float64

SENSOR_BITS = (8, 10, 12, 14, 16)
"""What a grey photo of more than 8 bits a pixel may really have: the fewest that hold its brightest pixel."""

DEPTH_BITS = {"L": 8, "I;16": 16, "I;16B": 16, "I": 16, "F": 32}
"""Bits per pixel by Pillow's mode. A 16-bit PNG opens as `I;16` or `I`, depending on Pillow's version."""


def open_image(path: Path) -> Image.Image:
    """Decode a whole image file.

    **Raises**: UserError when the file is missing, empty, truncated, not an image, or larger than a photo can be.
    """
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise UserError(
                f"{path}: got an array {array.shape} of {array.dtype}, expected a photo: (H, W, 3) uint8 RGB."
            )
        return Image.fromarray(array)
    with _name_in_errors(path):
        _require_file(path)
        with Image.open(path, formats=FORMATS) as image:
            _require_sides(path, *image.size)
            if image.format == "PPM":  # whose values Pillow scales by the file's own maximum
                image.info["maximum"] = (image.tile[0][3] or [None])[-1]
            image.load()
            if image.format == "TIFF":  # whose EXIF Pillow reads late: with several pages, from the closed file
                with contextlib.suppress(Exception):  # damaged EXIF
                    image.getexif().get_ifd(ExifTags.IFD.Exif)
            return image


def read_array(path: Path) -> NDArray[Any]:
    """Read an array of numbers from an .npy file.

    **Raises**: UserError when the file is missing, damaged, no .npy file, holds objects, or is larger than a photo.
    """
    with _name_in_errors(path):
        _require_file(path)
        if (size := path.stat().st_size) > LARGEST_ARRAY_BYTES:
            raise UserError(f"{path}: got {size / 1e9:.1f} GB, expected at most {LARGEST_ARRAY_BYTES / 1e9:.1f} GB.")
        array = np.lib.format.open_memmap(path, "r")  # unlike np.load, checks the header's shape against the file
        _require_sides(path, *array.shape[1::-1])
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Convert any mode to 8-bit RGB, upright by EXIF: `SENSOR_BITS` are scaled to 8, transparency becomes white.

    **Raises**: UserError for floating-point pixels, whose range is unknown, and for damaged EXIF.
    """
    if image.mode == "F":
        raise UserError(f"{path}: got floating-point pixels, expected a photo of 8 or 16 bits. Convert it first.")
    with _name_in_errors(path):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            values = np.asarray(image).clip(0, 65535).astype(np.uint32)
            largest = 2 ** next(bits for bits in SENSOR_BITS if values.max() < 2**bits) - 1
            return np.repeat((values * 255 // largest).astype(np.uint8)[..., None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def read_depth(path: Path, photo: Image.Image | None = None) -> tuple[NDArray[np.float32], int]:
    """Read the stored values of a depth file and its bits per pixel (8, 16 or 32); no mode is converted.

    They are turned upright by the file's own EXIF, else as its `photo` is, where both have the sensor's grid.

    **Raises**: UserError when the file has colours instead of one depth per pixel.
    """
    if path.suffix.lower() == ".npy":
        stored, turn = read_array(path), 1
        stored = stored[..., 0] if stored.ndim == 3 and stored.shape[2] == 1 else stored
        bits = {"f": 32, "u": min(8 * stored.itemsize, 16), "i": 16}.get(stored.dtype.kind)
        got = f"an array {stored.shape} of {stored.dtype}"
    else:
        image = open_image(path)
        stored, turn = np.asarray(image), image.getexif().get(ExifTags.Base.Orientation, 1)
        bits, got = DEPTH_BITS.get(image.mode), f"an image of mode {image.mode}"
        if isinstance(maximum := image.info.get("maximum"), int) and bits in (8, 16):
            stored = np.rint(stored * (maximum / (2**bits - 1)))
    if bits is None or stored.ndim != 2 or not stored.size:
        raise UserError(
            f"{path}: got {got}, expected one depth per pixel (8-bit or 16-bit grey PNG, 32-bit float TIFF, or .npy "
            "of shape (H, W)). Export the depth itself, not a picture of it."
        )
    with np.errstate(all="ignore"):  # float64 may exceed float32
        stored = stored.astype(np.float32)
    if photo and turn == 1 and has_aspect(stored.shape, photo.size[::-1]):
        turn = photo.getexif().get(ExifTags.Base.Orientation, 1)
    if turn != 1:
        image = Image.fromarray(stored)
        image.getexif()[ExifTags.Base.Orientation] = turn
        stored = np.asarray(ImageOps.exif_transpose(image))
    return stored, bits


def has_aspect(size_px: tuple[int, ...], other_px: tuple[int, ...]) -> bool:
    """Tell whether two sizes have the same aspect, but for two pixels of the smaller: ScanNet's are 1.98 apart."""
    (h, w), (height, width) = sorted((size_px, other_px), key=math.prod)
    return abs(w * height - h * width) <= 2 * max(height, width)


def _require_file(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would block
        raise UserError(f"{path}: got a folder or a device, expected an image file. Check the path or the csv row.")


def _require_sides(path: Path, *sides_px: int) -> None:
    if max(sides_px, default=0) > LONGEST_SIDE_PX:
        size = "x".join(map(str, sides_px))
        raise UserError(f"{path}: got {size} px, expected no side above {LONGEST_SIDE_PX}. Crop or resize it.")


@contextlib.contextmanager
def _name_in_errors(path: Path) -> Iterator[None]:
    """Turn any error of Pillow's decoders, which raise many classes for damaged files, into one that names the file."""
    try:
        with warnings.catch_warnings():
            # Damaged EXIF, and more than 89 megapixels, which phones have; Pillow refuses twice as many as a bomb.
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: got no such file, expected an image. Check the path or the csv row.") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())} Resize the photo.") from None
    except UnidentifiedImageError:
        with path.open("rb") as file:
            kind, brand = file.read(8)[4:], file.read(4)
        if kind == b"ftyp" and brand in READERS:
            package = READERS[brand]
            raise UserError(
                f"{path}: got a photo in {brand.decode().upper()}. pip install {package}, or convert it to JPEG."
            ) from None
        raise UserError(
            f"{path}: got {path.stat().st_size} bytes that are no image. Convert it to PNG, JPEG, TIFF or .npy."
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: got a damaged or unreadable image ({reason}). Replace the file.") from None
