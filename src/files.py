"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from src.conventions import UserError


@contextlib.contextmanager
def whole_file(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, flush what was written there and move it.

    With `keep`, the earlier file of that name is moved there first. A crash between the two moves leaves it there.

    **Raises**: UserError when the disk refuses; an earlier file of that name is then untouched.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(unfinished, path)
        _flush_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written ({reason}). Free some disk, or name another place.") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def stand_again(folder: Path) -> None:
    """Make a folder anew that somebody removed meanwhile, and say so: a run of days shall not end for that.

    **Raises**: UserError when the disk refuses.
    """
    if folder.is_dir():
        return
    print(f"{folder}: has vanished, and is made anew", flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made anew ({error.strerror}).") from None


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system has a way to ask for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
