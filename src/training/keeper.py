"""What keeps a run: its newest state, the one before, its best weights."""

from __future__ import annotations

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

STOP = 2
"""What a process wants, as a number: 0 nothing, 1 to save, from here on to save and stop, the signal added."""

T = TypeVar("T")


class Keeper:
    """Save a run's state into its folder: when it is due, at the end of an epoch, and before it stops.

    The newest state is `last.pt`, the one before `previous.pt`; one of them is whole at any moment. `best.pt` has the
    weights with the smallest validation error. Where several processes train, all of them call, and the first writes.

    `facts` is what a checkpoint tells about its run, and goes out with every one.
    """

    def __init__(
        self, folder: Path, state: State, facts: dict[str, Any], *, every: str, interruption: Interruption
    ) -> None:
        self.folder, self.state, self.facts = folder, state, facts
        self.every_steps, self.every_s = parse_every(every)
        self.interruption = interruption
        self.took_s = 0.0
        self._steps, self._saved_at, self._stepped_at = 0, time.monotonic(), time.monotonic()

    def after_step(self) -> None:
        """Save when it is due, and when the run is to stop.

        **Raises**: Stopped, after saving.
        """
        now = time.monotonic()
        step_s, self._stepped_at = now - self._stepped_at, now
        self._steps += 1
        due = self._steps >= self.every_steps if self.every_steps else now - self._saved_at >= (self.every_s or 0)
        # Signals and clocks differ between processes; they all take what the most urgent of them says.
        urgency = self._urgency(2 * step_s)
        urgency = distributed.agree(urgency or int(due))
        if urgency >= STOP:
            self._save()
            raise Stopped(urgency - STOP)
        if urgency:
            self.save()
        self._stepped_at = time.monotonic()

    def stop_if_asked(self, needed_s: float = 0.0) -> None:
        """Save and stop where a signal has come, or what comes next would take too long.

        **Raises**: Stopped, after saving.
        """
        urgency = distributed.agree(self._urgency(needed_s))
        if urgency:
            if self._steps:
                self._save()
            raise Stopped(urgency - STOP)

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Pass items on until a signal has come; then save and stop. Each process does so for itself.

        **Raises**: Stopped, after saving.
        """
        for item in items:
            if self.interruption.signum:
                self._save()
                raise Stopped(self.interruption.signum)
            yield item

    def _urgency(self, needed_s: float) -> int:
        if self.interruption.signum:
            return STOP + self.interruption.signum
        return STOP if self.interruption.is_late(needed_s + self.took_s) else 0

    def save(self) -> None:
        """Save the state; what was the newest one becomes the previous one.

        Not while losses are not finite: weights that may be spoilt shall push no good ones out.
        """
        if not self.state.streak:
            self._save()

    def _save(self) -> None:
        begun = time.monotonic()
        if distributed.is_first():
            self._write(NEWEST, keep=self.folder / PREVIOUS, progress=self.state.progress())
        self._steps, self._saved_at = 0, time.monotonic()
        self._stepped_at, self.took_s = self._saved_at, self._saved_at - begun

    def judge(self, measured: dict[str, float], weights: str) -> bool:
        """Keep the weights as the best ones where they are, and say whether they are.

        Without validation the newest weights are the best. Measures that are not finite never are. The averaged
        weights of SWA, where they are not the best, leave what checkpoints tell of the last epoch as it was.
        """
        state = self.state
        error = measured.get("rmse_m", measured.get("rmse"))
        is_best = not state.streak and (error is None or (math.isfinite(error) and error < state.best))
        if is_best or weights != "swa":
            self.facts |= {"weights": weights, "validation": measured}
        if not is_best:
            return False
        if error is not None:
            state.best = error
        if distributed.is_first():
            self._write(BEST)
        return True

    def _write(self, name: str, *, keep: Path | None = None, **content: Any) -> None:
        about = {**self.facts, "epoch": self.state.epoch}
        checkpoint.save(self.folder / name, keep=keep, about=about, **self.state.weights(), **content)


def find_newest(folder: Path) -> Path | None:
    """Find what a run can go on from: its newest state, or the one before; None where there is none."""
    return next((path for path in (folder / NEWEST, folder / PREVIOUS) if path.exists()), None)


def load_newest(path: Path) -> dict[str, Any]:
    """Load a run's newest state; where it is damaged, say so, put it aside, and take the one before.

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
            raise UserError(f"{error} Nor can the state before it be read. {second}") from None
        if path.exists():
            # The next save would else push the good one out and keep this one.
            os.replace(path, path.with_name(DAMAGED))
        print(f"{error}\nGoing on from {previous}, the state before it.", flush=True)
        return content
