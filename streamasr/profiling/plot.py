"""Plot a profile."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import ProfileError
from .cells import Cell
from .sweep import Profile

__all__ = ["check_plot", "plot_latency"]


FORMATS = (".png", ".svg", ".pdf")


def check_plot(picture: Path) -> None:
    """Raise ProfileError, with what to do, if ``picture`` could not be drawn."""
    if picture.suffix.lower() not in FORMATS:
        raise ProfileError(f"{picture}: a plot is one of {', '.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise ProfileError('a plot needs matplotlib: pip install "streamasr[profile]"')


def plot_latency(profile: Profile, cells: list[Cell], picture: Path) -> None:
    """Draw p50 to p99 of each backend on each cell into ``picture`` (PNG, SVG or PDF)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    each = len(profile.rows) // len(cells)
    width = 3 + 0.25 * len(profile.rows)
    figure, axes = plt.subplots(figsize=(min(max(width, 6), 40), 5), layout="constrained")
    for backend in range(each):
        rows = profile.rows[backend::each]
        points = [(i, row) for i, row in enumerate(rows) if row.measured is not None]
        places, low, high = [], [], []
        for place, row in points:
            assert row.measured is not None
            chunk = row.measured.chunk
            places.append(place + 0.7 * (backend + 0.5) / each - 0.35)
            low.append(chunk.p50 / row.cell.timesteps)
            # Without a p99, for want of samples, up to the slowest.
            top = chunk.p99 if chunk.p99 >= chunk.p50 else chunk.max
            high.append(top / row.cell.timesteps)
        if places:
            color = f"C{backend}"
            axes.vlines(places, low, high, linewidth=2, color=color)
            axes.plot(places, low, "o", color=color, label=rows[0].backend.name)
    floors = [
        (i, row.floor.chunk / row.cell.timesteps)
        for i, row in enumerate(profile.rows)
        if row.floor is not None
    ]
    for number, (i, floor) in enumerate(floors):
        place = i // each
        label = "" if number else "floor of the plan"
        axes.hlines(floor, place - 0.4, place + 0.4, color="0.5", linestyle=":", label=label)
    axes.set_yscale("log")
    axes.set_ylabel("µs per timestep, p50 to p99\n(of fewer than 100 samples, to the slowest)")
    names = [f"{c.layers}×{c.hidden}\n{c.batch} × {c.timesteps}" for c in cells]
    axes.set_xticks(range(len(cells)), names)
    axes.set_xlabel("layers × hidden size\nrows × timesteps of a chunk")
    axes.grid(axis="y", which="both", alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
