"""Pairs of files that a csv lists: read, checked, split by scene."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.conventions import UserError
from src.data.frame import Frame, Pairs, read_depth, read_rgb

FULL_SCALE = {8: 255.0, 16: 65535.0}
FILES_TO_CHECK = 2000
FRAMES_TO_CHECK = 12


class Row(NamedTuple):
    """One line of the csv: two paths relative to the root, and the place they show."""

    image: str
    depth: str
    scene: str


class ListedPairs:
    """Frames from files, with depth decoded by each file's own bit depth.

    `units_per_m` says how many stored units make a metre, per bit depth; a bit depth that is not
    in it is refused. `border_px` (top, bottom, left, right) is never valid.

    **Raises**: UserError when a listed file is missing, or depth was normalised per image.
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
        self.max_depth_m, self.border_px = max_depth_m, border_px
        self.names = [row.image for row in self.rows]
        self.scenes = [row.scene for row in self.rows]
        self.fingerprint = self._digest_files()
        self._refuse_normalised_depth()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        row = self.rows[index]
        image = read_rgb(self.root / row.image)
        stored, bits = read_depth(self.root / row.depth)
        if stored.shape != image.shape[:2]:
            raise UserError(
                f"{self.root / row.depth}: got depth of {stored.shape[1]}x{stored.shape[0]} pixels, expected "
                f"{image.shape[1]}x{image.shape[0]} as in {row.image}. Resize one to the other, depth without blending."
            )
        if bits not in self.units_per_m:
            raise UserError(
                f"{self.root / row.depth}: got {bits}-bit depth, whose unit nothing tells. "
                "Say how many units make a metre: --depth-scale 25.5 where 255 is 10 m, 1000 for millimetres."
            )
        depth_m = np.nan_to_num(stored / np.float32(self.units_per_m[bits]), nan=0.0, posinf=0.0, neginf=0.0)
        valid = (depth_m > 0) & (depth_m < self.max_depth_m)
        top, bottom, left, right = self.border_px
        inside = np.zeros_like(valid)
        inside[top : len(valid) - bottom, left : valid.shape[1] - right] = True
        return Frame(image, depth_m, valid & inside)

    def encoding(self, index: int) -> str:
        """Say how the depth of one frame is stored."""
        bits = read_depth(self.root / self.rows[index].depth)[1]
        return f"{bits}-bit, {self.units_per_m[bits]:g} units per metre"

    def _digest_files(self) -> str:
        digest = hashlib.sha256(f"{self.root.resolve()} {self.units_per_m} {self.border_px}".encode())
        for row in self.rows:
            digest.update("\n".join(row).encode())
        for index in _spread(len(self.rows), FILES_TO_CHECK):
            for name in self.rows[index][:2]:
                try:
                    facts = (self.root / name).stat()
                except OSError:
                    raise UserError(
                        f"{self.root / name}: got no such file, but row {index + 1} of the list names it. "
                        "Restore it or delete the row."
                    ) from None
                digest.update(f"{facts.st_size} {facts.st_mtime_ns}".encode())
        return digest.hexdigest()

    def _refuse_normalised_depth(self) -> None:
        """Every image reaching full scale is the mark of depth divided by its own maximum: metres are lost."""
        checked = _spread(len(self.rows), FRAMES_TO_CHECK)
        if len(checked) < 4:
            return
        for index in checked:
            stored, bits = read_depth(self.root / self.rows[index].depth)
            if stored.max() != FULL_SCALE.get(bits):
                return
        raise UserError(
            f"{self.root}: got depth that was normalised per image (the {len(checked)} checked files all reach "
            f"{FULL_SCALE[bits]:.0f}), expected metric depth. Export it again with one unit for all images."
        )


def read_rows(path: Path) -> list[Row]:
    """Read `image,depth` or `image,depth,scene` rows, without header; the folder is the scene by default.

    **Raises**: UserError when the file cannot be read, is empty, or a row is not of that form.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as csv ({error}). Expected rows of image,depth paths.") from None
    for number, row in enumerate(rows, 1):
        if len(row) not in (2, 3) or not all(row):
            raise UserError(f"{path}, row {number}: got {','.join(row)!r}, expected image,depth or image,depth,scene.")
    if not rows:
        raise UserError(f"{path}: got an empty file, expected rows of image,depth paths relative to it.")
    return [Row(row[0], row[1], row[2] if len(row) == 3 else Path(row[0]).parent.name) for row in rows]


def split_by_scene(rows: Sequence[Row], fraction: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Hold out whole scenes until they hold at least `fraction` of the rows: (train, validation).

    Where there is one scene only, the last rows are held out, so that neighbours mostly stay together.
    """
    wanted = max(1, round(fraction * len(rows))) if fraction else 0
    scenes = sorted({row.scene for row in rows})
    if len(scenes) == 1:
        return list(rows[: len(rows) - wanted]), list(rows[len(rows) - wanted :])
    held_out: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(scenes)):
        if count >= wanted or len(held_out) == len(scenes) - 1:
            break
        held_out.add(scenes[index])
        count += sum(row.scene == scenes[index] for row in rows)
    return [row for row in rows if row.scene not in held_out], [row for row in rows if row.scene in held_out]


class FirstPairs:
    """The first few frames of a source, for a quick try."""

    def __init__(self, pairs: Pairs, count: int) -> None:
        self.pairs = pairs
        self.names, self.scenes = pairs.names[:count], pairs.scenes[:count]
        self.fingerprint = f"{pairs.fingerprint}[:{count}]"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        return self.pairs[index]

    def encoding(self, index: int) -> str:
        """Say how the depth of one frame is stored."""
        return self.pairs.encoding(index)


def _spread(length: int, count: int) -> list[int]:
    """Pick up to `count` indices evenly over a list."""
    return sorted({int(index) for index in np.linspace(0, length - 1, min(count, length))})
