"""Reads the machine code (SASS) of a kernel: its time loop, what is loaded there, what stays.

SASS is what ``nvdisasm -c -hex`` prints. The control flow graph comes from branches and labels; the
time loop is its largest strongly connected part: all that can run again and again, wherever the
compiler has put it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = [
    "Control",
    "Instruction",
    "bytes_read",
    "is_plain_global_load",
    "kept_registers",
    "kind",
    "lane_bytes",
    "parse",
    "time_loop",
]

LANES = 32
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?P<text>[^;]*\S)\s*;")
ENCODING = re.compile(r"/\* 0x(?P<bits>[0-9a-f]{16}) \*/$")
LABEL = re.compile(r"^(?P<name>[\w$.]+):")
PARTS = re.compile(r"(?P<guard>@!?\w+\s+)?(?P<opcode>[A-Z][\w.]*)\s*(?P<operands>.*)")
TARGET = re.compile(r"`\((?P<label>[^)]+)\)")
REGISTER = re.compile(r"[-|~]*R(?P<number>\d+)\b")
PREDICATE = re.compile(r"!?U?P(\d|T)$")
WIDTH = re.compile(r"\.(?P<bits>64|128|256)\b")
GLOBAL_LOADS = frozenset({"LDG", "LD", "LDGSTS", "UTMALDG", "UBLKCP", "TEX", "TLD", "SULD"})
FLOAT_PRODUCTS = frozenset({"FFMA", "FMUL", "FFMA2", "FMUL2"})
# Their first operand that is no predicate is read, not written.
WRITE_NOTHING = frozenset({"WARPSYNC", "NANOSLEEP", "RET", "R2P", "CALL", "FCHK", "BRX"})
NOTES = {
    "LDG": "loads a weight",
    "LDL": "spilled registers come back",
    "STL": "registers spill",
    "HMMA": "weights times h",
    "HGMMA": "weights times h",
    "UTCHMMA": "weights times h",
    "BAR": "waits for the other warps",
    "MUFU": "sigmoid, tanh or norm",
    "STG": "publishes h",
}


class Control(NamedTuple):
    """What the compiler tells the scheduler, in an instruction's encoding, bits 105 and on.

    ``stall``: cycles before the warp's next instruction. ``written`` and ``read``: the scoreboard
    that is cleared when its result is there, and when its sources were read; 7 for none.
    ``waits``: a bit for each scoreboard that must be clear.
    """

    stall: int = 1
    written: int = 7
    read: int = 7
    waits: int = 0

    @classmethod
    def of(cls, encoding: int) -> Control:
        """Decode the upper 64 bits of an instruction."""
        bits = encoding >> 41
        return cls(bits & 15, bits >> 5 & 7, bits >> 8 & 7, bits >> 11 & 63)


NO_CONTROL = Control()


@dataclass(frozen=True)
class Instruction:
    """One instruction: ``opcode`` with its modifiers, ``label`` where it may branch to.

    ``guard`` is the predicate under which it runs, such as ``@!P0``; empty if it always does.
    """

    text: str
    opcode: str
    operands: tuple[str, ...]
    guard: str
    label: str
    control: Control = NO_CONTROL

    @property
    def guarded(self) -> bool:
        """Whether it runs under a predicate."""
        return bool(self.guard)

    @property
    def base(self) -> str:
        """The opcode without its modifiers."""
        return self.opcode.split(".")[0]

    @property
    def note(self) -> str:
        """What it does for the recurrence, in a few words; empty for most."""
        polls = self.base == "LDG" and "STRONG" in self.opcode
        return "reads h until it is there" if polls else NOTES.get(self.base, "")

    @property
    def written(self) -> frozenset[int]:
        """The numbers of the registers that it writes."""
        if self.base in WRITE_NOTHING or "SETP" in self.base:
            return frozenset()
        for operand in self.operands:
            if not PREDICATE.match(operand):
                return _registers(operand, _written_width(self))
        return frozenset()

    @property
    def multiplied(self) -> frozenset[int]:
        """The registers that a product reads, where weights are: of a tensor core's, matrix A."""
        if self.base == "HMMA":
            return _registers(self.operands[1], 4 if "16816" in self.opcode else 2)
        if self.base in FLOAT_PRODUCTS:
            width = 2 if self.base.endswith("2") else 1
            factors = self.operands[1:3]
            return frozenset().union(*(_registers(factor, width) for factor in factors))
        return frozenset()


def _registers(operand: str, count: int) -> frozenset[int]:
    found = REGISTER.match(operand)
    first = int(found["number"]) if found else 0
    return frozenset(range(first, first + count)) if found else frozenset()


def _written_width(one: Instruction) -> int:
    if one.base == "LDSM":
        return lane_bytes(one) // 4
    if one.base == "HMMA":
        return 4
    if one.base == "CS2R" and not one.opcode.endswith(".32"):
        return 2
    if ".WIDE" in one.opcode or (one.base[0] == "F" and one.base.endswith("2")):
        return 2
    width = WIDTH.search(one.opcode)
    return int(width["bits"]) // 32 if width else 1


def parse(sass: str) -> tuple[list[Instruction], dict[str, int]]:
    """Return the instructions in order, and for each label the index of what follows it."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in sass.splitlines():
        stripped = line.strip()
        encoding = ENCODING.search(stripped)
        if instructions and encoding and encoding.start() == 0:
            control = Control.of(int(encoding["bits"], 16))
            instructions[-1] = replace(instructions[-1], control=control)
        elif found := LABEL.match(stripped):
            labels[found["name"].lstrip(".")] = len(instructions)
        elif (found := INSTRUCTION.search(stripped)) and (parts := PARTS.match(found["text"])):
            target = TARGET.search(found["text"])
            guard = (parts["guard"] or "").strip()
            instructions.append(
                Instruction(
                    text=found["text"],
                    opcode=parts["opcode"],
                    operands=tuple(parts["operands"].split(", ")),
                    guard="" if guard in ("@PT", "@UPT") else guard,
                    label=target["label"].lstrip(".") if target else "",
                )
            )
    return instructions, labels


def _flow(instructions: list[Instruction], labels: dict[str, int]) -> list[set[int]]:
    """Return what may run after each instruction, by index; calls are taken to return."""
    flow = []
    for i, one in enumerate(instructions):
        after = set()
        if one.label in labels and one.base not in ("CALL", "RET"):
            after.add(labels[one.label])
        # ``BRA P0, label`` and ``BRA.DIV UR4, label`` may go on, as a guarded branch may.
        leaves = one.base in ("EXIT", "RET") or (
            one.base in ("BRA", "JMP") and one.operands[0].startswith("`")
        )
        if one.guarded or not leaves:
            after.add(i + 1)
        flow.append({j for j in after if j < len(instructions)})
    return flow


def _reachable(start: int, flow: list[set[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for j in flow[waiting.pop()] - seen:
            seen.add(j)
            waiting.append(j)
    return seen


def time_loop(instructions: list[Instruction], labels: dict[str, int]) -> list[int]:
    """Return the indices of the largest loop, with inner loops and what it calls, in order."""
    flow = _flow(instructions, labels)
    back: list[set[int]] = [set() for _ in instructions]
    for i, after in enumerate(flow):
        for j in after:
            back[j].add(i)
    largest: set[int] = set()
    done: set[int] = set()
    for head in sorted({j for i, after in enumerate(flow) for j in after if j <= i}):
        if head not in done:
            loop = _reachable(head, flow) & _reachable(head, back)
            done |= loop
            largest = max(largest, loop, key=len)
    calls = {one.label for i, one in enumerate(instructions) if i in largest and one.base == "CALL"}
    for label in calls & labels.keys():
        called = _reachable(labels[label], flow)
        # Some calls are jumps out of the loop: they end the program.
        if any(instructions[i].base == "RET" for i in called):
            largest |= called
    return sorted(largest)


def kept_registers(loop: Iterable[Instruction]) -> int:
    """Count the registers that products in ``loop`` read and nothing in it writes.

    What they hold was there before the loop: the weights of a kernel that keeps them.
    """
    loop = list(loop)
    read = frozenset[int]().union(*(one.multiplied for one in loop))
    written = frozenset[int]().union(*(one.written for one in loop))
    return len(read - written)


def kind(one: Instruction) -> str:
    """Return a short name to count by: ``LDG STRONG`` for a volatile load, ``LDG`` for a plain."""
    return f"{one.base} STRONG" if ".STRONG" in one.opcode else one.base


def is_plain_global_load(one: Instruction) -> bool:
    """Whether it loads from global memory and is not volatile.

    The kernels read weights with plain loads and all else in the time loop with volatile ones,
    which are STRONG in SASS.
    """
    return one.base in GLOBAL_LOADS and ".STRONG" not in one.opcode


def bytes_read(loads: Iterable[Instruction], warps: int) -> int:
    """Return how many bytes ``loads`` bring to the registers of ``warps`` warps, each run once."""
    return sum(lane_bytes(one) for one in loads) * LANES * warps


def lane_bytes(one: Instruction) -> int:
    """Return how many bytes a lane loads or stores."""
    if one.base == "LDSM":
        # Matrices of 8 x 8 16-bit numbers, four bytes a lane each.
        last = one.opcode.split(".")[-1]
        return 4 * (int(last) if last in ("2", "4") else 1)
    if one.opcode.endswith((".U8", ".S8")):
        return 1
    if one.opcode.endswith((".U16", ".S16")):
        return 2
    width = WIDTH.search(one.opcode)
    return int(width["bits"]) // 8 if width else 4
