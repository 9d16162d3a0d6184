"""The csv that lists a data set: read row by row, split by scene."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.conventions import UserError

MOST_ROWS = 1_000_000
"""Twenty times NYU's list. So many rows take 0.3 GB of memory."""

LONGEST_LINE = 4096
"""In characters: the length limit of one path on Linux."""


class Row(NamedTuple):
    """One line of the csv: two paths relative to the root, and the scene they show."""

    image: str
    depth: str
    scene: str


def read_rows(path: Path) -> list[Row]:
    """Read `image,depth` or `image,depth,scene` rows, without header; the default scene is the photo's folder.

    **Raises**: UserError when the file cannot be read, is empty or too long, or a row is not of that form.
    """
    rows: list[Row] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST_LINE + 1):
                if cells := _split_line(line):
                    rows.append(_make_row(cells, f"{path}, row {len(rows) + 1}"))
                if len(rows) > MOST_ROWS:
                    raise UserError(f"{path}: got more than {MOST_ROWS} rows. Split the list, or keep every n-th row.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as csv ({error}). Expected rows of image,depth paths.") from None
    if not rows:
        raise UserError(f"{path}: got an empty file, expected rows of image,depth paths relative to it.")
    return rows


def _split_line(line: str) -> list[str]:
    """Split one line, which is one row, so that an open quote cannot consume the rest of the file."""
    if len(line) > LONGEST_LINE:
        raise csv.Error(f"a line is longer than {LONGEST_LINE} characters")
    if "\0" in line or len(line.splitlines()) > 1:  # no path has a null byte; U+2028 and others break messages
        raise csv.Error(f"got a null byte or a line separator in {line[:200]!r}")
    return [cell.strip() for cells in csv.reader([line]) for cell in cells]


def _make_row(cells: list[str], position: str) -> Row:
    if len(cells) not in (2, 3) or not all(cells):
        raise UserError(f"{position}: got {','.join(cells)[:200]!r}, expected image,depth or image,depth,scene.")
    # Interned, since all rows of a scene repeat its name.
    return Row(cells[0], cells[1], sys.intern(cells[2] if len(cells) == 3 else Path(cells[0]).parent.name))


def split_by_scene(rows: Sequence[Row], fraction: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Hold out whole scenes until they hold at least `fraction` of the rows: (train, validation).

    Of a single scene the last rows are held out, so that neighbours mostly stay together.
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
