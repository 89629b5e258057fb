"""Format a profile as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator

from persistent_lstm import LSTMError, Plan
from rich.table import Table
from rich.text import Text

from .cells import Cell
from .measure import FEWEST_FOR_P99
from .sweep import Inside, Profile, Row

__all__ = ["comparison_table", "inside_table", "notes", "plan_text", "tables"]

COLUMNS = ("p50", "p90", "p99", "waited", "first ms", "kernels", "of floor")
COLUMNS_ON_CPU = ("p50", "p90", "p99", "first ms")


def tables(profile: Profile, cells: list[Cell]) -> Iterator[Table]:
    """Return a table for each cell, microseconds per timestep, a row for each backend."""
    each = len(profile.rows) // len(cells)
    for number, cell in enumerate(cells):
        rows = profile.rows[number * each : (number + 1) * each]
        table = Table("backend", title=f"{cell}: µs per timestep", title_justify="left")
        shown = COLUMNS if _on_gpu(rows) else COLUMNS_ON_CPU
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            if row.measured is None:
                continue
            values = _values(row)
            table.add_row(_label(row, cell), *(values[name] for name in shown))
        yield table


def _on_gpu(rows: list[Row]) -> bool:
    kernels = (row.measured and row.measured.kernels for row in rows)
    return any(kernels) or any(row.floor for row in rows)


def notes(profile: Profile) -> Iterator[str]:
    """Return lines on what is missing from the tables."""
    ran = [row.measured for row in profile.rows if row.measured is not None]
    if any(math.isnan(one.chunk.p99) for one in ran):
        yield f"–: fewer than {FEWEST_FOR_P99} samples, too few for a p99; --seconds takes more"
    failed = sorted((r.backend.name, r.reason) for r in profile.rows if r.measured is None)
    yield from (f"{name}: {reason}" for name, reason in dict.fromkeys(failed))
    yield from profile.notes


def plan_text(plan: Plan) -> str:
    """Return the plan and what the compiler makes of it, shown before anything is measured."""
    from persistent_lstm.residency import residencies

    try:
        compiled = [f"  {found}" for found in residencies(plan)]
    except LSTMError as error:
        compiled = [f"  not compiled: {error}"]
    return "\n".join([str(plan), *compiled])


def _label(row: Row, cell: Cell) -> Text:
    differs = [
        "" if row.cell.dtype == cell.dtype else row.cell.dtype,
        "" if row.cell.residual == cell.residual else "plain",
    ]
    notes = ", ".join(note for note in differs if note)
    return Text(f"{row.backend.name} ({notes})" if notes else row.backend.name)


def _values(row: Row) -> dict[str, str]:
    m, steps = row.measured, row.cell.timesteps
    assert m is not None
    return {
        "p50": number(m.chunk.p50 / steps),
        "p90": number(m.chunk.p90 / steps),
        "p99": number(m.chunk.p99 / steps),
        "waited": number(m.waited.p50 / steps),
        "first ms": number(m.first),
        "kernels": "" if m.kernels is None else str(m.kernels),
        "of floor": "" if row.floor_share is None else f"{row.floor_share:.0%}",
    }


def number(value: float) -> str:
    """Return three significant digits, without exponent; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def inside_table(inside: Inside) -> Table:
    """Return what the programs of each layer did with their time, in microseconds."""
    title = f"{inside.cell}: inside {inside.kernels}"
    table = Table("layer", title=title, title_justify="left")
    for name in ("step p50", "p99", "max", "waits for input", "for own h", "computes"):
        table.add_column(name, justify="right")
    for one in inside.layers:
        spread = (number(1e-3 * value) for value in (one.step.p50, one.step.p99, one.step.max))
        shares = ("–" if math.isnan(share) else f"{share:.0%}" for share in one.shares)
        table.add_row(str(one.layer), *spread, *shares)
    return table


def comparison_table(inside: Inside) -> Table:
    """Return the model's parts of a timestep beside what was measured, in nanoseconds."""
    title = f"{inside.cell}: {inside.kernels}, ns by the model of its machine code and measured"
    table = Table("part", title=title, title_justify="left")
    for name in ("modelled", "measured", "measured / modelled"):
        table.add_column(name, justify="right")
    for part, modelled, measured in inside.compared:
        table.add_row(part, f"{modelled:.0f}", f"{measured:.0f}", f"{measured / modelled:.2f}")
    return table
