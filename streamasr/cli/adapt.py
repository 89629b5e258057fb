"""``streamasr adapt``: a model that knows a voice, a microphone, a room."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from . import console, failed
from .checks import check_model
from .options import ModelOption

if TYPE_CHECKING:
    from ..adaptation import Adaptation
    from ..wer import ErrorCounts

__all__ = ["adapt"]

_MOST_LISTED = 20


def adapt(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="Recordings of the speaker; rows without transcript are transcribed.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The adapted model's new folder.")
    ],
    model: ModelOption = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Such as cpu or cuda.")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust-transcripts",
            help="Use those, too, that differ much from what is recognised.",
        ),
    ] = False,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.01, help="Most that all training may take.")
    ] = 8.0,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Most passes over the recordings.")
    ] = 6,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Adapt a model to the recordings of a manifest; --model DIR then uses it.

    Parts of the recordings are held out in turn and decide: where models adapted to the others make
    more errors than the one before, that one stays. A killed run goes on where it stood. Recordings
    that cannot be read are named, and the exit code is then 1.
    """
    from ..adaptation import AdaptationConfig
    from ..adaptation import adapt as run
    from ..manifest import read_manifest
    from ..pretrained import PRETRAINED

    check_model(model)
    if output.exists():
        raise ConfigError(f"{output}: exists; give --output a new folder")
    utterances = read_manifest(manifest, labelled=False)
    config = AdaptationConfig(minutes=minutes, epochs=epochs, seed=seed)
    if trust:
        config = config.model_copy(update={"most_misfit": math.inf})
    began = time.monotonic()
    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def report(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        found = run(model or PRETRAINED, utterances, output, config, device=device, report=report)
    _list_rejected(found)
    console.note(summary(found, time.monotonic() - began))
    failed.end_with(found.failed)


def _list_rejected(found: Adaptation) -> None:
    """Print the recordings that were left out, one a line."""
    for rejected in found.rejected[:_MOST_LISTED]:
        text = f": {rejected.text!r}" if rejected.text else ""
        console.note(f"{rejected.path}: left out: {rejected.reason}{text}")
    if (more := len(found.rejected) - _MOST_LISTED) > 0:
        console.note(f"and {more} more were left out")


def summary(found: Adaptation, seconds: float) -> str:
    """Return what became of an adaptation, in a line."""
    given, held_out = found.seconds
    amounts = f"{given:.0f} s of speech, {held_out:.0f} s held out in turn, {seconds:.0f} s taken"
    errors = f"held-out WER {_percent(found.before)} before, {_percent(found.after)} after"
    if found.before is None:
        errors = (
            f"held-out loss {found.losses[0]:.3f} before, {min(found.losses):.3f} after (no "
            "recording has a transcript to count errors in)"
        )
    if found.improved:
        return f"{errors}; {amounts}; the adapted model is in {found.folder}"
    return f"{errors}; {amounts}; it does not help, so {found.folder} is a copy of the model before"


def _percent(counts: ErrorCounts | None) -> str:
    return "unknown" if counts is None else f"{100 * counts.wer:.1f} %"
