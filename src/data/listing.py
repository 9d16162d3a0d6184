"""Frames from listed pairs of photo and depth files, read and checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.conventions import Frame, Pairs, UserError
from src.data.csv_rows import Row
from src.data.images import read_depth, read_rgb

FULL_SCALE = {8: 255.0, 16: 65535.0}
FILES_TO_CHECK = 2000
FRAMES_TO_CHECK = 12


class UnsafePath(UserError):
    """A path that leads out of the data root. The frame is not skipped: the run ends."""


class ListedPairs:
    """Frames from files. A missing or damaged file raises when its frame is read.

    `units_per_m` maps the bits per pixel of a depth file to stored units per metre; other bit depths are refused.
    `border_px` (top, bottom, left, right) is never valid.

    **Raises**: UserError when no listed file can be read, or a sample of the depth files was normalised per image or
    has no known unit; `UnsafePath` for a file outside of the root.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        root: Path,
        units_per_m: Mapping[int, float],
        *,
        max_depth_m: float,
        border_px: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        self.rows, self.root, self.units_per_m = list(rows), root, dict(units_per_m)
        self.real_root = os.path.realpath(root)
        self.max_depth_m, self.border_px = max_depth_m, border_px
        self.names = [row.image for row in self.rows]
        self.scenes = [row.scene for row in self.rows]
        self.identity, self.fingerprint = self._digest_files()
        self._check_sample()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        row = self.rows[index]
        image = read_rgb(self._locate(row.image))
        stored, bits = self._read_stored(row)
        if stored.shape != image.shape[:2]:
            raise UserError(
                f"{self.root / row.depth}: got depth of {stored.shape[1]}x{stored.shape[0]} pixels, expected "
                f"{image.shape[1]}x{image.shape[0]} as in {row.image}. Resize one to the other, depth without blending."
            )
        with np.errstate(all="ignore"):  # a float TIFF may hold any value
            depth_m = np.nan_to_num(stored / np.float32(self.units_per_m[bits]), nan=0.0, posinf=0.0, neginf=0.0)
        valid = (depth_m > 0) & (depth_m < self.max_depth_m)
        top, bottom, left, right = self.border_px
        inside = np.zeros_like(valid)
        inside[top : len(valid) - bottom, left : valid.shape[1] - right] = True
        return Frame(image, depth_m, valid & inside)

    def encoding(self, index: int) -> str:
        """Describe how the depth of one frame is stored."""
        bits = self._read_stored(self.rows[index])[1]
        return f"{bits}-bit, {self.units_per_m[bits]:g} units per metre"

    def _read_stored(self, row: Row) -> tuple[NDArray[np.float32], int]:
        """Read a depth file's values and bits per pixel, for which there must be a unit."""
        stored, bits = read_depth(self._locate(row.depth))
        if bits not in self.units_per_m:
            raise self._unknown_unit(row, bits)
        return stored, bits

    def _unknown_unit(self, row: Row, bits: int) -> UserError:
        return UserError(
            f"{self.root / row.depth}: got {bits}-bit depth of unknown unit. "
            "Give the units per metre: --depth-scale 25.5 where 255 is 10 m, 1000 for millimetres."
        )

    def _locate(self, name: str) -> Path:
        """Return the path of a listed file; refuse absolute paths, `..` and links that lead out of the root."""
        path = self.root / name
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(self.real_root):
            raise UnsafePath(
                f"{path}: leads out of the data root, to {real}. "
                "Put a copy below the root, or keep the csv in a folder above all of its files."
            )
        return path

    def _digest_files(self) -> tuple[str, str]:
        """Digest names and file sizes, the same on all machines, and then also root and times, which differ."""
        digest = hashlib.sha256(f"{self.units_per_m} {self.border_px}".encode())
        for row in self.rows:
            digest.update("\n".join(row).encode())
        times: list[int] = []
        missing: list[Path] = []
        for index in evenly_spaced(len(self.rows), FILES_TO_CHECK):
            for path in map(self._locate, self.rows[index][:2]):
                try:
                    facts = path.stat()
                    digest.update(f"{facts.st_size} ".encode())
                    times.append(facts.st_mtime_ns)
                except OSError:
                    missing.append(path)
                    digest.update(b"missing")
        if missing and not times:
            raise UserError(
                f"{missing[0]}: got no such file, and none of the {len(missing) - 1} others that were looked for. "
                f"Expected the csv's paths relative to {self.root}."
            )
        identity = digest.hexdigest()
        return identity, hashlib.sha256(f"{identity} {self.root.resolve()} {times}".encode()).hexdigest()

    def _check_sample(self) -> None:
        """Look for mistakes common to all depth files, which skipping bad frames would not correct.

        If every image reaches full scale, each was divided by its own maximum, and metres are lost.
        """
        sample: list[tuple[Row, int, bool]] = []
        errors: list[UserError] = []
        for index in evenly_spaced(len(self.rows), FRAMES_TO_CHECK):
            row = self.rows[index]
            try:
                stored, bits = read_depth(self._locate(row.depth))
                sample.append((row, bits, stored.max() == FULL_SCALE.get(bits)))
            except UserError as error:
                errors.append(error)
        if errors and not sample:
            raise errors[0]
        if len(sample) >= 4 and all(is_full for _, _, is_full in sample):
            raise UserError(
                f"{self.root}: got depth that was normalised per image (the {len(sample)} checked files all reach "
                f"{FULL_SCALE[sample[0][1]]:.0f}), expected metric depth. Export it again with one unit for all images."
            )
        if sample and all(bits not in self.units_per_m for _, bits, _ in sample):
            raise self._unknown_unit(*sample[0][:2])


class FirstPairs:
    """The first frames of a source, for a quick try."""

    def __init__(self, pairs: Pairs, count: int) -> None:
        self.pairs = pairs
        self.names, self.scenes = pairs.names[:count], pairs.scenes[:count]
        self.fingerprint, self.identity = f"{pairs.fingerprint}[:{count}]", f"{pairs.identity}[:{count}]"
        self.encoding = pairs.encoding

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        return self.pairs[index]


def evenly_spaced(length: int, count: int) -> list[int]:
    """Pick up to `count` indices evenly over a list."""
    return sorted({int(index) for index in np.linspace(0, length - 1, min(count, length))})
