"""Keeps the C library from giving memory back between updates, but not for ever."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["give_freed_memory_back", "keep_freed_memory"]

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


def give_freed_memory_back() -> None:
    """Return what ``keep_freed_memory`` hoards; to be called before a process is forked.

    A worker keeps all pages that the trainer had then. Those that the trainer writes to again exist
    twice: a long run was seen to fill 24 GB so.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
