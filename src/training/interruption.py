"""A run is asked to stop: by SIGTERM, by Ctrl-C, or by its own clock."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """The run ends here, in good order. Like KeyboardInterrupt, it is no error that anybody may swallow.

    `status` is what the process should end with: 130 after Ctrl-C, 143 after SIGTERM, 0 when the time was up.
    """

    def __init__(self, signum: int = 0) -> None:
        why = {0: "--max-minutes", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[signum]
        super().__init__(f"stopped by {why}")
        self.status = 128 + signum if signum else 0


class Interruption:
    """Hear signals for as long as it is entered, and know how much time is left.

    Within `patience`, a first signal is only remembered, until somebody asks; a second one, or any one outside,
    raises `Stopped` on the spot.
    """

    def __init__(self) -> None:
        self.begun_s = time.monotonic()
        self.limit_s = math.inf
        self.signum = 0
        self._patient = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Let what runs within this context end in good order when a signal comes."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.signum:
            raise Stopped(self.signum)

    def is_late(self, needed_s: float = 0.0) -> bool:
        """Tell whether what needs so many seconds would end after the limit."""
        return time.monotonic() - self.begun_s + needed_s > self.limit_s

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self.signum or not self._patient:
            raise Stopped(signum)
        self.signum = signum
        # Not by print, which fails where the signal came in the middle of another one.
        os.write(2, b"\nstopping: the step is finished and saved first; a second signal stops at once\n")
