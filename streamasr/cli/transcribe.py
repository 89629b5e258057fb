"""``streamasr transcribe``: recordings in, transcripts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import AudioError, StreamasrError
from ..transcript import Transcript, Word
from . import console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress, TaskID

    from ..audio import AudioFile
    from ..recognizer import Recognizer, Timings

__all__ = ["transcribe"]


class Format(StrEnum):
    """Output formats."""

    txt = "txt"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"


class Backend(StrEnum):
    """What runs the LSTM."""

    auto = "auto"
    torch = "torch"
    triton = "triton"


ModelOption = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="Model folder [default: bundled].")
]
ChunkOption = Annotated[
    int, typer.Option("--chunk-ms", min=1, help="Audio handed to the model at a time, in ms.")
]
BackendOption = Annotated[Backend, typer.Option("--backend", help="What runs the LSTM.")]


@dataclass(frozen=True)
class _Options:
    """What to read and how, the same for every file of a run."""

    format: Format
    output_dir: Path | None
    chunk_ms: int
    raw_rate: int | None

    @property
    def writes_text_to_stdout(self) -> bool:
        return self.output_dir is None and self.format is Format.txt


@dataclass
class _Totals:
    """What a run came to."""

    files: int = 0
    failed: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0


def transcribe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recordings; - is stdin.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.txt,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", metavar="DIR", help="Write a file per recording there."),
    ] = None,
    chunk_ms: ChunkOption = 320,
    backend: BackendOption = Backend.auto,
    model: ModelOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Inputs are headerless 16-bit little-endian mono PCM.")
    ] = False,
    rate: Annotated[
        int | None, typer.Option("--rate", min=1, metavar="HZ", help="Sample rate of --raw input.")
    ] = None,
    timings: Annotated[
        bool, typer.Option("--timings", help="Show the share of each stage on stderr.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")] = False,
) -> None:
    """Transcribe recordings, of any format and sample rate. Only the transcript goes to stdout."""
    options = _Options(format, output_dir, chunk_ms, _raw_rate(raw, rate))
    _check(files, options)
    began = time.perf_counter()
    from ..recognizer import Recognizer, Timings

    recognizer = Recognizer.from_pretrained(model, backend=backend.value)
    if output_dir:
        _make_folder(output_dir)
    start_up = time.perf_counter() - began
    stages = Timings()
    totals = _Totals()
    with console.progress_bar(quiet=quiet) as bar:
        task = bar.add_task("", rate="", total=None)
        for name in files:
            _one_file(name, recognizer, options, stages, totals, bar, task)
    if not quiet:
        _summary(totals, start_up, recognizer)
    if timings:
        _timings_table(stages, totals)
    if totals.failed:
        raise typer.Exit(1)


def _raw_rate(raw: bool, rate: int | None) -> int | None:
    if raw and rate is None:
        raise typer.BadParameter("--raw needs the sample rate too, such as --rate 16000")
    if rate is not None and not raw:
        raise typer.BadParameter("--rate is for --raw input; other files say their own rate")
    return rate


def _output_path(name: str, options: _Options) -> Path:
    assert options.output_dir is not None
    stem = "stdin" if name == "-" else Path(name).stem
    return options.output_dir / f"{stem}.{options.format.value}"


def _check(files: list[str], options: _Options) -> None:
    if files.count("-") > 1:
        raise typer.BadParameter("stdin (-) can be read only once")
    if options.output_dir is None:
        if len(files) > 1 and options.format in (Format.srt, Format.vtt, Format.tsv):
            raise typer.BadParameter(
                f"{len(files)} {options.format.value} files cannot share stdout: add --output-dir"
            )
        return
    seen: dict[Path, str] = {}
    for name in files:
        path = _output_path(name, options)
        if path in seen and seen[path] != name:
            raise typer.BadParameter(f"{seen[path]} and {name} would both be written to {path}")
        seen[path] = name


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StreamasrError(f"{folder}: cannot be made ({error.strerror})") from error


def _open(name: str, options: _Options) -> AudioFile:
    from ..audio import open_audio, open_raw

    if options.raw_rate is not None:
        return open_raw(name, sample_rate=options.raw_rate)
    return open_audio(name)


def _one_file(
    name: str,
    recognizer: Recognizer,
    options: _Options,
    stages: Timings,
    totals: _Totals,
    bar: Progress,
    task: TaskID,
) -> None:
    from ..recognizer import rechunk

    began = time.perf_counter()
    totals.files += 1
    stream = recognizer.stream(stages)
    # Words are printed as they come, unless a progress bar shares the terminal with them.
    live = _LiveText() if options.writes_text_to_stdout and bar.disable else None
    try:
        with _open(name, options) as audio:
            bar.reset(task, description=Path(name).name, total=audio.duration, rate="")
            blocks = _timed(audio.blocks(), stages)
            for chunk in rechunk(blocks, recognizer.chunk_samples(options.chunk_ms)):
                words = stream.accept(chunk)
                if live:
                    live.write(words)
                heard = stream.state.samples / recognizer.sample_rate
                rtf = (time.perf_counter() - began) / heard
                bar.update(task, completed=heard, rate=f"RTF {rtf:.3f}")
    except AudioError as error:
        totals.failed += 1
        console.error(str(error))
        if not stream.state.samples:
            return
    finally:
        totals.audio_seconds += stream.state.samples / recognizer.sample_rate
        totals.seconds += time.perf_counter() - began
    # Reached by a recording that breaks off, too: what was heard of it is not lost.
    transcript = stream.finish()
    if live:
        live.finish(transcript)
    else:
        _deliver(name, transcript, options)


def _timed(blocks: Iterator[NDArray[np.float32]], stages: Timings) -> Iterator[NDArray[np.float32]]:
    while True:
        with stages.stage("audio"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


class _LiveText:
    """Prints the words of one recording to stdout as they come: one line in all."""

    def __init__(self) -> None:
        self._printed = 0

    def write(self, words: Sequence[Word]) -> None:
        for word in words:
            sys.stdout.write(word.text if self._printed == 0 else f" {word.text}")
            self._printed += 1
        if words:
            sys.stdout.flush()

    def finish(self, transcript: Transcript) -> None:
        self.write(transcript.words[self._printed :])
        sys.stdout.write("\n")
        sys.stdout.flush()


def _deliver(name: str, transcript: Transcript, options: _Options) -> None:
    from ..writers import WRITERS, write_transcript

    text = WRITERS[options.format.value].render(transcript, source=name)
    if options.output_dir is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_transcript(_output_path(name, options), text)


def _summary(totals: _Totals, start_up: float, recognizer: Recognizer) -> None:
    done = totals.files - totals.failed
    rtf = totals.seconds / totals.audio_seconds if totals.audio_seconds else 0.0
    line = (
        f"{done} of {totals.files} file{'s' * (totals.files != 1)}, "
        f"{totals.audio_seconds:.1f} s of audio in {totals.seconds:.1f} s (RTF {rtf:.3f}), "
        f"start-up {start_up:.1f} s, backend {recognizer.backend}"
    )
    console.note(line + (f"; {totals.failed} failed" if totals.failed else ""))


def _timings_table(stages: Timings, totals: _Totals) -> None:
    table = Table(title=f"{totals.audio_seconds:.1f} s of audio")
    for column in ("stage", "seconds", "share", "RTF"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    named = dict(stages.seconds)
    named["other"] = max(0.0, totals.seconds - sum(named.values()))
    for stage, seconds in named.items():
        share = seconds / totals.seconds if totals.seconds else 0.0
        rtf = seconds / totals.audio_seconds if totals.audio_seconds else 0.0
        table.add_row(stage, f"{seconds:.3f}", f"{share:.0%}", f"{rtf:.4f}")
    console.stderr.print(table)
