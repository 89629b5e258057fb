"""What the kernels share: the exchange of ``h`` between programs, and clocks.

The exchange needs no barrier and no counter: the data is the flag. A buffer is filled with
``SENTINEL`` before the launch; a producer stores a value over it, bypassing L1, and a consumer
reads the very words it needs, again and again, until none is the sentinel.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import core

__all__ = [
    "SENTINEL",
    "clock",
    "global_timer",
    "multiprocessor",
    "publish32",
    "stamp",
]

# All ones: a NaN in every float format here, and one that no instruction produces.
SENTINEL = tl.constexpr(-1)
QUIET_NAN_32 = tl.constexpr(0x7FC00000)


@triton.jit
def publish32(value):
    """Return the bits of a float32, the sentinel's own replaced by another NaN."""
    bits = value.to(tl.int32, bitcast=True)
    return tl.where(bits == SENTINEL, QUIET_NAN_32, bits)


@core.extern
def clock(_semantic=None):
    """The cycle counter of this multiprocessor; counters of different ones are unrelated."""
    return core.inline_asm_elementwise(
        "mov.u64 $0, %clock64;", "=l", [], core.int64, is_pure=False, pack=1, _semantic=_semantic
    )


@core.extern
def global_timer(_semantic=None):
    """Nanoseconds, one clock for the whole GPU, in steps of up to a microsecond."""
    return core.inline_asm_elementwise(
        "mov.u64 $0, %globaltimer;",
        "=l",
        [],
        core.int64,
        is_pure=False,
        pack=1,
        _semantic=_semantic,
    )


@core.extern
def multiprocessor(_semantic=None):
    """The number of the multiprocessor that runs this program."""
    return core.inline_asm_elementwise(
        "mov.u32 $0, %smid;", "=r", [], core.int32, is_pure=True, pack=1, _semantic=_semantic
    )


@triton.jit
def stamp(stamps, program, row, T):
    """Record where and when: (nanoseconds, cycles, multiprocessor) in a row of ``stamps``."""
    pointer = stamps + (program * (T + 2) + row) * 3
    tl.store(pointer, global_timer())
    tl.store(pointer + 1, clock())
    tl.store(pointer + 2, multiprocessor().to(tl.int64))
