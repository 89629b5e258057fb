"""A model of where the cycles of a timestep go, from the machine code of a kernel that is timed.

The instructions of the time loop run through an in-order multiprocessor: four schedulers, one
instruction a cycle each, two warps of a program on each. Stalls and scoreboards are those that the
compiler encoded; wavefronts of shared memory are counted from the addresses of all threads. Assumed
are the latencies of what takes no fixed time (LATENCY), that each wait is over at its first poll,
and that nothing else uses the chip: the model knows no other programs, and so no late ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from . import _banks, _sass
from ._sass import Instruction
from .residency import MachineCode
from .types import LSTMError

__all__ = ["SEGMENTS", "Segment", "segments"]

SEGMENTS = ("wait input", "wait h", "cell")
SCHEDULERS = 4
ROUNDS = 3  # the last is looked at
QUARTER = 8  # cycles of an instruction on a unit of a quarter of the lanes, or a product
LATENCY = {
    **{"LDS": 29, "LDSM": 33, "STS": 20, "SHFL": 24, "MUFU": 24, "F2F": 24, "I2F": 24, "F2I": 24},
    **{"LDG": 280, "STG": 20, "LDC": 36, "S2R": 24, "S2UR": 24, "REDUX": 20, "R2UR": 12, "BAR": 24},
}
OTHERS = 20
FREED = 8  # until the sources of an instruction with a queue may be written again
SPECIAL = frozenset({"MUFU", "F2F", "I2F", "F2I"})
PRODUCTS = frozenset({"HMMA", "HGMMA"})


@dataclass(frozen=True)
class Segment:
    """A part of a timestep.

    Args:
        cycles: of a program's first warp.
        counts: instructions by kind; wavefronts: of shared memory, of all warps.
    """

    name: str
    cycles: float
    counts: Mapping[str, int]
    wavefronts: int


def segments(code: MachineCode) -> list[Segment]:
    """Return the parts of one turn of the time loop, as the clocks of a timed kernel divide it.

    Of a kernel whose rows take turns, one turn is one group of rows.

    Raises LSTMError for a kernel that reads no clock.
    """
    instructions, labels = _sass.parse(code.sass)
    loop = _sass.time_loop(instructions, labels)
    found = _banks.accesses(instructions, loop, code.warps)
    path = _path(instructions, labels, loop)
    marks = [k for k, i in enumerate(path) if _reads_clock(instructions[i])]
    if len(marks) != len(SEGMENTS):
        raise LSTMError(f"a timed kernel reads three clocks a turn, this one {len(marks)}")
    times = _Processor([instructions[i] for i in path], [found.get(i) for i in path], code).run()
    previous, last = times[-2], times[-1]
    begins = [previous[-1], *last[:-1]]
    parts = [
        [*path[marks[-1] :], *path[: marks[0]]],
        *(path[a:b] for a, b in pairwise(marks)),
    ]
    return [
        Segment(
            name,
            end - begin,
            Counter(_sass.kind(instructions[i]) for i in part),
            sum(sum(found[i].wavefronts) for i in part if i in found),
        )
        for name, begin, end, part in zip(SEGMENTS, begins, last, parts, strict=True)
    ]


def _reads_clock(one: Instruction) -> bool:
    return one.base == "CS2R" and "CLOCK" in one.text


def _path(
    instructions: Sequence[Instruction], labels: Mapping[str, int], loop: Sequence[int]
) -> list[int]:
    """Return the way through the loop when each wait is over at once: branches ahead are taken."""
    path: list[int] = []
    i = loop[0]
    while i <= loop[-1]:
        one = instructions[i]
        path.append(i)
        target = labels.get(one.label, 0) if one.opcode == "BRA" else 0
        if target == loop[0]:
            break
        i = max(target, i + 1)
    return path


@dataclass
class _Warp:
    place: int = 0
    ready: float = 0
    waits_since: float | None = None
    boards: list[float] = field(default_factory=lambda: [0.0] * 8)


class _Processor:
    """One multiprocessor, running ``path`` in all warps of a program, ROUNDS times."""

    def __init__(
        self,
        path: Sequence[Instruction],
        accesses: Sequence[_banks.Access | None],
        code: MachineCode,
    ) -> None:
        self._path, self._accesses = path, accesses
        self._warps = [_Warp() for _ in range(code.warps)]
        self._issue = [0.0] * SCHEDULERS
        self._special = [0.0] * SCHEDULERS
        self._products = [0.0] * SCHEDULERS
        self._queue = [0.0] * SCHEDULERS
        self._shared = 0.0

    def run(self) -> list[list[float]]:
        """Return when the first warp read its clocks, in each round."""
        clocks: list[list[float]] = [[] for _ in range(ROUNDS)]
        end = ROUNDS * len(self._path)
        while running := [
            (self._earliest(number), warp.place, number)
            for number, warp in enumerate(self._warps)
            if warp.place < end and warp.waits_since is None
        ]:
            at, place, number = min(running)
            one = self._path[place % len(self._path)]
            if number == 0 and _reads_clock(one):
                clocks[place // len(self._path)].append(at)
            self._start(number, at)
            if one.base == "BAR":
                self._arrive(number, at)
        return clocks

    def _earliest(self, number: int) -> float:
        warp = self._warps[number]
        one = self._path[warp.place % len(self._path)]
        scheduler = number % SCHEDULERS
        waited = [warp.boards[k] for k in range(6) if one.control.waits >> k & 1]
        products = [self._products[scheduler]] if one.base in PRODUCTS else []
        return max([warp.ready, self._issue[scheduler], *waited, *products])

    def _start(self, number: int, at: float) -> None:
        """Issue a warp's next instruction; say when what it writes is there."""
        warp, scheduler = self._warps[number], number % SCHEDULERS
        place = warp.place % len(self._path)
        one, access = self._path[place], self._accesses[place]
        latency = LATENCY.get(one.base, OTHERS)
        begin, freed = at, at + FREED
        if access is not None or one.base == "SHFL":
            taken = access.wavefronts[number] if access and access.known else 1
            begin = max(at + 2, self._shared, self._queue[scheduler])
            self._shared = begin + taken
            self._queue[scheduler] = begin + max(2, taken)
            begin, freed = begin + taken - 3, begin + taken + FREED
        elif one.base in SPECIAL:
            begin = max(at, self._special[scheduler])
            self._special[scheduler] = begin + QUARTER
            freed = begin + FREED
        elif one.base in PRODUCTS:
            self._products[scheduler] = at + QUARTER
        elif one.base in ("LDG", "STG"):
            freed = at + OTHERS
        control = one.control
        for board, when in ((control.written, begin + latency), (control.read, freed)):
            if board < 6:
                warp.boards[board] = max(warp.boards[board], when)
        self._issue[scheduler] = at + 1
        warp.ready = at + max(1, control.stall)
        warp.place += 1

    def _arrive(self, number: int, at: float) -> None:
        """Let all warps go on once the last of them has come to the barrier."""
        self._warps[number].waits_since = at
        came = [warp.waits_since for warp in self._warps if warp.waits_since is not None]
        if len(came) == len(self._warps):
            for warp in self._warps:
                warp.ready = max(warp.ready, max(came) + LATENCY["BAR"])
                warp.waits_since = None
