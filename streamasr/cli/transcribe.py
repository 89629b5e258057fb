"""``streamasr transcribe``: recordings in, transcripts out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import StreamasrError
from ..jobs.inputs import Input, expand, is_collection
from ..jobs.outputs import FolderOutput, StdoutOutput
from ..jobs.request import InTurn, Request
from ..jobs.run import Engine as JobEngine
from ..jobs.run import pool_for, run_job
from ..paths import STDIN
from ..timings import Timings
from . import console
from .loading import recognizer_options
from .options import (
    Backend,
    BackendOption,
    ChunkOption,
    Decoder,
    DecoderOption,
    Engine,
    FillersOption,
    Format,
    FormattedOption,
    HotwordsOption,
    ModelOption,
    ProfanityOption,
    TextOption,
    TrackOption,
)
from .progress import JobProgress

__all__ = ["transcribe"]


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Recordings, folders of them, patterns, or .tsv manifests; - is stdin.",
        ),
    ],
    format: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.txt,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", metavar="DIR", help="Write a file per recording there."),
    ] = None,
    chunk_ms: ChunkOption = 320,
    decoder: DecoderOption = Decoder.auto,
    backend: BackendOption = Backend.auto,
    model: ModelOption = None,
    hotwords: HotwordsOption = None,
    text: TextOption = None,
    nbest: Annotated[
        int, typer.Option("--nbest", min=1, metavar="N", help="Show the N best hypotheses.")
    ] = 1,
    formatted: FormattedOption = None,
    remove_fillers: FillersOption = False,
    mask_profanity: ProfanityOption = False,
    track: TrackOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Inputs are headerless 16-bit little-endian mono PCM.")
    ] = False,
    rate: Annotated[
        int | None, typer.Option("--rate", min=1, metavar="HZ", help="Sample rate of --raw input.")
    ] = None,
    timings: Annotated[
        bool, typer.Option("--timings", help="Show the share of each stage on stderr.")
    ] = False,
    to_stdout: Annotated[
        bool, typer.Option("--stdout", help="Many at once, printed in the order given.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option("--engine", help="Where many at once are done.")
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, metavar="N", help="Worker processes (default: a core)."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")] = False,
) -> None:
    """Transcribe recordings, of any format and sample rate. Only the transcript goes to stdout.

    With --output-dir a run that was stopped goes on where it was: what is done stays done.
    """
    rate = _raw_rate(raw, rate, track)
    alone = raw or timings or STDIN in files
    asked = to_stdout or engine is not Engine.local or workers is not None or retry_failed
    many = output_dir is not None or asked or any(is_collection(name) for name in files)
    if to_stdout and output_dir is not None:
        raise StreamasrError("--stdout and --output-dir exclude each other")
    if alone and asked:
        raise StreamasrError(
            "--stdout, --engine, --workers and --retry-failed are for many at once: "
            "not with -, --raw or --timings"
        )
    if files.count(STDIN) > 1:
        raise StreamasrError("stdin (-) can be read only once")
    if output_dir is None and len(files) > 1 and format in (Format.srt, Format.vtt, Format.tsv):
        raise StreamasrError(
            f"{len(files)} {format.value} files cannot share stdout: add --output-dir"
        )
    refused: list[str] = []
    note = console.note_unless(quiet)
    inputs = expand(files, refused.append, note, in_folder=output_dir is not None)
    request = Request(
        names=files,
        options=recognizer_options(
            *(model, backend, decoder, hotwords),
            text=text,
            nbest=nbest,
            # CTM is words: formatting them would be in vain.
            formatted=False if format is Format.ctm else formatted,
            remove_fillers=remove_fillers,
            mask_profanity=mask_profanity,
            note=note,
        ),
        format=format.value,
        output_dir=output_dir,
        track=track,
        in_turn=InTurn(chunk_ms, rate) if alone or not many else None,
        engine=engine.value,
        workers=workers,
        retry_failed=retry_failed,
    )
    # Printed before the model loads: it may be a typing error.
    for problem in refused:
        console.error(problem)
    if not inputs:
        raise typer.Exit(1)
    try:
        problems = _run(request, inputs, Timings() if timings else None, quiet=quiet)
    except KeyboardInterrupt:
        if output_dir is not None and not quiet:
            console.note("interrupted; what is done is kept: run the same command to go on")
        raise typer.Exit(130) from None
    for problem in problems:
        console.error(problem)
    if problems or refused:
        raise typer.Exit(1)


def _run(
    request: Request, inputs: Sequence[Input], timings: Timings | None, *, quiet: bool
) -> Sequence[str]:
    """Run a job and print what it came to; return what is wrong with it."""
    with (
        _output(request, inputs, quiet=quiet) as output,
        JobProgress(output.sizes, quiet=quiet) as progress,
    ):
        problems = run_job(request, _engine(request, output, timings), output, progress)
        if not quiet:
            console.note(progress.summary() + output.before)
        if timings is not None:
            progress.print_timings(timings)
    return problems


def _output(
    request: Request, inputs: Sequence[Input], *, quiet: bool
) -> FolderOutput | StdoutOutput:
    if request.output_dir is not None:
        return FolderOutput(request, inputs, request.output_dir)
    # Words are printed as they come, unless a progress bar shares the terminal with them.
    bar = console.stderr.is_terminal and not quiet
    text = request.format == Format.txt.value and request.options.nbest == 1
    return StdoutOutput(
        request,
        inputs,
        live=request.in_turn is not None and text and not bar,
        announce=lambda name: console.note(f"{name}:") if bar and len(inputs) > 1 else None,
    )


def _engine(
    request: Request, output: FolderOutput | StdoutOutput, timings: Timings | None
) -> JobEngine:
    if request.in_turn is None:
        return pool_for(request, output.tasks)
    from ..jobs.turns import TurnEngine

    return TurnEngine(
        request,
        request.in_turn,
        timings or Timings(),
        on_text=output.write_text if isinstance(output, StdoutOutput) else lambda _: None,
        debug=console.debug,
    )


def _raw_rate(raw: bool, rate: int | None, track: str | None) -> int | None:
    if raw and rate is None:
        raise StreamasrError("--raw needs the sample rate too, such as --rate 16000")
    if raw and track is not None:
        raise StreamasrError("--track is for containers: --raw input has no tracks")
    if rate is not None and not raw:
        raise StreamasrError("--rate is for --raw input; other files say their own rate")
    return rate
