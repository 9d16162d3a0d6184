"""Frames that cannot be used are left out one by one; too many of them end the run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from src.conventions import UserError
from src.data.frame import Refused


def allowed_bad(max_bad: int | float | None, count: int) -> int:
    """Say how many of `count` frames may be bad: a number, a share (a float), or by default 0.1 %, at least 10."""
    if max_bad is None:
        return max(10, count // 1000)
    return max_bad if isinstance(max_bad, int) else int(max_bad * count + 1e-6)  # 0.29 * 100 is 28.999…


def to_stderr(line: str) -> None:
    """Print a line where progress bars and errors go."""
    print(line, file=sys.stderr)


class Allowance:
    """Reports each bad frame of a source once, and remembers why it was left out.

    `max_bad` is what `--max-bad` says, see `allowed_bad`; `report` takes a line.
    """

    def __init__(
        self, count: int, max_bad: int | float | None = None, report: Callable[[str], None] = to_stderr
    ) -> None:
        self.count, self.allowed, self.report = count, allowed_bad(max_bad, count), report
        self.reasons: dict[int, str] = {}

    def leave_out(self, index: int, error: UserError) -> None:
        """Leave a frame out.

        **Raises**: the error itself when it is a `Refused`; UserError for one bad frame too many, or when none is left.
        """
        if isinstance(error, Refused):
            raise error
        self.reasons[index] = str(error)
        bad = len(self.reasons)
        if bad > self.allowed:
            raise UserError(
                f"At least {bad} of {self.count} frames cannot be used, and --max-bad allows {self.allowed}. "
                f"Mend them, or allow more. The last: {error}"
            )
        if bad == self.count:
            raise UserError(f"None of the {self.count} frames can be used. The last: {error}")
        self.report(f"{error} The frame is left out.")
