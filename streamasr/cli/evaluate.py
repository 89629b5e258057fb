"""``streamasr evaluate``: error rates of a manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..failures import Failure, check_recordings
from . import console, failed
from .loading import load_recognizer, recognizer_options
from .options import (
    Backend,
    BackendOption,
    Decoder,
    DecoderOption,
    HotwordsOption,
    ModelOption,
    TextOption,
)

if TYPE_CHECKING:
    from ..api import Recognizer
    from ..evaluation import Evaluation, Result

__all__ = ["evaluate"]


def evaluate(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="Tab-separated, with a header: path, transcript, speaker."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    chunk_ms: Annotated[
        int | None,
        typer.Option(
            "--chunk-ms", min=1, help="Audio for the model at a time, in ms (1280; live 80)."
        ),
    ] = None,
    decoder: DecoderOption = Decoder.auto,
    hotwords: HotwordsOption = None,
    text: TextOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="The first N utterances only.")
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", min=0, metavar="N", help="Show the N worst utterances.")
    ] = 0,
    backend: BackendOption = Backend.auto,
    model: ModelOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Replay in real time and measure latency, as with the microphone."
        ),
    ] = False,
) -> None:
    """Measure WER, CER and RTF over a manifest, each recording streamed in chunks.

    Texts are compared in lower case, letters without accents and apostrophes only.
    """
    from ..api import DEFAULT_CHUNK_MS, LISTEN_CHUNK_MS
    from ..evaluation import evaluate as run
    from ..manifest import read_manifest

    note = console.note_unless(quiet)
    options = recognizer_options(model, backend, decoder, hotwords, text=text, note=note)
    chunk_ms = chunk_ms or (LISTEN_CHUNK_MS if live else DEFAULT_CHUNK_MS)
    utterances = read_manifest(manifest)[:limit]
    check_recordings(utterance.path for utterance in utterances)
    recognizer = load_recognizer(options)
    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task(manifest.name, total=len(utterances), rate="")
        if live:
            from .evaluate_live import run_live

            left_out = run_live(
                recognizer, utterances, chunk_ms, as_json, lambda: bar.advance(task)
            )
            failed.end_with(left_out)
            return

        def report(outcome: Result | Failure) -> None:
            bar.advance(task)
            if not isinstance(outcome, Failure):
                rtf = outcome.seconds / max(outcome.duration, 1e-3)
                bar.update(task, rate=f"RTF {rtf:.3f}")

        evaluation = run(recognizer, utterances, chunk_ms=chunk_ms, report=report)
    if as_json:
        summary = _summary(evaluation, recognizer)
        settings = {"manifest": str(manifest), "chunk_ms": chunk_ms, "decoder": recognizer.decoder}
        print(json.dumps({**summary, **settings}))
    else:
        _print_tables(evaluation)
    _print_worst(evaluation.worst(worst), to_stderr=as_json)
    failed.end_with(evaluation.failed)


def _summary(evaluation: Evaluation, recognizer: Recognizer) -> dict[str, object]:
    counts = evaluation.counts
    measured = bool(evaluation.results)
    return {
        "wer": counts.wer if measured else None,
        "cer": counts.cer if measured else None,
        "rtf": evaluation.rtf if measured else None,
        "hours": evaluation.hours,
        "utterances": len(evaluation.results),
        "words": counts.words,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "speakers": {name: c.wer for name, c in evaluation.by_speaker().items()},
        "backend": recognizer.backend,
        "model": recognizer.fingerprint,
        "failed": failed.as_json(evaluation.failed),
    }


def _print_tables(evaluation: Evaluation) -> None:
    if not evaluation.results:
        print(f"nothing measured{failed.not_measured(evaluation)}")
        return
    table = Table("speaker", title="WER by speaker")
    for column in ("words", "sub", "del", "ins", "CER %", "WER %"):
        table.add_column(column, justify="right")
    rows = [*evaluation.by_speaker().items(), ("all", evaluation.counts)]
    for number, (name, c) in enumerate(rows):
        if number == len(rows) - 1:
            table.add_section()
        cells = (c.words, c.substitutions, c.deletions, c.insertions)
        table.add_row(name, *map(str, cells), f"{100 * c.cer:.2f}", f"{100 * c.wer:.2f}")
    console.stdout().print(table)
    print(
        f"WER {100 * evaluation.counts.wer:.2f} %  CER {100 * evaluation.counts.cer:.2f} %  "
        f"RTF {evaluation.rtf:.4f}  {len(evaluation.results)} utterances, "
        f"{evaluation.hours:.2f} h{failed.not_measured(evaluation)}"
    )


def _print_worst(results: list[Result], *, to_stderr: bool) -> None:
    out = sys.stderr if to_stderr else sys.stdout
    for result in results:
        print(f"\n{result.utterance.path}  WER {100 * result.counts.wer:.0f} %", file=out)
        print(f"  ref  {result.utterance.transcript.lower()}", file=out)
        print(f"  hyp  {result.text}", file=out)
