"""The run's folder: what was asked, on what, and how it went."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from src.conventions import UserError
from src.training.provenance import environment


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before any work is done for it. Nothing is created.

    **Raises**: UserError.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: cannot be written, {there} is no folder of yours. Name another folder.")


class Logbook:
    """Write a run's options, environment and metrics into its folder, as text and for TensorBoard.

    **Raises**: UserError when the folder cannot be written.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
            (folder / "options.yaml").write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
            (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be written ({error}). Name another folder.") from None
        self._board = SummaryWriter(str(folder))

    def record(self, step: int, **values: float) -> None:
        """Append one line of metrics; a name like `val_rmse_m` becomes the board's `val/rmse_m`."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name.replace("_", "/", 1), value, step)

    def close(self) -> None:
        """Flush everything to disk."""
        self._file.close()
        self._board.close()
