"""Bad frames are skipped one by one; too many of them end the run."""

from __future__ import annotations

import sys
from collections.abc import Callable

from src.conventions import UserError
from src.data.listing import UnsafePath


def allowed_bad(max_bad: int | float | None, count: int) -> int:
    """Return how many of `count` frames may be bad: a number, a share (a float), or by default 0.1 %, at least 10."""
    if max_bad is None:
        return max(10, count // 1000)
    return max_bad if isinstance(max_bad, int) else int(max_bad * count + 1e-6)  # 0.29 * 100 is 28.999…


class Allowance:
    """Collects and reports the bad frames of a source; `reasons` maps their indices to the errors.

    `max_bad` as in `allowed_bad`; `report` is called with one line per frame.
    """

    def __init__(
        self,
        count: int,
        max_bad: int | float | None = None,
        report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.count, self.allowed, self.report = count, allowed_bad(max_bad, count), report
        self.reasons: dict[int, str] = {}

    def leave_out(self, index: int, error: UserError) -> None:
        """Count a bad frame. **Raises**: an `UnsafePath` itself; UserError for too many bad frames."""
        if isinstance(error, UnsafePath):
            raise error
        self.reasons[index] = str(error)
        bad = len(self.reasons)
        if bad > self.allowed:
            raise UserError(
                f"At least {bad} of {self.count} frames cannot be used, and --max-bad allows {self.allowed}. "
                f"Fix them, or allow more. The last: {error}"
            )
        if bad == self.count:
            raise UserError(f"None of the {self.count} frames can be used. The last: {error}")
        self.report(f"{error} The frame is left out.")
