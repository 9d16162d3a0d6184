"""Atomic writes, and whether a folder can be written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from src.conventions import UserError


@contextlib.contextmanager
def whole_file(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds, flush the file and rename it to `path`.

    A missing folder is created. With `keep`, the earlier file is first renamed to `keep`; a crash between the two
    renames leaves it there.

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


def is_writable(folder: Path) -> bool:
    """Return whether files can be written into a folder, or into the nearest that exists, to create it."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be made or written, before any work is done for it. Nothing is created.

    **Raises**: UserError.
    """
    if not is_writable(folder):
        raise UserError(f"{option} {folder}: cannot be written or created. Name another folder.")


def check_file(path: Path, option: str = "--out") -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    **Raises**: UserError.
    """
    check_writable(path.parent, option)
    if path.is_dir():
        raise UserError(f"{option} {path}: got a folder, expected the name of a file.")


def _flush_folder(folder: Path) -> None:
    """Flush the folder's entries to the disk, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
