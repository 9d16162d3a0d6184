"""Photos to predict from: found by name, read in any format, with the focal length of their camera."""

import glob
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from src.conventions import ANGLES, NYU_INTRINSICS, Intrinsics, UserError, is_angle
from src.data.frame import shrink_image
from src.data.images import FORMATS, open_image, to_rgb

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
PHOTO_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
PHOTO_SUFFIXES |= HEIF_SUFFIXES if "HEIF" in FORMATS else set()
VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
)
SMALLEST_PX = 16  # shortest side of a photo that shows anything

EXIF_ANGLES_DEG = 3.2, 150  # of cameras along the longer side; EXIF of others is damaged, or was kept by a tool
DIAGONAL_MM = math.hypot(36, 24)
"""Of the film that a "35 mm equivalent" focal length refers to (CIPA DCG-001)."""


class Photo(NamedTuple):
    """A photo, its camera, and the origin of the focal length: `--fov`, `EXIF`, `csv`, `data` or `assumed`.

    **Shape**: image (H, W, 3) uint8.
    """

    image: NDArray[np.uint8]
    camera: Intrinsics
    focal_from: str


def find_inputs(words: Sequence[str]) -> list[str | Path]:
    """Expand files, folders and globs into distinct paths, in order; the index of a webcam stays a string.

    **Raises**: UserError when nothing has that name, or a folder has no photo or video.
    """
    found: list[str | Path] = []
    for word in words:
        path = Path(word)
        if word and path.is_dir():
            found += _list_folder(path)
        elif word and path.exists():
            found.append(path)
        elif word.isdecimal():
            found.append(word)
        elif matches := sorted(glob.glob(word, recursive=True)):
            for match in map(Path, matches):
                found += _list_folder(match) if match.is_dir() else [match]
        else:
            name = word or "an empty name"
            raise UserError(f"{name}: got no such file, and no match. Expected photos, videos or a webcam's number.")
    return list(dict.fromkeys(found))


def _list_folder(folder: Path) -> list[Path]:
    """List photos and videos; name on stderr what else is there, such as .npy, which is also the suffix of results."""
    readable = PHOTO_SUFFIXES | VIDEO_SUFFIXES
    files = [file for file in sorted(folder.iterdir()) if not file.is_dir() and not file.name.startswith(".")]
    found = [file for file in files if file.suffix.lower() in readable]
    skipped = Counter(file.suffix.lower() or "without suffix" for file in files if file.suffix.lower() not in readable)
    hints = dict.fromkeys(HEIF_SUFFIXES, " (pip install pillow-heif)")
    kinds = ", ".join(f"{count} {kind}{hints.get(kind, '')}" for kind, count in skipped.most_common())
    if not found:
        raise UserError(f"{folder}: got a folder with {kinds or 'no files'}, expected photos or videos in it.")
    if kinds:
        print(f"{folder}: skipped {kinds}", file=sys.stderr, flush=True)
    return found


def is_video(path: Path) -> bool:
    """Tell a video by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_photo(path: Path, *, fov_deg: float | None = None) -> Photo:
    """Read a photo file. `fov_deg`, the angle of view along the longer side, overrides EXIF.

    **Raises**: UserError when the file is no photo, is damaged or too small.
    """
    return to_photo(open_image(path), str(path), fov_deg=fov_deg)


def to_photo(
    file: Image.Image, name: str, *, fov_deg: float | None = None, listed_fov_deg: float | None = None
) -> Photo:
    """Convert an image opened by Pillow; error messages start with `name`. EXIF overrides `listed_fov_deg`.

    **Raises**: UserError when its pixels are not those of a photo, or too few.
    """
    focal_px = read_focal_px(file) if fov_deg is None else None
    image = to_rgb(file, Path(name))
    if listed_fov_deg and fov_deg is None and not focal_px:
        return make_photo(image, fov_deg=listed_fov_deg, name=name)._replace(focal_from="csv")
    return make_photo(image, focal_px=focal_px, fov_deg=fov_deg, name=name)


def make_photo(
    image: NDArray[np.uint8], *, focal_px: float | None = None, fov_deg: float | None = None, name: str = "the image"
) -> Photo:
    """Add the camera, from the angle of view, else the focal length, else NYU's angle along the longer side.

    **Raises**: UserError for too few pixels, and for an angle that no camera has.
    """
    height, width = image.shape[:2]
    longer = max(width, height)
    if min(width, height) < SMALLEST_PX:
        raise UserError(f"{name}: got {width}x{height} px, expected at least {SMALLEST_PX} px a side.")
    if fov_deg is not None:
        if not is_angle(fov_deg):
            raise UserError(f"{name}: got an angle of view of {fov_deg} degrees, expected {ANGLES}.")
        focal_px, origin = longer / 2 / math.tan(math.radians(fov_deg) / 2), "--fov"
    elif focal_px:
        origin = "EXIF"
    else:
        focal_px, origin = longer * NYU_INTRINSICS.fx_px / NYU_INTRINSICS.width_px, "assumed"
    return Photo(image, Intrinsics.of(width, height, focal_px), origin)


def shrink_photo(photo: Photo, longest_px: int) -> Photo:
    """Resize a photo and its camera if its longer side exceeds `longest_px`, to no side below `SMALLEST_PX`."""
    height, width = photo.image.shape[:2]
    share = max(longest_px / max(width, height), SMALLEST_PX / min(width, height))
    if share >= 1:
        return photo
    width, height = round(width * share), round(height * share)
    return Photo(shrink_image(photo.image, width, height), photo.camera.resized(width, height), photo.focal_from)


def read_focal_px(image: Image.Image) -> float | None:
    """Read the focal length in pixels from EXIF; None where it is missing or invalid."""
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        equivalent_mm = float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        if focal_px := _possible(math.hypot(*image.size) * equivalent_mm / DIAGONAL_MM, image):
            return focal_px
        focal_mm = float(exif.get(ExifTags.Base.FocalLength, 0))
        px_per_unit = float(exif.get(ExifTags.Base.FocalPlaneXResolution, 0))
        unit_mm = {2: 25.4, 3: 10.0, 4: 1.0}[exif.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)]
        # Compared by the longer side: tools that turn or resize the pixels often keep the camera's tags.
        width_px = float(exif.get(ExifTags.Base.ExifImageWidth) or image.width)
        height_px = float(exif.get(ExifTags.Base.ExifImageHeight) or image.height)
        focal_px = focal_mm * px_per_unit / unit_mm * max(image.size) / max(width_px, height_px)
    except Exception:  # Pillow raises many classes for damaged EXIF, and a photo without it is still a photo
        return None
    return _possible(focal_px, image)


def _possible(focal_px: float, image: Image.Image) -> float | None:
    """Return a focal length that a camera of `EXIF_ANGLES_DEG` along the longer side has, else None."""
    least_deg, most_deg = EXIF_ANGLES_DEG
    angle_deg = math.degrees(2 * math.atan2(max(image.size) / 2, focal_px))
    return focal_px if least_deg <= angle_deg <= most_deg else None
