"""Where the cycles of a timestep go, as a table: modelled, and beside it what a GPU measured."""

from __future__ import annotations

from collections.abc import Iterator

from ._model import LATENCY, SEGMENTS, Segment, segments
from .plan import Launch, Plan
from .planning import launch_geometry
from .residency import residency

__all__ = ["GHZ", "model_lines", "model_notes"]

GHZ = 1.98  # the highest clock of an H100 and an H200
# Medians of layer 0, ns, in the order of SEGMENTS, then of a timestep; plain stacks, h in two
# halves: ``scripts/gpu_check --only version2`` at commit 05bac15, H100, Triton 3.6.0
# (benchmarks/results/h100-2026-11-28.json).
MEASURED = {
    ("H100", 4, 512, 1): (205, 257, 400, 866),
    ("H100", 4, 512, 8): (348, 479, 653, 1514),
    ("H100", 4, 512, 32): (427, 83, 5045, 5566),
}
COUNTED = {"products": "HMMA", "polls": "LDG STRONG", "special": "MUFU", "barriers": "BAR"}
ROW = "  {:<12}{:>8}{:>7}{:>10}{:>14}{:>10}{:>7}{:>9}{:>8}{:>10}"


def model_lines(plan: Plan, *, ragged: bool, ghz: float) -> Iterator[str]:
    """Yield a table for each kernel of ``plan``; ``ghz`` makes cycles nanoseconds."""
    kernels = {(one.kernel, one.units, one.rows): one for one in plan.launches}
    for launch in kernels.values():
        if launch.kernel == "fragment":
            yield from _table(plan, launch, ragged=ragged, ghz=ghz)
        else:
            yield f"  the {launch.kernel} kernel has no model"


def _table(plan: Plan, launch: Launch, *, ragged: bool, ghz: float) -> Iterator[str]:
    code = residency(plan, launch, ragged=ragged, timed=True).code
    turns = -(-launch.rows // launch_geometry(plan, launch).group)
    size = (plan.device.name, plan.layers, plan.hidden, plan.batch)
    known = not plan.residual and plan.split and plan.inputs == plan.hidden and not plan.once
    measured = MEASURED.get(size) if known else None
    parts = segments(code)
    yield (
        f"  {launch.kernel} kernel, U = {launch.units}, {launch.rows} rows in {turns} "
        f"turn{'s' if turns > 1 else ''}, sm_{code.target}, Triton {code.triton}"
    )
    yield ROW.format(
        "",
        "cycles",
        "ns",
        "measured",
        "instructions",
        "products",
        "polls",
        "special",
        "shared",
        "barriers",
    )
    for number, part in enumerate(parts):
        found = "" if measured is None or turns > 1 else str(measured[number])
        yield _row(part, ghz, found)
    total = turns * sum(part.cycles for part in parts)
    whole = "" if measured is None else str(measured[-1])
    yield ROW.format("timestep", f"{total:.0f}", f"{total / ghz:.0f}", whole, *[""] * 6).rstrip()


def _row(part: Segment, ghz: float, measured: str) -> str:
    counts = {name: part.counts.get(kind, 0) for name, kind in COUNTED.items()}
    return ROW.format(
        part.name,
        f"{part.cycles:.0f}",
        f"{part.cycles / ghz:.0f}",
        measured,
        sum(part.counts.values()),
        counts["products"],
        counts["polls"],
        counts["special"],
        part.wavefronts,
        counts["barriers"],
    )


def model_notes(ghz: float) -> str:
    """Say what the figures are."""
    return (
        f"{', '.join(SEGMENTS[:2])} and {SEGMENTS[2]}: as the kernel's clocks divide a turn; ns at "
        f"{ghz:g} GHz; measured: medians on the GPU named, ns;\n"
        "instructions, products, polls, special functions and barriers of a warp, wavefronts of "
        f"shared memory of all.\nModelled from the machine code; assumed: {LATENCY['LDG']} cycles "
        "for a word from the L2 cache, each wait over at its first poll"
    )
