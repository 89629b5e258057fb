"""``streamasr train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import console, failed

if TYPE_CHECKING:
    from ..training.loop import Progress

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file; see recipes/.")],
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="Overrides data.root.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Overrides output.")
    ] = None,
    updates: Annotated[
        int | None, typer.Option("--updates", min=1, help="Overrides optimizer.updates.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads (default: all).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train a model, or go on where an interrupted run of the same CONFIG stopped.

    Recordings that cannot be decoded are named and left out; the exit code is then 1. Several
    processes train together: torchrun --nproc-per-node N -m streamasr train CONFIG.
    """
    import torch

    from ..training import load_config
    from ..training import train as run
    from ..training.distributed import joined

    settings = load_config(config)
    if data_root:
        settings = settings.with_values("data", root=str(data_root))
    if output:
        settings = settings.model_copy(update={"output": str(output)})
    if updates:
        settings = settings.with_values("optimizer", updates=updates)
    if threads:
        torch.set_num_threads(threads)
    left_out = failed.Collected()
    with joined() as world:
        bar = console.progress_bar(quiet=quiet or not world.leads)
        task = bar.add_task("training", total=settings.optimizer.updates, rate="")

        def report(p: Progress) -> None:
            bar.start()  # only now: decoding the audio shows a bar of its own
            rate = f"loss {p.loss:.3f}  lr {p.lr:.1e}  {p.audio_per_second:.0f}x real time"
            bar.update(task, completed=p.update, rate=rate)
            if p.dev_wer is not None and not quiet:
                bar.console.print(
                    f"update {p.update}, epoch {p.epoch}: loss {p.loss:.3f}, "
                    f"dev WER {100 * p.dev_wer:.2f} %"
                )

        try:
            folder = run(settings, report, left_out)
        finally:
            bar.stop()
        if world.leads:
            console.note(f"model written to {folder}")
    left_out.end()
