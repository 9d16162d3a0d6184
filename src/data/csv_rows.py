"""The csv that lists a data set: read row by row, split by scene."""

import csv
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.conventions import ANGLES, UserError, is_angle

MOST_ROWS = 1_000_000
"""Twenty times NYU's list. So many rows take 0.3 GB of memory."""

LONGEST_LINE = 4096  # in characters: the length limit of one path on Linux

WORDS = {"depth": "depth", "image": "image", "rgb": "image", "photo": "image", "colo": "image"}
WORDS |= {"scene": "scene", "fov": "fov_deg", "split": "split"}
"""What is in the name of a column, by which a header is recognised, and the column it stands for."""
FOV_COLUMNS = ("fov", "fov_deg", "fov_degrees")

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test"}
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".tif", ".tiff")


class Row(NamedTuple):
    """One line of the csv: two paths relative to the root, the scene they show, and the camera's angle of view."""

    image: str
    depth: str
    scene: str
    fov_deg: float | None = None


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a csv as `read_splits` does, of whatever split."""
    return [row for rows in read_splits(path).values() for row in rows]


def read_splits(path: Path) -> dict[str, list[Row]]:
    """Read `image,depth[,scene]` rows, or those of a header that names `image,depth[,scene][,fov_deg][,split]`.

    Its columns may be in any order. The default scene is the photo's folder; the default split is "".

    **Raises**: UserError when the file cannot be read, is empty or too long, or a row is not of that form.
    """
    splits: dict[str, list[Row]] = {}
    count = 0
    columns: list[str] | None = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST_LINE + 1):
                cells = _split_line(line)
                if columns is None and cells:
                    columns = _read_header(cells, path)
                    cells = [] if columns else cells
                if cells:
                    count += 1
                    if not columns and _is_no_scene(*cells[2:3]):
                        raise UserError(
                            f"{path}, row {count}: got {cells[2]!r} where a scene was expected. "
                            "Name the columns in a first line, such as image,depth,split."
                        )
                    split, row = _make_row(cells, columns or list(Row._fields[:3]), f"{path}, row {count}")
                    splits.setdefault(split, []).append(row)
                if count > MOST_ROWS:
                    raise UserError(f"{path}: got more than {MOST_ROWS} rows. Split the list, or keep every n-th row.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as csv ({error}). Expected rows of image,depth paths.") from None
    if not splits:
        raise UserError(f"{path}: got an empty file, expected rows of image,depth paths relative to it.")
    return splits


def _read_header(cells: list[str], path: Path) -> list[str]:
    """Return the columns that a first line names, "" for others; none if it is a row."""
    found = [next((name for word, name in WORDS.items() if word in cell.lower()), "") for cell in cells]
    if not any(found) or any("." in cell or "/" in cell for cell in cells):
        return []
    for cell, name in zip(cells, found, strict=True):
        if name == "fov_deg" and cell.lower() not in FOV_COLUMNS:
            raise UserError(f"{path}: got the column {cell[:60]!r}, expected fov_deg: degrees along the longer side.")
    for name in {*found} - {""}:  # beside scene and scene_type, only the first is a scene
        exact = [cell.lower() == name for cell in cells]
        if found.count(name) > 1 and sum(exact) == 1:
            found = ["" if other == name and not is_it else other for other, is_it in zip(found, exact, strict=True)]
    counts = Counter(found)
    if counts["image"] != 1 or counts["depth"] != 1 or any(counts[name] > 1 for name in found if name):
        raise UserError(
            f"{path}: got the header {','.join(cells)[:200]!r}, expected image,depth[,scene][,fov_deg][,split]."
        )
    if unused := [cell for cell, name in zip(cells, found, strict=True) if not name]:
        print(f"{path}: columns that are not used: {str(unused)[1:-1][:200]}", file=sys.stderr)
    return found


def _is_no_scene(name: str = "") -> bool:
    return name.lower() in SPLIT_NAMES or Path(name).suffix.lower() in FILE_SUFFIXES


def _split_line(line: str) -> list[str]:
    """Split one line, which is one row, so that an open quote cannot consume the rest of the file."""
    if len(line) > LONGEST_LINE:
        raise csv.Error(f"a line is longer than {LONGEST_LINE} characters")
    if "\0" in line or len(line.splitlines()) > 1:  # no path has a null byte; U+2028 and others break messages
        raise csv.Error(f"got a null byte or a line separator in {line[:200]!r}")
    return [cell.strip() for cells in csv.reader([line], skipinitialspace=True) for cell in cells]


def _make_row(cells: list[str], columns: list[str], position: str) -> tuple[str, Row]:
    values = dict(zip(columns, cells, strict=False))
    try:
        fov_deg = float(fov) if (fov := values.get("fov_deg")) else None
    except ValueError:
        fov_deg = math.nan
    is_whole = len(cells) <= len(columns) and values.get("image") and values.get("depth")
    split = values.get("split", "").lower()
    if not is_whole or (split and split not in SPLIT_NAMES):
        raise UserError(f"{position}: got {','.join(cells)[:200]!r}, expected {','.join(columns)}.")
    if fov_deg is not None and not is_angle(fov_deg):
        raise UserError(f"{position}: got {','.join(cells)[:200]!r}, expected an angle of {ANGLES}.")
    # Interned, since all rows of a scene repeat its name.
    scene = sys.intern(values.get("scene") or Path(values["image"]).parent.as_posix())
    return SPLIT_NAMES.get(split, ""), Row(values["image"], values["depth"], scene, fov_deg)


def split_by_scene(rows: Sequence[Row], fraction: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Hold out whole scenes until they hold at least `fraction` of the rows: (train, validation).

    Scenes of more than twice as many rows are trained on. Of a single scene, and where each row has a scene of its own,
    as in a folder for each frame, the last rows are held out, so that neighbours mostly stay together.

    **Raises**: UserError for a single row, and for a photo in two scenes.
    """
    wanted = min(max(1, round(fraction * len(rows))), len(rows) - 1) if fraction else 0
    if fraction and len(rows) == 1:
        raise UserError(
            "got one pair, expected at least two: one to train on, one held out. Add pairs, or --validation 0."
        )
    scene_of: dict[str, str] = {}
    for row in rows if wanted else ():
        if (scene := scene_of.setdefault(row.image, row.scene)) != row.scene:
            raise UserError(f"{row.image}: got it in the scenes {scene!r} and {row.scene!r}, expected it in one.")
    sizes = Counter(row.scene for row in rows)
    scenes = sorted(sizes)
    if len(scenes) in (1, len(rows)):
        return list(rows[: len(rows) - wanted]), list(rows[len(rows) - wanted :])
    shuffled = [scenes[index] for index in np.random.default_rng(seed).permutation(len(scenes))]
    small = [scene for scene in shuffled if sizes[scene] <= 2 * wanted] or [min(shuffled, key=sizes.__getitem__)]
    held_out: set[str] = set()
    count = 0
    for scene in small:
        if count >= wanted or len(held_out) == len(scenes) - 1:
            break
        held_out.add(scene)
        count += sizes[scene]
    return [row for row in rows if row.scene not in held_out], [row for row in rows if row.scene in held_out]
