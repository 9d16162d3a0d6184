"""Requests to stop a run: SIGTERM, Ctrl-C, and a time limit."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """The run stops as requested. Like KeyboardInterrupt, no `except Exception` may catch it.

    `status` is the exit status: 130 after Ctrl-C, 143 after SIGTERM, 0 at the time limit.
    """

    def __init__(self, signum: int = 0) -> None:
        cause = {0: "--max-minutes", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[signum]
        super().__init__(f"stopped by {cause}")
        self.status = 128 + signum if signum else 0


class Interruption:
    """Handle signals while the context is entered, and watch the time limit.

    Within `deferred`, a first signal is stored in `signum`; a second one, or any outside, raises `Stopped` at once.
    """

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.limit_s = math.inf
        self.signum = 0
        self._defers = False

    def __enter__(self) -> Interruption:
        self._previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block finish its step and save when a signal arrives."""
        self._defers = True
        try:
            yield
        finally:
            self._defers = False
        if self.signum:
            raise Stopped(self.signum)

    def is_late(self, needed_s: float = 0.0) -> bool:
        """Return whether work of so many seconds would end after the time limit."""
        return time.monotonic() - self.started_s + needed_s > self.limit_s

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum or not self._defers:
            raise Stopped(signum)
        self.signum = signum
        # print would fail where the signal interrupted another print.
        with contextlib.suppress(OSError):  # Ctrl-C also ends a `tee` that reads this
            os.write(2, b"\nstopping: the step is finished and saved first; a second signal stops at once\n")
