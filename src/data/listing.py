"""Pairs of files that a csv lists: read, checked, split by scene."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

import numpy as np

from src.conventions import Frame, Pairs, UserError
from src.data.frame import Refused, read_depth, read_rgb

FULL_SCALE = {8: 255.0, 16: 65535.0}
FILES_TO_CHECK = 2000
FRAMES_TO_CHECK = 12

MOST_ROWS = 1_000_000
"""Twenty times NYU's list. The rows are held in memory: so many of NYU's would take 0.3 GB."""

LONGEST_LINE = 4096
"""In characters: the length limit of one path on Linux."""


class Row(NamedTuple):
    """One line of the csv: two paths relative to the root, and the place they show."""

    image: str
    depth: str
    scene: str


class ListedPairs:
    """Frames from files, with depth decoded by each file's own bit depth.

    `units_per_m` says how many stored units make a metre, per bit depth; a bit depth that is not
    in it is refused. `border_px` (top, bottom, left, right) is never valid.

    A frame whose file is missing or damaged is an error only when it is read. What is wrong with the whole list is
    one at once.

    **Raises**: UserError when no listed file is there or can be read, when depth was normalised per image or has a
    bit depth without a unit; `Refused` for a file outside of the root.
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
        self._refuse_systematic_mistakes()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Frame:
        row = self.rows[index]
        image = read_rgb(self._locate(row.image))
        stored, bits = read_depth(self._locate(row.depth))
        if stored.shape != image.shape[:2]:
            raise UserError(
                f"{self.root / row.depth}: got depth of {stored.shape[1]}x{stored.shape[0]} pixels, expected "
                f"{image.shape[1]}x{image.shape[0]} as in {row.image}. Resize one to the other, depth without blending."
            )
        if bits not in self.units_per_m:
            self._refuse_unit(bits, row)
        with np.errstate(all="ignore"):  # a float TIFF may hold anything; what is no distance becomes 0
            depth_m = np.nan_to_num(stored / np.float32(self.units_per_m[bits]), nan=0.0, posinf=0.0, neginf=0.0)
        valid = (depth_m > 0) & (depth_m < self.max_depth_m)
        top, bottom, left, right = self.border_px
        inside = np.zeros_like(valid)
        inside[top : len(valid) - bottom, left : valid.shape[1] - right] = True
        return Frame(image, depth_m, valid & inside)

    def encoding(self, index: int) -> str:
        """Say how the depth of one frame is stored."""
        row = self.rows[index]
        bits = read_depth(self._locate(row.depth))[1]
        if bits not in self.units_per_m:
            self._refuse_unit(bits, row)
        return f"{bits}-bit, {self.units_per_m[bits]:g} units per metre"

    def _locate(self, name: str) -> Path:
        """Return a listed file's path; refuse one outside of the root: absolute, by `..` or by a symbolic link."""
        path = self.root / name
        real = os.path.realpath(path)
        if not Path(real).is_relative_to(self.real_root):
            raise Refused(
                f"{path}: leads out of the data root, to {real}. "
                "Put a copy below the root, or keep the csv in a folder above all of its files."
            )
        return path

    def _refuse_unit(self, bits: int, row: Row) -> NoReturn:
        raise UserError(
            f"{self.root / row.depth}: got {bits}-bit depth, whose unit nothing tells. "
            "Say how many units make a metre: --depth-scale 25.5 where 255 is 10 m, 1000 for millimetres."
        )

    def _digest_files(self) -> tuple[str, str]:
        """Digest names and sizes, which are the same on all machines, and then root and times, which are not."""
        digest = hashlib.sha256(f"{self.units_per_m} {self.border_px}".encode())
        for row in self.rows:
            digest.update("\n".join(row).encode())
        times = []
        checked = spread(len(self.rows), FILES_TO_CHECK)
        missing = []
        for index in checked:
            for name in self.rows[index][:2]:
                path = self._locate(name)
                try:
                    facts = path.stat()
                    digest.update(f"{facts.st_size} ".encode())
                    times.append(facts.st_mtime_ns)
                except OSError:
                    missing.append(path)
                    digest.update(b"missing")
        if missing and len(missing) == 2 * len(checked):
            raise UserError(
                f"{missing[0]}: got no such file, and none of the {len(missing) - 1} others that were looked for. "
                f"Expected the csv's paths relative to {self.root}."
            )
        identity = digest.hexdigest()
        return identity, hashlib.sha256(f"{identity} {self.root.resolve()} {times}".encode()).hexdigest()

    def _refuse_systematic_mistakes(self) -> None:
        """Look at a few depth files for what is wrong with all, which leaving out frames would not mend.

        Every image reaching full scale is the mark of depth divided by its own maximum: metres are lost.
        """
        found: list[tuple[Row, int, bool]] = []
        damages: list[UserError] = []
        for index in spread(len(self.rows), FRAMES_TO_CHECK):
            row = self.rows[index]
            try:
                stored, bits = read_depth(self._locate(row.depth))
                found.append((row, bits, stored.max() == FULL_SCALE.get(bits)))
            except UserError as error:
                damages.append(error)
        if damages and not found:
            raise damages[0]
        if len(found) >= 4 and all(full for _, _, full in found):
            raise UserError(
                f"{self.root}: got depth that was normalised per image (the {len(found)} checked files all reach "
                f"{FULL_SCALE[found[0][1]]:.0f}), expected metric depth. Export it again with one unit for all images."
            )
        if found and all(bits not in self.units_per_m for _, bits, _ in found):
            self._refuse_unit(found[0][1], found[0][0])


def read_rows(path: Path) -> list[Row]:
    """Read `image,depth` or `image,depth,scene` rows, without header; the folder is the scene by default.

    **Raises**: UserError when the file cannot be read, is empty or endless, or a row is not of that form.
    """
    rows: list[Row] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for cells in _cells(file):
                rows.append(_check_row(cells, path, len(rows) + 1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as csv ({error}). Expected rows of image,depth paths.") from None
    if not rows:
        raise UserError(f"{path}: got an empty file, expected rows of image,depth paths relative to it.")
    return rows


def _cells(file: TextIO) -> Iterator[list[str]]:
    """Yield the cells of each line that has any. A line is a row, so that an open quote cannot swallow the file."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise csv.Error(f"a line is longer than {LONGEST_LINE} characters")
        if "\0" in line or len(line.splitlines()) > 1:  # no path has a null byte; U+2028 and others break messages
            raise csv.Error(f"got a null byte or a line separator in {line[:200]!r}")
        for cells in csv.reader([line]):
            if cells:
                yield [cell.strip() for cell in cells]


def _check_row(cells: list[str], path: Path, number: int) -> Row:
    if number > MOST_ROWS:
        raise UserError(f"{path}: got more than {MOST_ROWS} rows. Split the list, or keep every n-th row of it.")
    if len(cells) not in (2, 3) or not all(cells):
        got = ",".join(cells)[:200]
        raise UserError(f"{path}, row {number}: got {got!r}, expected image,depth or image,depth,scene.")
    # Scenes repeat: one string for all of a scene's rows.
    return Row(cells[0], cells[1], sys.intern(cells[2] if len(cells) == 3 else Path(cells[0]).parent.name))


def split_by_scene(rows: Sequence[Row], fraction: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Hold out whole scenes until they hold at least `fraction` of the rows: (train, validation).

    Where there is one scene only, the last rows are held out, so that neighbours mostly stay together.
    """
    wanted = max(1, round(fraction * len(rows))) if fraction else 0
    sizes = Counter(row.scene for row in rows)
    scenes = sorted(sizes)
    if len(scenes) == 1:
        return list(rows[: len(rows) - wanted]), list(rows[len(rows) - wanted :])
    held_out: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(scenes)):
        if count >= wanted or len(held_out) == len(scenes) - 1:
            break
        held_out.add(scenes[index])
        count += sizes[scenes[index]]
    return [row for row in rows if row.scene not in held_out], [row for row in rows if row.scene in held_out]


class FirstPairs:
    """The first few frames of a source, for a quick try."""

    def __init__(self, pairs: Pairs, count: int) -> None:
        self.pairs = pairs
        self.names, self.scenes = pairs.names[:count], pairs.scenes[:count]
        self.fingerprint, self.identity = (f"{digest}[:{count}]" for digest in (pairs.fingerprint, pairs.identity))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        return self.pairs[index]

    def encoding(self, index: int) -> str:
        """Say how the depth of one frame is stored."""
        return self.pairs.encoding(index)


def spread(length: int, count: int) -> list[int]:
    """Pick up to `count` indices evenly over a list."""
    return sorted({int(index) for index in np.linspace(0, length - 1, min(count, length))})
