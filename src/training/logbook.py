"""The run's folder: what was asked, on what, and how it went."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from src.conventions import UserError
from src.files import stand_again, whole_file
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

    Where a run goes on after so many `epochs`, what was recorded of later ones is dropped: it comes again.

    **Raises**: UserError when the folder cannot be written.
    """

    def __init__(self, folder: Path, options: dict[str, Any], *, epochs: int = 0) -> None:
        self._path = folder / "metrics.jsonl"
        texts = {
            "options.yaml": yaml.safe_dump(options, sort_keys=False),
            "environment.json": json.dumps(environment(), indent=2) + "\n",
        }
        kept = list(_read(self._path, epochs)) if self._path.exists() else []
        texts[self._path.name] = "".join(json.dumps(line) + "\n" for line in kept)
        for name, text in texts.items():
            with whole_file(folder / name) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        self._board = folder / f"events.out.tfevents.{time.time_ns()}"
        self._show(file_version="brain.Event:2")
        # TensorBoard's word for dropping what other files of the folder have from this step on.
        begin = kept[-1]["step"] + 1 if kept else 0
        self._show(step=begin, session_log=SessionLog(status=SessionLog.START))

    def record(self, step: int, *, epoch: int, **values: float) -> None:
        """Append an epoch's line of metrics; a name like `val_rmse_m` becomes the board's `val/rmse_m`."""
        values = {"epoch": epoch, **values}
        named = [Summary.Value(tag=name.replace("_", "/", 1), simple_value=value) for name, value in values.items()]
        self._append(self._path, (json.dumps({"step": step, **values}) + "\n").encode())
        self._show(step=step, summary=Summary(value=named))

    def _show(self, **event: Any) -> None:
        """Write an event for TensorBoard. torch's SummaryWriter would do so in a thread, where errors get lost."""
        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **event).SerializeToString())
        self._append(self._board, record.getvalue())

    def _append(self, path: Path, content: bytes) -> None:
        stand_again(path.parent)
        try:
            # Opened each time: if the folder was replaced meanwhile, this goes where people look.
            with path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}). Free some disk.") from None


def _read(path: Path, epochs: int) -> Iterator[dict[str, Any]]:
    """Read the lines of so many epochs; a crash may have cut the last one short."""
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line)
            if values["epoch"] <= epochs:
                yield values
