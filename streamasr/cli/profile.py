"""``streamasr profile``: what a timestep of the LSTM costs."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OutputError, ProfileError
from . import console
from .checks import finite

if TYPE_CHECKING:
    from persistent_lstm import Plan

    from ..profiling import Profile, Settings

__all__ = ["profile"]


class Dtype(StrEnum):
    """Of the weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def profile(
    layers: Annotated[str, typer.Option("--layers", "-L", metavar="N,…", help="Layers.")] = "4",
    hidden: Annotated[
        str, typer.Option("--hidden", "-H", metavar="N,…", help="Hidden size, and input size.")
    ] = "512",
    batch: Annotated[
        str, typer.Option("--batch", "-B", metavar="N,…", help="Rows: streams at once.")
    ] = "1",
    timesteps: Annotated[
        str, typer.Option("--timesteps", "-T", metavar="N,…", help="Timesteps of a chunk.")
    ] = "1,8,32",
    dtype: Annotated[
        Dtype | None,
        typer.Option("--dtype", help="Of the weights (default: bfloat16; on a CPU, float32)."),
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual/--plain", help="Residual stack, as the model's, or plain.")
    ] = True,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends", metavar="NAME,…", help="What to compare (default: all that run here)."
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, metavar="N", help="Chunks sampled a row, at most.")
    ] = 1000,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            min=0,
            callback=finite,
            metavar="S",
            help="Sampling time a row, about.",
        ),
    ] = 2.0,
    target: Annotated[
        str, typer.Option("--for", metavar="GPU", help="Show the plan for this GPU, too.")
    ] = "",
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Picture of the latencies (PNG).")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Trace of the kernels, first sizes, for Perfetto (JSON).",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No tables, no progress.")] = False,
) -> None:
    """Measure microseconds per timestep, each backend beside the others and beside the floor.

    Lists are separated by commas; all combinations are measured.
    Tables go to stderr, one JSON object to stdout.
    """
    sizes = [
        _numbers(option, text)
        for option, text in (
            ("--layers", layers),
            ("--hidden", hidden),
            ("--batch", batch),
            ("--timesteps", timesteps),
        )
    ]
    _check_outputs(plot, trace)
    import torch

    from ..profiling import Settings, backends_here, cells_of, plans
    from ..profiling.environment import environment

    own = dtype.value if dtype else "bfloat16" if torch.cuda.is_available() else "float32"
    settings = Settings(
        cells=cells_of(sizes, own, residual),
        backends=backends_here() if backends is None else _names("--backends", backends),
        repeat=repeat,
        seconds=seconds,
        target=target.lower(),
        target_dtype=dtype.value if dtype else "bfloat16",
        trace=trace is not None,
    )
    settings.check()
    if not quiet:
        _show_plans(plans(settings))
    result = _run(settings, quiet=quiet)
    if not quiet:
        _show(result, settings)
    asked = {
        **dict(zip(("layers", "hidden", "batch", "timesteps"), sizes, strict=True)),
        "dtype": own,
        "residual": residual,
        "backends": settings.backends,
        "repeat": repeat,
        "seconds": seconds,
        "for": settings.target or None,
    }
    print(json.dumps({**environment(), "settings": asked, **result.as_dict()}))
    _write(result, settings, plot, trace)


def _numbers(option: str, text: str) -> list[int]:
    numbers = []
    for part in _names(option, text):
        if not part.isascii() or not part.isdigit() or int(part) < 1:
            raise ProfileError(
                f"{option}: {part!r} is not a whole number from 1 on; a list is 1,8,32"
            )
        numbers.append(int(part))
    return numbers


def _names(option: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ProfileError(f"{option}: there is an empty item in {text!r}")
    return list(dict.fromkeys(parts))


def _check_outputs(plot: Path | None, trace: Path | None) -> None:
    """Find now what would be a pity to find after the measurement."""
    for path in (plot, trace):
        if path is not None and not path.resolve().parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}: make it first")
    if plot:
        from ..profiling.plot import check_plot

        check_plot(plot)


def _show_plans(found: list[Plan]) -> None:
    from ..profiling.report import plan_text

    for plan in found:
        console.note(plan_text(plan))


def _run(settings: Settings, *, quiet: bool) -> Profile:
    from ..profiling import profile as run

    rows = len(settings.cells) * len(settings.backends)
    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task("profile", total=rows, rate="")
        begun = 0

        def report(row: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=row)
            begun += 1

        return run(settings, report)


def _show(result: Profile, settings: Settings) -> None:
    from ..profiling import report

    for table in report.tables(result, settings.cells):
        console.stderr.print(table)
    for inside in result.inside:
        console.stderr.print(report.inside_table(inside))
        if inside.compared:
            console.stderr.print(report.comparison_table(inside))
    for line in report.notes(result):
        console.note(line)


def _write(result: Profile, settings: Settings, plot: Path | None, trace: Path | None) -> None:
    from persistent_lstm.timing import write_trace

    from ..profiling.plot import plot_latency

    try:
        if plot:
            plot_latency(result, settings.cells, plot)
        if trace and result.times:
            write_trace(result.times, trace)
        elif trace:
            console.error(f"{trace}: not written, for no times were recorded")
            raise typer.Exit(1)
    except OSError as error:
        console.error(f"{error.filename}: cannot be written ({error.strerror})")
        raise typer.Exit(1) from error
