"""``streamasr tune``: the beam search's weights for a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AudioError
from ..failures import check_recordings
from . import console, failed
from .checks import check_model

if TYPE_CHECKING:
    from ..tuning import Trial

__all__ = ["tune"]

_SHOWN = ("lm_weight", "word_score")
_SHOWN_OF_RESCORER = ("rescoring_weight", "rescoring_lm_weight", "rescoring_word_score")


def tune(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Recordings to choose on: not the test set.")
    ],
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="Model folder to change.")],
    searches: Annotated[
        int, typer.Option("--searches", min=1, help="Weights of the search to decode with.")
    ] = 5,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Weights to try on what they found.")
    ] = 3000,
    hypotheses: Annotated[
        int, typer.Option("--hypotheses", min=2, help="Hypotheses to keep of each segment.")
    ] = 60,
    every: Annotated[
        int, typer.Option("--every", min=1, metavar="N", help="Take each N-th recording only.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Choose the beam search weights with the fewest word errors and calibrate confidence."""
    from ..decoding.graph import load_graph
    from ..manifest import read_manifest
    from ..tuning import tune as run

    check_model(model)
    utterances = read_manifest(manifest)[::every]
    check_recordings(utterance.path for utterance in utterances)
    load_graph(model)  # takes no time; the model does
    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task("posteriors", total=None, rate="")

        def report(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        try:
            found = run(
                model,
                utterances,
                searches=searches,
                trials=trials,
                hypotheses=hypotheses,
                seed=seed,
                report=report,
            )
        except AudioError as error:  # every recording failed
            console.error(str(error))
            raise typer.Exit(1) from None
    print(f"before  {_line(found.before)}")
    print(f"after   {_line(found.after)}")
    low, high = (100 * bound for bound in found.interval)
    print(f"change  {low:+.2f} to {high:+.2f} points of WER (95 %, bootstrap over speakers)")
    console.note(f"stored in {model / 'beam.json'}")
    if found.failed:
        console.note(f"{len(found.failed)} of {len(utterances)} recordings were left out")
    failed.end_with(found.failed)


def _line(trial: Trial) -> str:
    names = _SHOWN + (_SHOWN_OF_RESCORER if trial.config.rescoring_weight else ())
    values = {name: getattr(trial.config, name) for name in names}
    settings = "  ".join(f"{name} {v:g}" for name, v in values.items() if v is not None)
    counts = trial.counts
    return f"{settings}  WER {100 * counts.wer:.2f} %  CER {100 * counts.cer:.2f} %"
