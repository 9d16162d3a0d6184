"""A folder of `images/` and `depth/` as rows: pairs of files of one name, in splits where there are sub-folders."""

import os
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from src.conventions import UserError
from src.data.csv_rows import SPLIT_NAMES, Row
from src.data.photos import HEIF_SUFFIXES, PHOTO_SUFFIXES

DEPTH_SUFFIXES = (".npy", ".png", ".tif", ".tiff", ".pgm", ".pfm")
"""Of depth files; the first of these is taken where several have a photo's name."""


def is_paired_folder(folder: Path) -> bool:
    """Tell whether a folder has `images/` and `depth/`, or sub-folders of splits that have them."""
    return any(map(_is_paired, _bases(folder)))


def read_folder(folder: Path) -> dict[str, list[Row]]:
    """List the pairs of a folder by split; the key "" holds those of no split. A scene is a folder of photos.

    The splits are sub-folders of `images/` and `depth/`, or have these two themselves.

    **Raises**: UserError when no photo has a depth file of its name.
    """
    splits: dict[str, list[Row]] = {}
    alone: list[Path] = []
    for base in _bases(folder):
        by_suffix = [path for suffix in DEPTH_SUFFIXES for path in _files(base / "depth", {suffix})]
        depths = {path.with_suffix(""): path for path in reversed(by_suffix)}
        for path in sorted(_files(base / "images", PHOTO_SUFFIXES | HEIF_SUFFIXES | {".npy"})):
            image, depth = base / "images" / path, depths.get(path.with_suffix(""))
            if depth is None:
                alone.append(image)
                continue
            split = SPLIT_NAMES.get((path.parts[0] if base == folder else base.name).lower(), "")
            scene = sys.intern(path.parent.as_posix() if path.parent.name else base.name)
            row = Row(str(image.relative_to(folder)), str((base / "depth" / depth).relative_to(folder)), scene)
            splits.setdefault(split, []).append(row)
    if "" in splits and len(splits) > 1:
        raise UserError(
            f"{folder}: got {splits[''][0].image} beside folders named after splits, expected every photo in one of "
            f"these ({', '.join(SPLIT_NAMES)}). Move or rename its folder."
        )
    count = sum(map(len, splits.values()))
    if not count:
        raise UserError(
            f"{folder}: got {len(alone)} photos below images/, none with a file of its name below depth/. "
            f"Expected images/a.jpg and depth/a.png ({', '.join(DEPTH_SUFFIXES)})."
        )
    if alone:
        print(f"{folder}: {len(alone)} photos have no depth, such as {alone[0]}; {count} pairs", file=sys.stderr)
    return splits


def _bases(folder: Path) -> list[Path]:
    if not os.path.isdir(folder):
        return [folder]
    below = [folder / name for name in os.listdir(folder)]
    splits = [base for base in below if base.name.lower() in SPLIT_NAMES and _is_paired(base)]
    return [folder, *([base for base in below if _is_paired(base)] if splits else [])]


def _is_paired(folder: Path) -> bool:
    return os.path.isdir(folder / "images") and os.path.isdir(folder / "depth")


def _files(folder: Path, suffixes: Container[str]) -> Iterator[Path]:
    """Yield the files below a folder, relative to it, that have one of the suffixes; hidden ones are left out."""
    visited = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders if not name.startswith(".")}
        folders[:] = [name for name, path in real.items() if path not in visited]
        visited |= {*real.values()}
        for name in names:
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(parent, name).relative_to(folder)
