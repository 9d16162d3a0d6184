"""Frames from listed pairs of photo and depth files, read and checked."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.conventions import Frame, Intrinsics, Pairs, UserError
from src.data.csv_rows import Row
from src.data.frame import shrink_image
from src.data.images import has_aspect, open_image, read_depth
from src.data.photos import Photo, to_photo

FULL_SCALE = {8: 255.0, 16: 65535.0}
LARGEST = 1.0, 255.0, 65535.0  # of a file that was normalised per image
SENTINEL_GAP = 0.9
"""A full-scale value means "not measured" where no other value reaches this share of it, and always of 16 bits."""

CLIPPED_SHARE = 0.1  # of 16-bit pixels at full scale: with more, depth was clipped there, not normalised to it

LIKELY_UNITS = (1000, 1, 100, 256, 4000, 5000, 6553.5, 8000, 10_000)
"""Per metre: millimetres, metres, centimetres; KITTI, Matterport3D, TUM, Replica, SUN RGB-D, some RealSense cameras."""

SMALLEST_RANGE_M = 0.05  # a data set that ends before this was read in the wrong unit

KEY_DIGITS = 10  # of the key of a frame: two of 50,000 frames share theirs with a probability of 0.001
COMPRESSED = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif"})
FILES_TO_LOCATE = 2000
FRAMES_TO_CHECK = 12
THREADS = 16


class UnsafePath(UserError):
    """A path that leads out of the data root. The frame is not skipped: the run ends."""


class ListedPairs:
    """Frames from files. A missing or damaged file raises when its frame is read.

    `units_per_m` maps the bits per pixel of a depth file to stored units per metre; other bit depths are refused.
    `border_px` (top, bottom, left, right) is never valid. `camera` is the one of all frames; without it each has its
    own, from `fov_deg`, else EXIF, else its row, else assumed.

    **Raises**: UserError when no listed file can be read, or in a sample of them depth was normalised per image, has
    no known unit or no valid pixel; `UnsafePath` for a file outside of the root.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        units_per_m: Mapping[int, float],
        *,
        max_depth_m: float,
        border_px: tuple[int, int, int, int] = (0, 0, 0, 0),
        camera: Intrinsics | None = None,
        fov_deg: float | None = None,
    ) -> None:
        self.rows, self.root, self.units_per_m = list(rows), root, dict(units_per_m)
        self.real_root = os.path.realpath(root)
        self.max_depth_m, self.border_px, self.camera, self.fov_deg = max_depth_m, border_px, camera, fov_deg
        self.names = [row.image for row in self.rows]
        self.scenes = [row.scene for row in self.rows]
        self.identity, self.fingerprint, self.keys = self._digest_files()
        self.cameras, self.summary = self._read_sample()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        return self._read(self.rows[index])[0]

    def _describe(self, row: Row, bits: int) -> str:
        """Describe an encoding. **Raises**: UserError for one without a unit."""
        if bits not in self.units_per_m:
            raise UserError(
                f"{self.root / row.depth}: got {bits}-bit depth of unknown unit. "
                "Give the units per metre: --depth-scale 25.5 where 255 is 10 m, 1000 for millimetres."
            )
        unit = self.units_per_m[bits]
        return f"{bits}-bit, metres" if unit == 1 else f"{bits}-bit, {unit:g} units a metre"

    def _read(self, row: Row) -> tuple[Frame, int, str, float]:
        """Read one frame, the bits per pixel of its depth, where its focal length is from, and the largest measured."""
        file = open_image(self._locate(row.image))
        photo = to_photo(file, str(self.root / row.image), fov_deg=self.fov_deg, listed_fov_deg=row.fov_deg)
        stored, bits = read_depth(self._locate(row.depth), file)
        self._describe(row, bits)
        photo, stored = self._match(photo, stored, row)
        full = FULL_SCALE.get(bits, np.inf)
        at_full = stored == full
        below = np.where(at_full, 0, stored)
        largest = below.max(where=np.isfinite(below), initial=0)
        share = at_full.mean() if bits in FULL_SCALE else 0.0
        is_sentinel = largest < SENTINEL_GAP * full
        if share and not is_sentinel and not (bits == 16 and share > CLIPPED_SHARE):
            largest = full
        if bits == 16 or (share and is_sentinel):
            stored = below
        with np.errstate(all="ignore"):  # a float file may hold any value
            depth_m = np.nan_to_num(stored / np.float32(self.units_per_m[bits]), nan=0.0, posinf=0.0).clip(min=0)
        valid = (depth_m > 0) & (depth_m < self.max_depth_m)
        top, bottom, left, right = self.border_px
        inside = np.zeros_like(valid)
        inside[top : len(valid) - bottom, left : valid.shape[1] - right] = True
        camera = self.camera.resized(*valid.shape[::-1]) if self.camera else photo.camera
        return Frame(photo.image, depth_m, valid & inside, camera), bits, photo.focal_from, largest

    def _match(self, photo: Photo, stored: NDArray[np.float32], row: Row) -> tuple[Photo, NDArray[np.float32]]:
        """Bring photo and depth of one aspect to the larger size; each value of the depth covers its part."""
        height, width = photo.image.shape[:2]
        if not has_aspect(stored.shape, (height, width)):
            raise UserError(
                f"{self.root / row.depth}: got depth of {stored.shape[1]}x{stored.shape[0]} pixels, expected "
                f"{width}x{height} as in {row.image}, or that aspect. Align the depth to the photo's pixels."
            )
        if stored.size > height * width:
            height, width = stored.shape
            image, camera = shrink_image(photo.image, width, height), photo.camera.resized(width, height)
            photo = Photo(image, camera, photo.focal_from)
        elif stored.shape != (height, width):
            stored = np.asarray(Image.fromarray(stored).resize((width, height), Image.Resampling.NEAREST))
        return photo, stored

    def _locate(self, name: str) -> Path:
        """Return the path of a listed file; refuse absolute paths, `..` and links that lead out of the root."""
        path = self.root / name
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(self.real_root):
            raise UnsafePath(
                f"{path}: leads out of the data root, to {real}. "
                "Put a copy below the root, or name as --data-dir a csv or folder above all of its files."
            )
        return path

    def _digest_files(self) -> tuple[str, str, list[str]]:
        """Digest names and file sizes, the same on all machines; also root and times, which differ; and each pair."""
        for index in evenly_spaced(len(self.rows), FILES_TO_LOCATE):
            for name in self.rows[index][:2]:
                self._locate(name)
        names = [name for row in self.rows for name in row[:2]]
        with ThreadPoolExecutor(THREADS) as pool:  # a network's disk answers slowly, but many requests at once
            facts = list(pool.map(self._sizes_and_times, (names[start::THREADS] for start in range(THREADS))))
            raw = [row.image for row in self.rows if os.path.splitext(row.image)[1].lower() not in COMPRESSED]
            content_of = dict(zip(raw, pool.map(self._middle, raw), strict=True))
        if names and not any(map(any, facts)):
            raise UserError(
                f"{self.root / names[0]}: got no such file, and none of the {len(names) - 1} others that were looked "
                f"for. Expected the csv's paths relative to {self.root}."
            )
        sizes = [[fact and fact[0] for fact in part] for part in facts]
        size_of = dict(
            zip((name for start in range(THREADS) for name in names[start::THREADS]), chain(*sizes), strict=True)
        )
        keys = [_key(row, size_of[row.image], size_of[row.depth], content_of.get(row.image, b"")) for row in self.rows]
        settings = (self.units_per_m, self.border_px, self.camera, self.fov_deg)
        identity = _digest(settings, self.rows, sizes)
        return identity, _digest(identity, self.root.resolve(), facts), keys

    def _middle(self, name: str) -> bytes:
        """Read some content of a file, which tells it from others of its size; none of a missing one."""
        with contextlib.suppress(OSError, ValueError), open(self.root / name, "rb") as file:
            file.seek(os.fstat(file.fileno()).st_size // 2)
            return file.read(4096)
        return b""

    def _sizes_and_times(self, names: Sequence[str]) -> list[tuple[int, int] | None]:
        """Return the size and time of each file, None for a missing one."""
        facts: list[tuple[int, int] | None] = []
        for name in names:
            try:
                found = os.stat(os.path.join(self.root, name))
                facts.append((found.st_size, found.st_mtime_ns))
            except (OSError, ValueError):
                facts.append(None)
        return facts

    def _read_sample(self) -> tuple[list[Intrinsics], str]:
        """Read some frames, refuse mistakes common to all of them, and return their cameras and what they hold.

        If every image reaches full scale, each was divided by its own maximum, and metres are lost.
        """
        sample: list[tuple[Any, ...]] = []
        errors: list[UserError] = []
        for index in evenly_spaced(len(self.rows), FRAMES_TO_CHECK):
            try:
                frame, bits, origin, largest = self._read(self.rows[index])
            except UserError as error:
                errors.append(error)
                continue
            measured_m = frame.depth_m[frame.depth_m > 0]
            full = next((value for value in LARGEST if np.isclose(largest, value, rtol=1e-6)), 0)
            sample.append((frame.camera, bits, origin, measured_m[::97], frame.valid.mean(), full))
        if errors and not sample:
            raise errors[-1]
        if not sample:
            return [], ""
        cameras, (bits, *others), origins, measured, valid, full_scale = zip(*sample, strict=True)
        if len(sample) >= 4 and all(full_scale):
            raise UserError(
                f"{self.root}: got depth that was normalised per image (the {len(sample)} checked files all reach "
                f"{full_scale[0]:.0f}), expected metric depth. Export it again with one unit for all images, "
                "and 0 where it is farther than the file can store."
            )
        depth = self._describe_depth(bits, np.concatenate(measured), float(np.mean(valid)))
        depth += "".join(f"; also {self._describe(self.rows[0], other)}" for other in sorted({*others} - {bits}))
        angle = np.median([camera.fov_deg for camera in cameras])
        origin = "NYU's" if self.camera else " or ".join(sorted(set(origins)))
        return list(cameras), f"{depth}; camera of {angle:.0f} degrees along the longer side ({origin})"

    def _describe_depth(self, bits: int, measured_m: NDArray[np.float32], valid: float) -> str:
        """Describe the depth of a sample. **Raises**: UserError if its unit must be wrong, with a likely one."""
        unit, range_m = self.units_per_m[bits], self.max_depth_m
        near, median, far = np.percentile(measured_m if len(measured_m) else [0], (5, 50, 95))
        text = f"{self._describe(self.rows[0], bits)}: 5 % {near:.3g} m, median {median:.3g} m, 95 % {far:.3g} m"
        text += f", {100 * valid:.3g}% valid up to {range_m:g} m"
        likely = [f"{other:g}" for other in LIKELY_UNITS if 0.3 < median * unit / other < range_m / 2 and other != unit]
        advice = "Check --depth-scale and --max-depth."
        if likely:
            advice = f"Is it --depth-scale {' or '.join(likely)}, or a larger --max-depth?"
        if not valid or far < SMALLEST_RANGE_M:
            raise UserError(f"{self.root}: implausible depth in the checked files: {text}. {advice}")
        return text if median < range_m / 2 else f"{text}. {advice}"


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()


def _key(row: Row, image_size: int | None, depth_size: int | None, content: bytes) -> str:
    """Compute what a frame is known by in copies of the data: its name in its folder and the sizes of its files.

    The sizes of compressed files differ; of others, some content is part of the key.
    """
    parts = Path(os.path.normpath(row.image)).parts[-2:]
    return _digest(parts, (image_size, depth_size), content)[:KEY_DIGITS]


class Subset:
    """Some frames of a source, in the order of `rows`."""

    def __init__(self, pairs: Pairs, rows: Sequence[int]) -> None:
        self.pairs, self.rows = pairs, rows
        self.names, self.scenes = ([values[row] for row in rows] for values in (pairs.names, pairs.scenes))
        self.fingerprint, self.identity = f"{pairs.fingerprint}{rows}", f"{pairs.identity}{rows}"
        self.keys = [pairs.keys[row] for row in rows] if pairs.keys else []
        self.cameras, self.summary = pairs.cameras, pairs.summary

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        return self.pairs[self.rows[index]]


class Concatenation:
    """The frames of several sources, one source after the other; the cameras are those of the first."""

    def __init__(self, parts: Sequence[Pairs]) -> None:
        self.parts = parts
        self._places = [(part, index) for part in parts for index in range(len(part))]
        self.names = [name for part in parts for name in part.names]
        self.scenes = [scene for part in parts for scene in part.scenes]
        self.fingerprint = " + ".join(part.fingerprint for part in parts)
        self.identity = " + ".join(part.identity for part in parts)
        self.keys = [key for part in parts for key in part.keys]
        self.cameras, self.summary = parts[0].cameras, parts[0].summary

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Frame:
        part, row = self._places[index]
        return part[row]


def sample_frames(pairs: Pairs, count: int) -> Iterator[tuple[str, Frame]]:
    """Yield up to `count` frames and their names, evenly spaced in the list, except bad ones."""
    for index in evenly_spaced(len(pairs), count):
        try:
            frame = pairs[index]
        except UserError:  # counted where the frames are trained on or scored
            continue
        yield pairs.names[index], frame


def evenly_spaced(length: int, count: int) -> list[int]:
    """Pick up to `count` indices evenly over a list."""
    return sorted({int(index) for index in np.linspace(0, length - 1, min(count, length))})
