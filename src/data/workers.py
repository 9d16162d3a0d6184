"""Worker processes that read batches ahead: their signals, their shared memory, their end."""

import atexit
import contextlib
import multiprocessing
import re
import signal
from collections.abc import Iterator
from functools import cache
from typing import Any

from torch.utils.data import get_worker_info

from src.conventions import UserError

GRACE_S = 60  # a worker that gets SIGTERM ends after this time

ADVICE = "Take fewer workers, or --workers 0; in a container, more shared memory (docker run --shm-size=2g)."

WORKER_ERROR = r"DataLoader worker \(pid[^.]*|unable to [^:]*(shared memory|</torch_).*"  # in the messages of torch 2


def share_batch(batch: Any) -> Any:
    """Move a worker's batch to shared memory. The queue would do so in a thread, whose errors nobody receives."""
    if get_worker_info() is not None:
        for tensor in batch:
            tensor.share_memory_()
    return batch


@contextlib.contextmanager
def worker_errors(advice: str = ADVICE) -> Iterator[None]:
    """Turn the end of a worker, which torch may report at any line, into a UserError with this advice."""
    try:
        yield
    except RuntimeError as error:
        if found := re.search(WORKER_ERROR, str(error)):
            raise UserError(f"{found[0]}. {advice}") from None
        raise


def postpone_signals(worker: int) -> None:
    """Keep a worker running after a signal to all processes of a run, since the main process finishes its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))


@cache
def kill_workers_at_exit() -> None:
    """Let this process kill its workers when it ends; called where they are started.

    A program that only predicts may have daemon processes of its own.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    """Kill the workers that an exception leaves behind. Python's own exit would send SIGTERM and wait."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report them as crashed
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()
