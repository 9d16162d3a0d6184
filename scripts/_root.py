"""Put the repository on Python's path, and end scripts with one-line errors."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def report_missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report a package that is not installed in one line, and any other uncaught exception as Python does."""
    if isinstance(error, ModuleNotFoundError):
        print(f"error: {error.name} is not installed. Run: pip install -r requirements.txt", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = report_missing


def run(main: Callable[[], None]) -> None:
    """Run a script; a user's mistake ends it with one line and status 2, Ctrl-C with 130, SIGTERM with 143."""
    from src.conventions import UserError

    # An exception lets `with` and `finally` blocks clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
