"""One setting of the C library's allocator, which spares training on a CPU its page faults."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the process keep the memory it frees, instead of handing large blocks back to the kernel.

    By default glibc maps every large tensor anew, and the kernel clears its pages at each training step.
    Returns whether this platform took the setting; only glibc knows it.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
