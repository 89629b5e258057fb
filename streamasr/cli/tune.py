"""``streamasr tune``: the beam search's weights for a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AudioError, StreamasrError
from ..failures import check_recordings
from . import console, failed
from .checks import check_recognizer

if TYPE_CHECKING:
    from ..tuning import Trial

__all__ = ["tune"]


def _numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(map(math.isfinite, values)):
        raise StreamasrError(f"{text!r} is no list of numbers such as 1,1.5,2")
    return values


def tune(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Recordings to choose on: not the test set.")
    ],
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Model folder to change.")],
    lm_weights: Annotated[
        str, typer.Option("--lm-weights", metavar="LIST", help="Language model weights to try.")
    ] = "1,1.5,2,2.5",
    word_scores: Annotated[
        str, typer.Option("--word-scores", metavar="LIST", help="Scores per word to try.")
    ] = "0,1,2",
    reading_weights: Annotated[
        str,
        typer.Option(
            "--reading-weights", metavar="LIST", help="Recurrent language model weights to try."
        ),
    ] = "",
    reading_lm_weights: Annotated[
        str,
        typer.Option(
            "--reading-lm-weights", metavar="LIST", help="The other model's weights beside it."
        ),
    ] = "",
    reading_word_scores: Annotated[
        str,
        typer.Option("--reading-word-scores", metavar="LIST", help="Scores per word beside it."),
    ] = "",
    every: Annotated[
        int, typer.Option("--every", min=1, metavar="N", help="Take each N-th recording only.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Choose the beam search weights with the fewest word errors and calibrate confidence."""
    from ..manifest import read_manifest
    from ..tuning import tune as run

    lists = {
        "lm_weight": lm_weights,
        "word_score": word_scores,
        "reading_weight": reading_weights,
        "reading_lm_weight": reading_lm_weights,
        "reading_word_score": reading_word_scores,
    }
    values = {name: _numbers(text) for name, text in lists.items() if text}
    check_recognizer(model)
    utterances = read_manifest(manifest)[::every]
    check_recordings(utterance.path for utterance in utterances)
    with console.progress_bar(quiet=quiet) as bar:
        trials = math.prod(len(tried) for tried in values.values())
        task = bar.add_task("tuning", total=trials, rate="")

        def report(trial: Trial) -> None:
            bar.update(task, advance=1, rate=f"WER {100 * trial.counts.wer:.2f} %")
            print(_line(trial, values))

        try:
            best = run(model, utterances, values, report=report)
        except AudioError as error:  # of every recording
            console.error(str(error))
            raise typer.Exit(1) from None
    console.note(f"stored in {model / 'beam.json'}: {_line(best, values)}")
    if best.failed:
        console.note(f"{len(best.failed)} of {len(utterances)} recordings were left out")
    failed.end_with(best.failed)


def _line(trial: Trial, names: Iterable[str]) -> str:
    settings = "  ".join(f"{name} {getattr(trial.config, name):g}" for name in names)
    counts = trial.counts
    return f"{settings}  WER {100 * counts.wer:.2f} %  CER {100 * counts.cer:.2f} %"
