"""Frames that are left out: bad ones, too many of which end the run, and those without valid depth."""

import sys
from collections.abc import Callable

from src.conventions import UserError
from src.data.listing import UnsafePath


def allowed_bad(max_bad: int | float | None, count: int) -> int:
    """Return how many of `count` frames may be bad: a number, a share (a float), or by default 0.1 %, at least 10."""
    if max_bad is None:
        return max(10, count // 1000)
    return max_bad if isinstance(max_bad, int) else int(max_bad * count + 1e-6)  # 0.29 * 100 is 28.999…


class NoValidDepth(UserError):
    """A frame without one pixel of depth within the range, from which nothing can be learnt or measured."""

    def __init__(self) -> None:
        super().__init__("no pixel has valid depth within the range")


class Allowance:
    """Collects the frames of a source that are left out: `reasons` maps bad ones to their errors, `empty` lists others.

    `max_bad` as in `allowed_bad`; `report` is called with one line per bad frame. Frames without valid depth are not
    bad: they may be beyond the range, and are counted by the caller.
    """

    def __init__(
        self,
        count: int,
        max_bad: int | float | None = None,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.count, self.allowed, self.report = count, allowed_bad(max_bad, count), report
        self.reasons: dict[int, str] = {}
        self.empty: list[int] = []

    def leave_out(self, index: int, error: UserError) -> None:
        """Count a frame. **Raises**: an `UnsafePath` itself; UserError for too many bad frames, or if none is left."""
        if isinstance(error, UnsafePath):
            raise error
        if isinstance(error, NoValidDepth):
            self.empty.append(index)
        else:
            self.reasons[index] = str(error)
        bad = len(self.reasons)
        if bad > self.allowed:
            raise UserError(
                f"At least {bad} of {self.count} frames cannot be used, and --max-bad allows {self.allowed}. "
                f"Fix them, or allow more. The last: {error}"
            )
        if bad + len(self.empty) == self.count:
            raise UserError(f"None of the {self.count} frames can be used. The last: {error}")
        if index in self.reasons:
            self.report(f"{error} The frame is left out.")
