"""The checkpoints of a run: its newest state, the one before, its best weights."""

import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from src.choices import parse_every
from src.conventions import UserError
from src.training import checkpoint, distributed
from src.training.interruption import Interruption, Stopped
from src.training.state import State

NEWEST, PREVIOUS, BEST, DAMAGED = "last.pt", "previous.pt", "best.pt", "damaged.pt"

STOP = 2  # a process's request: 0 nothing, 1 to save, from 2 on to save and stop, 2 plus the signal's number

T = TypeVar("T")


class CheckpointManager:
    """Save a run's state into its folder: when it is due, at the end of an epoch, and before it stops.

    The newest state is `last.pt`, the one before `previous.pt`; one of them is whole at any moment. `best.pt` has the
    weights with the smallest validation error. Where several processes train, all of them call, and the first writes.

    `facts` describe the run, in every checkpoint.

    **Raises**: Stopped, from any method that stops the run, after saving.
    """

    def __init__(
        self, folder: Path, state: State, facts: dict[str, Any], *, every: str, interruption: Interruption
    ) -> None:
        self.folder, self.state, self.facts = folder, state, facts
        self.every_steps, self.every_s = parse_every(every)
        self.interruption = interruption
        self.save_s = 0.0
        self._steps = 0
        self._saved_at = self._stepped_at = time.monotonic()

    def after_step(self) -> None:
        """Save when it is due, and when the run has to stop."""
        now = time.monotonic()
        self._steps += 1
        due = self._steps >= self.every_steps if self.every_steps else now - self._saved_at >= (self.every_s or 0)
        self._stop_or_save(self._stop_request(2 * (now - self._stepped_at)) or int(due))
        self._stepped_at = time.monotonic()

    def stop_if_requested(self, needed_s: float = 0.0) -> None:
        """Save and stop after a signal, or where the next `needed_s` seconds of work would exceed the time limit."""
        self._stop_or_save(self._stop_request(needed_s))

    def interruptible(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items until a signal arrives; then save and stop, in this process alone."""
        for item in items:
            if self.interruption.signum:
                self._save()
                raise Stopped(self.interruption.signum)
            yield item

    def _stop_request(self, needed_s: float) -> int:
        if self.interruption.signum:
            return STOP + self.interruption.signum
        return STOP if self.interruption.is_late(needed_s + self.save_s) else 0

    def _stop_or_save(self, request: int) -> None:
        """Act on the most urgent request of all processes, since signals and clocks differ between them."""
        request = distributed.maximum(request)
        if request >= STOP:
            if self._steps:
                self._save()
            raise Stopped(request - STOP)
        if request:
            self.save()

    def save(self) -> None:
        """Save the state, unless its last step was skipped: weights that may be bad must not replace good ones."""
        if not self.state.streak:
            self._save()

    def _save(self) -> None:
        started = time.monotonic()
        if distributed.is_first():
            self._write(NEWEST, keep=self.folder / PREVIOUS, progress=self.state.progress())
        self._steps = 0
        self._saved_at = self._stepped_at = time.monotonic()
        self.save_s = self._saved_at - started

    def save_best(self, measured: dict[str, float], weights: str) -> bool:
        """Save the weights as the best ones if they are, and return whether they are.

        Without validation the newest weights are the best; figures that are not finite never are. SWA weights that are
        not the best leave the figures of the last epoch in `facts`.
        """
        state = self.state
        error = measured.get("rmse_m", measured.get("rmse"))
        is_best = not state.streak and (error is None or (math.isfinite(error) and error < state.best))
        if is_best or weights != "swa":
            self.facts |= {"weights": weights, "validation": measured}
        if is_best and error is not None:
            state.best = error
        if is_best and distributed.is_first():
            self._write(BEST)
        return is_best

    def _write(self, name: str, *, keep: Path | None = None, **content: Any) -> None:
        about = {**self.facts, "epoch": self.state.epoch}
        checkpoint.save(self.folder / name, keep=keep, about=about, **self.state.weights(), **content)


def find_newest(folder: Path) -> Path | None:
    """Find the newest state in a run's folder, or the one before; None where there is none."""
    return next((path for path in (folder / NEWEST, folder / PREVIOUS) if path.exists()), None)


def load_newest(path: Path) -> dict[str, Any]:
    """Load a run's newest state; if it is damaged, print why, rename it, and load the previous one.

    **Raises**: UserError when neither can be read.
    """
    previous = path.with_name(PREVIOUS)
    try:
        return checkpoint.load(path)
    except UserError as error:
        if path.name != NEWEST or not previous.exists():
            raise
        try:
            content = checkpoint.load(previous)
        except UserError as second:
            raise UserError(f"{error} The previous state cannot be read either. {second}") from None
        if path.exists():
            os.replace(path, path.with_name(DAMAGED))  # or the next save would replace the good one by it
        print(f"{error}\nResuming from {previous}, the state before it.", flush=True)
        return content
