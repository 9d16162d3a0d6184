"""Photos to predict from: found, read whatever their format, and seen through the camera that the network knows."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from src.conventions import IMAGE_SIZE_PX, NYU_INTRINSICS, Intrinsics, UserError
from src.data.frame import open_image, shrink_image, to_rgb

PHOTO_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
SMALLEST_PX = 16
"""A photo with a shorter side shows nothing that has a depth."""

STEP_PX = 32
"""The network's coarsest stride: its input has sides of whole multiples."""

SIDES_PX = (96, 448)
"""Smallest and largest side of an input: beyond twice the training size, or below half of it, the scale is lost."""

DIAGONAL_MM = math.hypot(36, 24)
"""Of the film that a "35 mm equivalent" focal length refers to (CIPA DCG-001)."""


class Photo(NamedTuple):
    """A photo, its camera, and where the focal length came from.

    **Shape**: image (H, W, 3) uint8.
    """

    image: NDArray[np.uint8]
    camera: Intrinsics
    focal_from: str


class View(NamedTuple):
    """A photo as the network takes it, and what its prediction must be multiplied by.

    **Shape**: image (h, w, 3) uint8, sides multiples of 32.
    """

    image: NDArray[np.uint8]
    scale: float


def find_inputs(words: Sequence[str]) -> list[str | Path]:
    """Expand files, folders and globs into paths, in order and each once; a webcam's index stays a word.

    **Raises**: UserError when there is nothing of that name, or no photo in the folder.
    """
    found: list[str | Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if is_photo(file) or is_video(file)]
            if not inside:
                raise UserError(f"{word}: a folder without photos or videos. Expected files like .jpg, .png or .mp4.")
            found += inside
        elif path.exists():
            found.append(path)
        elif word.isdecimal():
            found.append(word)
        elif matches := sorted(glob.glob(word, recursive=True)):
            found += [Path(match) for match in matches if Path(match).is_file()]
        else:
            raise UserError(
                f"{word}: got no such file or folder, and no match. Expected photos, videos or a webcam's number."
            )
    return list(dict.fromkeys(found))


def is_photo(path: Path) -> bool:
    """Tell a photo by its name."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def is_video(path: Path) -> bool:
    """Tell a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_photo(path: Path, *, fov_deg: float | None = None) -> Photo:
    """Read a photo of any size, mode and EXIF orientation, with its focal length.

    `fov_deg` is the angle of view along the longer side; it wins over EXIF.

    **Raises**: UserError when the file is no photo, is damaged, or is too small to show anything.
    """
    return to_photo(open_image(path), str(path), fov_deg=fov_deg)


def to_photo(file: Image.Image, name: str, *, fov_deg: float | None = None) -> Photo:
    """Turn an image as Pillow opened it into an upright photo with its focal length; `name` is for messages.

    **Raises**: UserError when its pixels are no photo's, or too few to show anything.
    """
    focal_px = None if fov_deg else read_focal_px(file)
    image = to_rgb(file, Path(name))
    height, width = image.shape[:2]
    if min(width, height) < SMALLEST_PX:
        raise UserError(f"{name}: got {width}x{height} px, expected at least {SMALLEST_PX} px a side.")
    return make_photo(image, focal_px=focal_px, fov_deg=fov_deg)


def make_photo(image: NDArray[np.uint8], *, focal_px: float | None = None, fov_deg: float | None = None) -> Photo:
    """Give a photo its camera: by its angle of view, else its focal length, else NYU's angle along the longer side."""
    height, width = image.shape[:2]
    longer = max(width, height)
    if fov_deg:
        focal_px, origin = longer / 2 / math.tan(math.radians(fov_deg) / 2), "--fov"
    elif focal_px:
        origin = "EXIF"
    else:
        focal_px, origin = longer * NYU_INTRINSICS.fx_px / NYU_INTRINSICS.width_px, "assumed"
    return Photo(image, Intrinsics.of(width, height, focal_px), origin)


def shrink_photo(photo: Photo, longest_px: int) -> Photo:
    """Bring a photo and its camera to a size that is cheap to show; a smaller one stays as it is."""
    height, width = photo.image.shape[:2]
    share = longest_px / max(width, height)
    if share >= 1:
        return photo
    width, height = max(1, round(width * share)), max(1, round(height * share))
    return Photo(shrink_image(photo.image, width, height), photo.camera.resized(width, height), photo.focal_from)


def read_focal_px(image: Image.Image) -> float | None:
    """Read the focal length in pixels from EXIF; None where it says none, or nonsense."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        equivalent_mm = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        if equivalent_mm > 0:
            return math.hypot(*image.size) * equivalent_mm / DIAGONAL_MM
        focal_mm = float(exif.get(ExifTags.Base.FocalLength, 0))
        px_per_unit = float(exif.get(ExifTags.Base.FocalPlaneXResolution, 0))
        unit_mm = {2: 25.4, 3: 10.0, 4: 1.0}[exif.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)]
        taken_px = float(exif.get(ExifTags.Base.ExifImageWidth, image.width))
        focal_px = focal_mm * px_per_unit / unit_mm * image.width / taken_px
    except Exception:  # Pillow raises many classes for hostile EXIF, and a photo without it is still a photo
        return None
    return focal_px if math.isfinite(focal_px) and focal_px > 0 else None


def view(photo: Photo) -> View:
    """Resize a photo so that an angle covers as many pixels as in training, and each depth keeps its meaning.

    The network learnt one camera, NYU's at 224x224. How large a thing appears tells it how far the thing is, so
    a photo of another focal length or shape must not be squeezed into that square: it gets the size at which its
    own focal length becomes NYU's. What rounding and `SIDES_PX` keep from it is left to `scale`: a picture k times
    too large looks k times too near.

    **Source**: Yin et al. 2023, Metric3D, arXiv 2307.10984, section 3.1 (one canonical camera).
    """
    canonical = NYU_INTRINSICS.resized(IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    ideal = (
        photo.camera.width_px * canonical.fx_px / photo.camera.fx_px,
        photo.camera.height_px * canonical.fy_px / photo.camera.fy_px,
    )
    least, most = SIDES_PX
    fit = min(max(1.0, least / min(ideal)), most / max(ideal))
    width, height = (max(STEP_PX, round(side * fit / STEP_PX) * STEP_PX) for side in ideal)
    enlarged = math.sqrt(width / ideal[0] * height / ideal[1])
    return View(shrink_image(photo.image, width, height), enlarged)
