"""The model of a timestep's cycles: hand-written loops whose cycles can be counted by hand."""

from __future__ import annotations

import pytest
from persistent_lstm import LSTMError
from persistent_lstm._model import LATENCY, segments
from persistent_lstm._sass import Control, parse
from persistent_lstm.residency import MachineCode

from .test_residency import inspect


def line(text, *, stall=1, written=7, read=7, waits=0):
    """An instruction as ``nvdisasm -hex`` prints it, with its encoding."""
    upper = (stall | written << 5 | read << 8 | waits << 11) << 41
    return f"/*0000*/ {text} ; /* 0x0000000000000000 */\n/* 0x{upper:016x} */"


def cycles(*inside, warps=1, before=()):
    """Return the segments of a loop whose second one is ``inside``."""
    clock = line("CS2R R2, SR_CLOCKLO")
    text = [
        line("S2R R0, SR_TID.X"),
        *before,
        ".L_x_0:",
        clock,
        *inside,
        ".L_x_1:",
        clock,
        clock,
        line("@P0 BRA `(.L_x_0)", stall=5),
        line("EXIT"),
    ]
    return segments(MachineCode(90, "3", warps, 9, 0, 0, "\n".join(text)))


def test_an_encoding_is_read():
    (one,) = parse(line("LDG.E R4, [R2]", stall=4, written=2, read=3, waits=0b100001))[0]
    assert one.control == Control(stall=4, written=2, read=3, waits=0b100001)


def test_stalls_are_the_compilers():
    found = cycles(line("IADD3 R4, R5, R6, RZ", stall=6), line("FADD R4, R5, R6", stall=2))
    assert [(one.name, one.cycles) for one in found] == [
        ("wait input", 1 + 5),
        ("wait h", 1 + 6 + 2),
        ("cell", 1),
    ]
    assert found[1].counts == {"CS2R": 1, "IADD3": 1, "FADD": 1}


@pytest.mark.parametrize(("base", "text"), [("LDG", "LDG.E R4, [R2]"), ("MUFU", "MUFU.EX2 R4, R5")])
def test_a_scoreboard_is_waited_for(base, text):
    found = cycles(line(text, written=3), line("FADD R4, R4, R6", waits=1 << 3))
    assert found[1].cycles == 1 + LATENCY[base] + 1
    assert cycles(line(text, written=3), line("FADD R4, R4, R6"))[1].cycles == 3


def test_two_warps_of_a_scheduler_share_its_tensor_core():
    products = [line("HMMA.16816.F32.BF16 R4, R8, R12, R4")] * 10
    alone, four, eight = (cycles(*products, warps=warps)[1].cycles for warps in (1, 4, 8))
    assert alone == four == pytest.approx(10 * 8, abs=8)
    assert eight == pytest.approx(2 * 10 * 8, abs=16)


@pytest.mark.parametrize(("stride", "more"), [(4, 0), (8, 1), (128, 31)])
def test_conflicts_of_banks_cost_a_cycle_each(stride, more):
    address = line(f"IMAD R9, R0, 0x{stride:x}, RZ")
    found = cycles(
        line("LDS R4, [R9]", written=0), line("FADD R4, R4, R6", waits=1), before=[address]
    )
    assert found[1].wavefronts == 1 + more
    free = cycles(
        line("LDS R4, [RZ]", written=0), line("FADD R4, R4, R6", waits=1), before=[address]
    )
    assert found[1].cycles - free[1].cycles == more


def test_all_warps_wait_at_a_barrier_for_the_last():
    one = cycles(line("BAR.SYNC 0x0"), warps=1)[1].cycles
    assert one == pytest.approx(LATENCY["BAR"], abs=2)
    slow = [line("MUFU.EX2 R4, R5", written=0), line("FADD R4, R4, R4", waits=1)]
    # Eight warps take turns at four units, before any of them goes on.
    eight = cycles(*slow, line("BAR.SYNC 0x0"), warps=8)[1].cycles
    assert eight >= cycles(*slow, warps=8)[1].cycles + LATENCY["BAR"]


def test_a_wait_that_is_over_skips_its_polls():
    poll = line("LDG.E.STRONG.SYS R4, [R2]", stall=15)
    found = cycles(line("@P1 BRA `(.L_x_1)", stall=5), poll)
    assert found[1].cycles == 1 + 5
    assert "LDG STRONG" not in found[1].counts


def test_a_kernel_that_reads_no_clock_has_no_parts():
    text = "\n".join([".L_x_0:", line("IADD3 R4, R5, R6, RZ"), line("@P0 BRA `(.L_x_0)")])
    with pytest.raises(LSTMError, match="reads three clocks a turn, this one 0"):
        segments(MachineCode(90, "3", 1, 9, 0, 0, text))


def test_the_command_shows_where_the_cycles_go():
    code, output, errors = inspect("--model", "--for", "h100", "-B", "1", "--ghz", "2")
    assert (code, errors) == (0, "")
    title, kernel, header, *parts, whole = output.splitlines()[:7]
    assert title == "4x512 B=1 bfloat16 on H100"
    assert kernel.startswith("  fragment kernel, U = 16, 1 rows in 1 turn, sm_90, Triton ")
    assert header.split()[:3] == ["cycles", "ns", "measured"]
    rows = [part.rsplit(maxsplit=9) for part in parts]
    assert [row[0].strip() for row in rows] == ["wait input", "wait h", "cell"]
    assert [row[3] for row in rows] == ["205", "257", "400"]
    name, cycles, ns, measured = whole.split()
    assert name == "timestep"
    assert int(cycles) == pytest.approx(sum(int(row[1]) for row in rows), abs=2)
    assert int(ns) == pytest.approx(int(cycles) / 2, abs=1)
    assert measured == "866"
    # Programs that wait for each other are later than the model, which knows one.
    assert int(cycles) / 1.98 == pytest.approx(866, rel=0.25)


def test_sizes_that_do_not_fit_are_said():
    _, output, _ = inspect("--model", "--for", "a100", "-L", "1", "-H", "2048")
    assert "does not fit, torch runs it: H = 2048 with I = 2048 takes more than 128 KiB" in output
