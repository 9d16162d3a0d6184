"""Prepare a script's process: imports, caches, standard streams; end it with one-line errors."""

import atexit
import contextlib
import errno
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["MPLBACKEND"] = "Agg"  # a notebook's kernel passes on a backend that may not be installed here
# Threads that wait spin for microseconds, then sleep. OpenMP's default is to spin for long, which takes the cores from
# other processes; to sleep at once costs a training an eighth of its speed. Figures: src/benchmarks/README.md.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

if multiprocessing.parent_process():  # a worker that imports the script anew; the main process handles signals
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
else:
    gc.disable()  # until the script runs: to look for garbage among its imports takes a quarter of their time


class Output:
    """A standard stream that drops what it cannot write, when its reader has left or its disk is full."""

    def __init__(self, name: str, descriptor: int) -> None:
        if getattr(sys, name) is None:  # closed; a file opened later must not get its descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            setattr(sys, name, os.fdopen(descriptor, "w"))
        self._stream = getattr(sys, name)
        self.error: OSError | None = None
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")  # for names that the terminal cannot show
        setattr(sys, name, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write or drop the text."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush or drop what is buffered."""
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


REFUSED = errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP  # paths that the system does not open
OUTPUT, _ = Output("stdout", 1), Output("stderr", 2)


@atexit.register
def report_lost_output() -> None:
    """Report a full disk. A reader that has left, as `head` does, is no error: results are files."""
    if not OUTPUT.closed:
        OUTPUT.flush()
    if OUTPUT.error and OUTPUT.error.errno not in (errno.EPIPE, errno.EINVAL):  # EINVAL: a closed pipe on Windows
        print(f"error: the output could not be written ({OUTPUT.error.strerror}).", file=sys.stderr, flush=True)
        os._exit(2)


def report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report Ctrl-C, a missing package and a refused path in one line, and other uncaught exceptions as Python does."""
    if isinstance(error, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError):
        print(f"error: {error.name} is not installed. Run: pip install -r requirements.txt", file=sys.stderr)
    elif isinstance(error, OSError) and error.filename and error.errno in REFUSED:
        print(f"error: {error.filename}: {error.strerror}. Check the path and its permissions.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = report_uncaught


def choose_cache() -> None:
    """Let all packages keep their caches in one writable folder where the home folder is missing or read-only."""
    from src.choices import find_cache

    try:
        cache, is_spare = find_cache()
    except OSError as error:
        print(f"error: {error.strerror}. Name a writable folder with the variable TMPDIR.", file=sys.stderr)
        sys.exit(2)
    if is_spare:
        print(f"no writable home folder: caches are kept in {cache}", file=sys.stderr)
        os.environ |= {"XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": str(cache / "matplotlib")}
        os.environ.setdefault("HOME", str(cache))


choose_cache()


def run(main: Callable[[], None]) -> None:
    """Run a script; a user's mistake ends it with one line and its status, Ctrl-C with 130, SIGTERM with 143."""
    from src.conventions import UserError

    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    # An exception lets `with` and `finally` blocks clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
