"""A run's folder: its options, its environment, and its metrics."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from src.conventions import UserError
from src.files import check_writable, whole_file
from src.training.provenance import environment


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, or not by TensorBoard.

    **Raises**: UserError.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"--out {folder}: got no UTF-8, which TensorBoard expects. Name another folder.") from None
    check_writable(folder)


def lock_folder(folder: Path) -> None:
    """Lock a folder until this process ends, where the system supports it; workers do not inherit the lock.

    **Raises**: UserError when another process has locked it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)  # never closed, which would unlock
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise UserError(f"--out {folder}: another run is writing there. Wait for it, or name another folder.") from None
    except OSError:  # some network disks have no locks
        os.close(descriptor)


class RunLog:
    """Write a run's options, environment and metrics into its folder, as text and for TensorBoard.

    In a run resumed after `epochs` epochs, the records of later epochs are dropped, since they will be written again.

    **Raises**: UserError when the folder cannot be written, or another process trains in it.
    """

    def __init__(self, folder: Path, options: dict[str, Any], *, epochs: int = 0) -> None:
        self.folder, self._path, self._step = folder, folder / "metrics.jsonl", 0
        with self._disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
            lock_folder(folder)
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

    def record(
        self, step: int, epoch: int, *, train: Mapping[str, float], val: Mapping[str, float], skipped: int
    ) -> None:
        """Append an epoch's line of metrics, with names like `val_rmse_m`, TensorBoard's tag `val/rmse_m`.

        **Raises**: UserError when the disk is full or refuses.
        """
        splits = {"train": train, "val": val}
        measured = {f"{split}_{name}": value for split, values in splits.items() for name, value in values.items()}
        values = {"epoch": epoch, **measured, "skipped": skipped}
        self._step = step
        with self._disk_errors():
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            for name, value in values.items():
                self._board.add_scalar(name.replace("_", "/", 1), value, step)
            self._board.flush()  # so that a killed run keeps its points

    def add_picture(self, name: str, path: Path) -> None:
        """Show a PNG in TensorBoard, at the step of the last record.

        **Raises**: UserError when the disk is full or refuses.
        """
        with self._disk_errors(), Image.open(path) as image:
            self._board.add_image(name, np.asarray(image.convert("RGB")), self._step, dataformats="HWC")
            self._board.flush()

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
