"""Addresses and conflicts of shared memory, from hand-written machine code."""

from __future__ import annotations

import numpy as np
import pytest
from persistent_lstm._banks import accesses, wavefronts
from persistent_lstm._sass import parse
from persistent_lstm._threads import Threads

WARPS = 8
THREAD = np.arange(32 * WARPS)


def instructions(*lines):
    text = "\n".join(f"/*{n:04x}*/ {line} ;" for n, line in enumerate(lines))
    return parse(text)[0]


def where(*lines):
    """Return where threads look in the end, by R9, when they have run ``lines``."""
    threads = Threads(WARPS)
    *before, last = instructions("S2R R0, SR_TID.X", *lines, "LDS R1, [R9]")
    for one in before:
        threads.step(one)
    return threads.address(last)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["SHF.R.U32.HI R9, RZ, 0x5, R0"], THREAD // 32),
        (["SHF.L.U32 R9, R0, 0x3, RZ"], 8 * THREAD),
        (["LOP3.LUT R9, R0, 0x1f, RZ, 0xc0, !PT"], THREAD % 32),
        (["LOP3.LUT R9, R0, 0x1f, R0, 0x3c, !PT"], THREAD ^ 31),
        (["IMAD R9, R0, 0x120, R0"], 289 * THREAD),
        (["IMAD.SHL.U32 R9, R0, 0x4, RZ"], 4 * THREAD),
        (["IMAD.MOV.U32 R9, RZ, RZ, R0"], THREAD),
        (["LEA R9, R0, 0x7, 0x4"], 16 * THREAD + 7),
        (["IADD3 R9, PT, PT, R0, 0x8, -R0"], 8 + 0 * THREAD),
        (["CS2R R4, SRZ", "IMAD R9, R5, 0x2400, R0"], THREAD),
        (["SHF.R.U32.HI R2, RZ, 0x2, R0", "SGXT.U32 R9, R2, 0x3"], THREAD // 4 % 8),
        (["PRMT R9, R0, 0x4440, RZ"], THREAD),
        (["PRMT R9, R0, 0x5504, R0"], THREAD | THREAD << 8),
        (
            ["ISETP.GT.U32.AND P0, PT, R0, 0x1f, PT", "SEL R9, R0, 0x5, P0"],
            np.where(THREAD > 31, THREAD, 5),
        ),
        (
            ["MOV R9, R0", "ISETP.NE.AND P0, PT, R0, RZ, PT", "@!P0 MOV R9, 0x40"],
            np.where(THREAD == 0, 64, THREAD),
        ),
    ],
    ids=lambda value: value[-1].split()[0] if isinstance(value, list) else "",
)
def test_addresses_follow_the_arithmetic(lines, expected):
    assert np.array_equal(where(*lines), expected)


@pytest.mark.parametrize(
    "lines",
    [
        ["LDG.E R2, desc[UR4][R4.64]", "IMAD R9, R0, 0x4, R2"],
        ["LDS R2, [R0]", "IADD3 R9, PT, PT, R0, R2, RZ"],
        ["IMAD R9, R0, UR4, RZ"],  # each thread multiplies what is not known by its own number
        ["IADD3 R2, PT, PT, R0, UR4, RZ", "SHF.R.U32.HI R9, RZ, 0x5, R2"],
        ["MOV R9, 0x4", "ISETP.NE.AND P0, PT, R3, RZ, PT", "@P0 MOV R9, 0x80"],
    ],
    ids=["from memory", "from shared memory", "a factor", "shifted", "a guard"],
)
def test_what_cannot_be_known_is_unknown(lines):
    assert where(*lines) is None


@pytest.mark.parametrize(
    "lines",
    [
        ["IMAD R9, R0, 0x4, UR4"],
        ["LOP3.LUT R2, RZ, UR4, RZ, 0xfc, !PT", "IMAD R2, R2, 0x5000, RZ", "LEA R9, R0, R2, 0x2"],
        ["LDC R2, c[0x0][0x28]", "LEA R9, R0, R2, 0x2"],
    ],
    ids=["an addend", "a turn", "a parameter"],
)
def test_what_all_threads_share_moves_all_addresses_alike(lines):
    assert np.array_equal(np.diff(where(*lines)), np.diff(4 * THREAD))


LANE = np.arange(32)
ALL = LANE >= 0


@pytest.mark.parametrize(
    ("text", "addresses", "runs", "expected"),
    [
        ("LDS R1, [R2]", 4 * LANE, ALL, 1),
        ("LDS R1, [R2]", 4 * LANE + 1024, ALL, 1),
        ("LDS R1, [R2]", 0 * LANE, ALL, 1),  # one word for all
        ("LDS R1, [R2]", 8 * LANE, ALL, 2),
        ("STS [R2], R1", 128 * LANE, ALL, 32),
        ("STS [R2], R1", 128 * LANE, LANE < 3, 3),
        ("STS [R2], R1", 128 * LANE, LANE < 0, 0),
        ("LDS.U16 R1, [R2]", 2 * LANE, ALL, 1),
        ("LDS.64 R4, [R2]", 8 * LANE, ALL, 2),
        ("LDS.128 R4, [R2]", 16 * LANE, ALL, 4),
        ("STS.128 [R2], R4", 288 * (LANE % 4) + 16 * (LANE // 4), ALL, 4),
        ("STS.128 [R2], R4", 256 * (LANE % 4) + 16 * (LANE // 4), ALL, 16),
        ("LDSM.16.M88.4 R4, [R2]", 16 * LANE, ALL, 4),
        ("LDSM.16.M88.4 R4, [R2]", 128 * LANE, ALL, 32),
    ],
)
def test_wavefronts_of_a_warp(text, addresses, runs, expected):
    (one,) = instructions(text)
    assert wavefronts(one, addresses, runs) == expected


def test_accesses_are_those_of_the_loop():
    code = instructions(
        "S2R R0, SR_TID.X",
        "IMAD.SHL.U32 R2, R0, 0x20, RZ",
        "STS [R2], R0",
        "LDS R3, [R2]",
        "STS.64 [R2+0x100], R4",
        "LDS R3, [R3]",
    )
    found = list(accesses(code, [3, 4, 5], WARPS).values())
    assert [one.known for one in found] == [True, True, False]
    assert [one.ways for one in found] == [8, 4, 0]
    assert found[0].wavefronts == (8,) * WARPS
