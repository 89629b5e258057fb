"""What integer registers hold in each thread of a program, followed through its machine code.

Enough of SASS to know where threads look in shared memory: addresses are made of the thread's
number by integer arithmetic. Instructions are followed in the order of the code, branches are not
taken, and what comes from memory is unknown. What is the same in all threads need not be known: it
moves all addresses alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._sass import LANES, Instruction

__all__ = ["Threads", "Value"]

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
WORD = 0xFFFFFFFF
REGISTER = re.compile(r"(?P<file>U?R)(?P<number>\d+)")
NUMBER = re.compile(r"-?0x[0-9a-f]+|-?\d+")
PREDICATE = re.compile(r"!?U?P(\d|T)$")
ADDRESS = re.compile(r"\[([^\]]*)\]")
SCALE = re.compile(r"\.(X(?P<factor>4|8|16)|U32)$")
ZEROS = ("RZ", "URZ", "SRZ", "SR_CTAID.X", "SR_CgaCtaId")  # the first program is looked at
COMPARISONS: dict[str, Callable[[Numbers, Numbers], Mask]] = {
    "NE": np.not_equal,
    "EQ": np.equal,
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
}


@dataclass(frozen=True)
class Value:
    """A number of each thread; if not ``exact``, up to an addend that all threads share."""

    numbers: Numbers
    exact: bool = True

    @property
    def same(self) -> bool:
        """Whether all threads have the same."""
        return bool((self.numbers == self.numbers[0]).all())


class Threads:
    """The registers of the threads of one program. An unknown value is None."""

    def __init__(self, warps: int) -> None:
        self._thread = np.arange(LANES * warps, dtype=np.int64)
        self._zero = np.zeros_like(self._thread)
        self._registers: dict[str, Value | None] = {}
        self._predicates: dict[str, Mask | None] = {}

    def address(self, one: Instruction) -> Numbers | None:
        """Return where each thread looks in shared memory, up to an addend that all share."""
        text = ADDRESS.search(one.text)
        if text is None:
            return None
        total = self._zero
        for part in text[1].split("+"):
            scale = SCALE.search(part)
            value = self._value(SCALE.sub("", part))
            if value is None:
                return None
            total = total + value.numbers * int((scale and scale["factor"]) or 1)
        return total & WORD

    def runs(self, one: Instruction) -> Mask | None:
        """Return which threads run ``one``."""
        return self._predicate(one.guard) if one.guard else self._zero == 0

    def step(self, one: Instruction) -> None:
        """Run one instruction."""
        if "SETP" in one.base:
            self._compare(one)
            return
        operands = [text for text in one.operands if not PREDICATE.match(text)]
        into = REGISTER.match(operands[0]) if operands else None
        if into is None:
            return
        made = self._made(one, operands[1:])
        for number in one.written:
            # CS2R clears a pair; of other results that are wide, the upper half is not computed.
            known = number == int(into["number"]) or one.base == "CS2R"
            value = made if known else None
            name = f"{into['file']}{number}"
            self._registers[name] = self._merged(value, self._registers.get(name), one)

    def _merged(self, value: Value | None, before: Value | None, one: Instruction) -> Value | None:
        runs = self.runs(one)
        if value is None or runs is None:
            return None
        if runs.all():
            return Value(value.numbers & WORD, value.exact)
        if before is None or not (value.exact and before.exact):
            return None
        return Value(np.where(runs, value.numbers & WORD, before.numbers))

    def _value(self, text: str) -> Value | None:
        text = text.strip().replace(".reuse", "")
        if NUMBER.fullmatch(text):
            return Value(np.full_like(self._thread, int(text, 0)))
        sign, name = (text[0], text[1:]) if text[:1] in ("-", "~") else ("", text)
        if name in ZEROS:
            found: Value | None = Value(self._zero)
        elif name == "SR_TID.X":
            found = Value(self._thread)
        else:
            found = self._registers.get(name)
            if found is None and name.startswith(("UR", "c[", "SR_CTAID", "SR_NCTAID")):
                found = Value(self._zero, exact=False)
        if found is None or not sign:
            return found
        return Value(-found.numbers if sign == "-" else ~found.numbers, found.exact)

    def _predicate(self, text: str) -> Mask | None:
        name = text.lstrip("@!")
        found = self._zero == 0 if name in ("PT", "UPT") else self._predicates.get(name)
        return ~found if found is not None and "!" in text else found

    def _compare(self, one: Instruction) -> None:
        """Set a predicate; of those that are set together, the second is left unknown."""
        for name in one.operands[:2]:
            self._predicates[name] = None
        words = one.opcode.split(".")
        comparison = next((COMPARISONS[word] for word in words if word in COMPARISONS), None)
        if one.base not in ("ISETP", "UISETP") or comparison is None or "EX" in words:
            return
        left, right = (self._value(text) for text in one.operands[2:4])
        also = self._predicate(one.operands[4])
        if one.guarded or left is None or right is None or also is None or "AND" not in words:
            return
        if left.exact and right.exact:
            read = _signed if "U32" not in words else _unsigned
            found = comparison(read(left.numbers), read(right.numbers))
            self._predicates[one.operands[0]] = found & also

    def _made(self, one: Instruction, operands: Sequence[str]) -> Value | None:
        """Return what ``one`` writes to its first register."""
        words = one.opcode.split(".")
        name = one.base.removeprefix("U") if one.base != "UMOV" else "MOV"
        if name in ("LDC", "S2UR"):
            return Value(self._zero, exact=False)  # a parameter, or the like
        values = [self._value(text) for text in operands]
        if name == "LOP3":
            values = _without_masked(values)
        known = [value for value in values if value is not None]
        if "X" in words or name not in OPERATIONS or len(known) < len(values):
            return None
        if name == "SEL":
            chosen = self._predicate(one.operands[-1])
            return None if chosen is None else _either(chosen, *known)
        return _operate(name, known, words)


def _either(chosen: Mask, first: Value, second: Value) -> Value | None:
    if not (first.exact and second.exact):
        return None
    return Value(np.where(chosen, first.numbers, second.numbers))


def _operate(name: str, values: Sequence[Value], words: Sequence[str]) -> Value | None:
    """Apply an operation as far as what is not exact allows."""
    exact = all(value.exact for value in values)
    sums = name in ADDITIVE and (name != "IMAD" or _is_sum(values))
    if not exact and not sums:
        same = all(value.same for value in values)
        return Value(np.zeros_like(values[0].numbers), exact=False) if same else None
    made = OPERATIONS[name]([value.numbers for value in values], words)
    return None if made is None else Value(made, exact)


def _is_sum(values: Sequence[Value]) -> bool:
    """Whether ``a * b + c`` keeps an addend that all share: no thread multiplies it by its own."""
    a, b = values[:2]
    return (a.exact or (b.exact and b.same)) and (b.exact or (a.exact and a.same))


def _without_masked(values: Sequence[Value | None]) -> list[Value | None]:
    """Replace what a logical operation does not look at, for its other operand is 0 in an and."""
    a, b, c, table = values[:4]
    if table is not None and int(table.numbers[0]) == AND:
        zero = Value(np.zeros_like(table.numbers))
        if any(value is not None and value.exact and not value.numbers.any() for value in (a, b)):
            a = b = zero
    return [a, b, c, table]


def _unsigned(value: Numbers) -> Numbers:
    return value & WORD


def _signed(value: Numbers) -> Numbers:
    return ((value & WORD) ^ 0x80000000) - 0x80000000


def _copy(values: Sequence[Numbers], _: Sequence[str]) -> Numbers:
    return values[0]


def _sum(values: Sequence[Numbers], _: Sequence[str]) -> Numbers:
    return sum(values[1:], values[0])


def _multiply_add(values: Sequence[Numbers], words: Sequence[str]) -> Numbers | None:
    if "HI" in words:
        return None
    a, b, c = values
    return a * b + c


def _logic(values: Sequence[Numbers], _: Sequence[str]) -> Numbers:
    """Look each bit of three operands up in a table of eight (PTX ISA, ``lop3``)."""
    a, b, c, table = values
    result = np.zeros_like(a)
    for index in range(8):
        if int(table[0]) >> index & 1:
            x, y, z = (v if index & bit else ~v for v, bit in ((a, 4), (b, 2), (c, 1)))
            result |= x & y & z
    return result


def _shift(values: Sequence[Numbers], words: Sequence[str]) -> Numbers | None:
    low, by, high = values
    if "R" not in words:
        return None if "HI" in words else low << by
    if "HI" in words:
        read = _signed if "S32" in words else _unsigned
        return read(high) >> np.minimum(by, 31)
    return (((high & WORD) << 32) | (low & WORD)) >> by


def _scaled_add(values: Sequence[Numbers], words: Sequence[str]) -> Numbers | None:
    if "HI" in words:
        return None
    a, b, by = values
    return (a << by) + b


def _extend(values: Sequence[Numbers], words: Sequence[str]) -> Numbers:
    a, bits = values
    low = a & ((1 << bits) - 1)
    return low if "U32" in words else np.where(low >> (bits - 1) & 1, low - (1 << bits), low)


def _permute(values: Sequence[Numbers], _: Sequence[str]) -> Numbers:
    """Pick four of the bytes of two operands (PTX ISA, ``prmt``)."""
    a, selector, b = values
    source = np.stack([(v >> 8 * j) & 255 for v in (a, b) for j in range(4)])
    result = np.zeros_like(a)
    for j in range(4):
        index = (selector >> 4 * j) & 15
        byte = np.take_along_axis(source, (index & 7)[None], 0)[0]
        result |= np.where(index & 8, np.where(byte & 128, 255, 0), byte) << 8 * j
    return result


AND = 0xC0
ADDITIVE = frozenset({"MOV", "R2UR", "S2R", "CS2R", "IMAD", "IADD3", "VIADD", "IADD", "LEA"})
OPERATIONS: dict[str, Callable[[Sequence[Numbers], Sequence[str]], Numbers | None]] = {
    **dict.fromkeys(("MOV", "R2UR", "S2R", "CS2R", "SEL"), _copy),
    **dict.fromkeys(("IADD3", "VIADD", "IADD"), _sum),
    "IMAD": _multiply_add,
    "LOP3": _logic,
    "SHF": _shift,
    "LEA": _scaled_add,
    "SGXT": _extend,
    "PRMT": _permute,
}
