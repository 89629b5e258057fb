"""Keeps the C library from giving memory back between updates."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of mapping and unmapping them; elsewhere do nothing.

    Training allocates the same large tensors in every update. By default each is a fresh mapping
    whose pages the kernel clears again, at the cost of much of the CPU's time.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never: it is read as an unsigned number
