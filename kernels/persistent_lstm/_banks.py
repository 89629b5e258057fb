"""How often threads of a warp want the same bank of shared memory, from the machine code.

Shared memory has 32 banks of 4 bytes and serves a warp in one wavefront for each 128 bytes of
different words, if no two of these are in one bank (CUDA C++ Programming Guide, "Shared Memory").
Accesses of 8 and 16 bytes are served in halves and quarters of a warp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._sass import LANES, Instruction, lane_bytes
from ._threads import Threads

__all__ = ["Access", "accesses", "wavefronts"]

BANKS = 32
WORD = 4
SHARED = frozenset({"LDS", "STS", "LDSM", "STSM", "ATOMS"})


@dataclass(frozen=True)
class Access:
    """An instruction that reads or writes shared memory.

    Args:
        wavefronts: that it takes, of each warp; empty if its addresses are not known.
        ways: how many times those of an access without conflicts, of the worst warp.
    """

    instruction: Instruction
    wavefronts: tuple[int, ...]
    ways: float

    @property
    def known(self) -> bool:
        """Whether its addresses could be followed."""
        return bool(self.wavefronts)


def accesses(
    instructions: Sequence[Instruction], loop: Sequence[int], warps: int
) -> dict[int, Access]:
    """Return the accesses to shared memory in ``loop``, by index, in order.

    The instructions before the loop are followed, and the loop once.
    """
    threads = Threads(warps)
    found: dict[int, Access] = {}
    inside = set(loop)
    for i in [*range(loop[0] if loop else 0), *loop]:
        one = instructions[i]
        if one.base in SHARED and i in inside:
            found[i] = _access(one, threads, warps)
        threads.step(one)
    return found


def _access(one: Instruction, threads: Threads, warps: int) -> Access:
    addresses, runs = threads.address(one), threads.runs(one)
    if addresses is None:
        return Access(one, (), 0)
    if runs is None:
        runs = np.ones(len(addresses), dtype=np.bool_)
    taken = [
        wavefronts(one, addresses[lanes], runs[lanes])
        for lanes in (slice(w * LANES, (w + 1) * LANES) for w in range(warps))
    ]
    least = max(1, lane_bytes(one) // WORD)
    return Access(one, tuple(taken), max(taken) / least)


def wavefronts(one: Instruction, addresses: NDArray[np.int64], runs: NDArray[np.bool_]) -> int:
    """Return how many wavefronts a warp's access takes: ``addresses`` and ``runs (32,)``."""
    size = lane_bytes(one)
    if one.base in ("LDSM", "STSM"):
        # Eight lanes give the rows of a matrix, 16 bytes each.
        parts, size = [range(8 * k, 8 * k + 8) for k in range(size // WORD)], 16
    else:
        width = LANES * WORD // max(size, WORD)
        parts = [range(k, k + width) for k in range(0, LANES, width)]
    total = 0
    for part in parts:
        words = {
            int(addresses[lane]) // WORD + k
            for lane in part
            if runs[lane]
            for k in range(max(1, size // WORD))
        }
        total += max(Counter(word % BANKS for word in words).values(), default=0)
    return total
