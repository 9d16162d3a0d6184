"""A run's folder: its options, its environment, and its metrics."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from src.conventions import UserError
from src.files import whole_file
from src.training.provenance import environment


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before any work is done for it. Nothing is created.

    **Raises**: UserError.
    """
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: cannot be written, {nearest} is no writable folder. Name another folder.")


class RunLog:
    """Write a run's options, environment and metrics into its folder, as text and for TensorBoard.

    In a run resumed after `epochs` epochs, the records of later epochs are dropped, since they will be written again.

    **Raises**: UserError when the folder cannot be written.
    """

    def __init__(self, folder: Path, options: dict[str, Any], *, epochs: int = 0) -> None:
        self._path = folder / "metrics.jsonl"
        kept = list(_read(self._path, epochs)) if self._path.exists() else []
        texts = {
            "options.yaml": yaml.safe_dump(options, sort_keys=False),
            "environment.json": json.dumps(environment(), indent=2) + "\n",
            self._path.name: "".join(json.dumps(line) + "\n" for line in kept),
        }
        for name, text in texts.items():
            with whole_file(folder / name) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        with self._disk_errors():
            self._board = SummaryWriter(str(folder), purge_step=kept[-1]["step"] + 1 if kept else 0)

    def record(self, step: int, *, epoch: int, **values: float) -> None:
        """Append an epoch's line of metrics; a name like `val_rmse_m` becomes TensorBoard's tag `val/rmse_m`.

        **Raises**: UserError when the disk is full or refuses.
        """
        values = {"epoch": epoch, **values}
        with self._disk_errors():
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            for name, value in values.items():
                self._board.add_scalar(name.replace("_", "/", 1), value, step)
            self._board.flush()  # so that a killed run keeps its points

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror}). Free some disk.") from None


def _read(path: Path, epochs: int) -> Iterator[dict[str, Any]]:
    """Read the lines of the first `epochs` epochs; a crash may have truncated the last line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line)
            if values["epoch"] <= epochs:
                yield values
