"""One frame: a photo and its depth in metres, read by what each file itself says."""

from __future__ import annotations

import contextlib
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from src.conventions import UserError

Image.init()
FORMATS = sorted({"AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"} & Image.OPEN.keys())
"""What is opened. Pillow knows more, among them EPS, for which it would start Ghostscript on a stranger's file."""


LONGEST_SIDE_PX = 65_535
"""JPEG's own limit. A few kilobytes of PNG can hold a line of 10^8 pixels, whose resizing would take gigabytes."""


class Refused(UserError):
    """A file that must not be read at all, such as one outside of the data root: never skipped, it ends the run."""


def open_image(path: Path) -> Image.Image:
    """Decode an image file whole, or say by name why it cannot be.

    **Raises**: UserError when the file is missing, empty, truncated, no image, or larger than a photo can be.
    """
    with _blame(path):
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # opening a named pipe would wait for ever
            raise UserError(f"{path}: got a folder or a device, expected an image file. Check the path or the csv row.")
        try:
            with Image.open(path, formats=FORMATS) as image:
                if max(image.size) > LONGEST_SIDE_PX:
                    width, height = image.size
                    raise UserError(
                        f"{path}: got {width}x{height} px, expected no side above {LONGEST_SIDE_PX}. Cut or shrink it."
                    )
                image.load()
                return image
        except UnidentifiedImageError:
            raise UserError(f"{path}: got {facts.st_size} bytes that are no image. Replace the file.") from None


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8, upright whatever its EXIF orientation.

    **Raises**: UserError when it cannot be decoded or has no colours to show.
    """
    return to_rgb(open_image(path), path)


def to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Bring any mode to upright 8-bit RGB: 16 bits scaled, not clipped; transparency laid on white; first of several.

    **Raises**: UserError for floating-point pixels, whose range nobody knows, and for EXIF that cannot be read.
    """
    if image.mode == "F":
        raise UserError(f"{path}: got floating-point pixels, expected a photo of 8 or 16 bits. Convert it first.")
    with _blame(path):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            grey = (np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def read_depth(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read a depth image as it is stored, and how many bits a pixel has (8, 16 or 32).

    Pillow opens a 16-bit PNG as `I;16` or `I` depending on its version, and converting either
    to `L` clips at 255; so the values are taken as they are, and the file's own header is asked.

    **Raises**: UserError when the image has colours instead of one depth per pixel.
    """
    image = open_image(path)
    bits = {"L": 8, "I;16": 16, "I;16B": 16, "I": 16, "F": 32}.get(image.mode)
    if bits is None:
        raise UserError(
            f"{path}: got an image of mode {image.mode}, expected one depth per pixel "
            "(8-bit or 16-bit grey PNG, or 32-bit float TIFF). Export the depth itself, not a picture of it."
        )
    return np.asarray(image).astype(np.float32), bits


def shrink_image(image: NDArray[np.uint8], width_px: int, height_px: int | None = None) -> NDArray[np.uint8]:
    """Resize a photo, antialiased: (H, W, 3) -> (height_px, width_px, 3) uint8, a square if no height is given."""
    size = width_px, height_px or width_px
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def shrink_depth(depth_m: NDArray[np.float32], valid: NDArray[np.bool_], size_px: int) -> NDArray[np.float32]:
    """Resize depth to a square as the photo is resized, from valid pixels only.

    **Shape**: (H, W), (H, W) -> (size_px, size_px).
    **Units**: metres; 0 where less than half of the weight falls on valid pixels.
    """
    stack = torch.from_numpy(np.stack([np.where(valid, depth_m, 0), valid]).astype(np.float32))
    total, share = F.interpolate(stack[None], (size_px, size_px), mode="bilinear", antialias=True)[0].numpy()
    return np.where(share > 0.5, total / np.maximum(share, 0.5), 0).astype(np.float32)


def enlarge_depth(depth: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    """Resize a depth map to its photo's size, bilinearly: (h, w) -> (height_px, width_px)."""
    grid = torch.from_numpy(depth)[None, None]
    return F.interpolate(grid, (height_px, width_px), mode="bilinear", align_corners=False)[0, 0].numpy()


@contextlib.contextmanager
def _blame(path: Path) -> Iterator[None]:
    """Name the file that Pillow fails on. Its readers raise whatever a stranger's bytes lead them to."""
    try:
        with warnings.catch_warnings():
            # Of broken EXIF, and of 108 megapixels, which phones have; twice as many Pillow refuses as a bomb.
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: got no such file, expected an image. Check the path or the csv row.") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: got a damaged or unreadable image ({reason}). Replace the file.") from None
