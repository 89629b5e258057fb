"""``streamasr transcribe``: recordings in, transcripts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import OutputError, StreamasrError, unexpected
from ..events.writers import WRITERS, write_transcript
from ..jobs.inputs import is_collection
from ..paths import unusable
from ..transcript import Transcript, Word
from . import console
from .batch import Request, run_batch
from .checks import check_recognizer
from .loading import load_recognizer, made_by, recognizer_options
from .options import (
    Backend,
    BackendOption,
    ChunkOption,
    Decoder,
    DecoderOption,
    Engine,
    Format,
    HotwordsOption,
    ModelOption,
    TrackOption,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from ..api import Recognizer, Stream
    from ..audio import AudioFile
    from ..audio.level import Level
    from ..timings import Timings

__all__ = ["transcribe"]


@dataclass(frozen=True)
class _Options:
    """What to read and how, the same for every file of a run."""

    format: Format
    output_dir: Path | None
    chunk_ms: int
    raw_rate: int | None
    quiet: bool
    nbest: int
    track: str | None

    def output_path(self, name: str) -> Path:
        assert self.output_dir is not None
        stem = "stdin" if name == "-" else Path(name).stem
        return self.output_dir / f"{stem}{WRITERS[self.format.value].extension}"


@dataclass
class _Job:
    """A run: what it works with, and what it came to."""

    recognizer: Recognizer
    options: _Options
    timings: Timings
    start_up: float
    files: list[str]
    failed: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def rtf(self) -> float:
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


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
    nbest: Annotated[
        int, typer.Option("--nbest", min=1, metavar="N", help="Show the N best readings.")
    ] = 1,
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
    options = _Options(
        format, output_dir, chunk_ms, _raw_rate(raw, rate, track), quiet, nbest, track
    )
    one_by_one = raw or timings or "-" in files
    asked = to_stdout or engine is not Engine.local or workers is not None or retry_failed
    many = output_dir is not None or asked or any(is_collection(name) for name in files)
    if to_stdout and output_dir is not None:
        raise StreamasrError("--stdout and --output-dir exclude each other")
    if one_by_one and asked:
        raise StreamasrError(
            "--stdout, --engine, --workers and --retry-failed are for many at once: "
            "not with -, --raw or --timings"
        )
    _check(files, options)
    note = console.note_unless(quiet)
    check_recognizer(model, backend, decoder, hotwords, nbest, note=note)
    began = time.perf_counter()
    recognizing = recognizer_options(model, backend, decoder, hotwords, nbest=nbest)
    if many and not one_by_one:
        run_batch(
            Request(
                names=files,
                output_dir=output_dir,
                format=format.value,
                options=recognizing,
                track=track,
                engine=engine.value,
                workers=workers,
                retry_failed=retry_failed,
                quiet=quiet,
            )
        )
        return
    if output_dir:
        _make_folder(output_dir)
    refused = _refused(files)
    if len(refused) == len(files):
        raise typer.Exit(1)
    from ..timings import Timings

    recognizer = load_recognizer(recognizing)
    job = _Job(recognizer, options, Timings(), time.perf_counter() - began, files, refused)
    for name in files:
        if name not in refused:
            _one_file(name, job)
    if not quiet:
        _print_summary(job)
    if timings:
        _print_timings(job)
    if job.failed:
        raise typer.Exit(1)


def _raw_rate(raw: bool, rate: int | None, track: str | None) -> int | None:
    if raw and rate is None:
        raise StreamasrError("--raw needs the sample rate too, such as --rate 16000")
    if raw and track is not None:
        raise StreamasrError("--track is for containers: --raw input has no tracks")
    if rate is not None and not raw:
        raise StreamasrError("--rate is for --raw input; other files say their own rate")
    return rate


def _check(files: list[str], options: _Options) -> None:
    if files.count("-") > 1:
        raise StreamasrError("stdin (-) can be read only once")
    if options.output_dir is None:
        if len(files) > 1 and options.format in (Format.srt, Format.vtt, Format.tsv):
            raise StreamasrError(
                f"{len(files)} {options.format.value} files cannot share stdout: add --output-dir"
            )
        return
    seen: dict[Path, str] = {}
    for name in files:
        path = options.output_path(name)
        if seen.setdefault(path, name) != name:
            raise StreamasrError(f"{seen[path]} and {name} would both be written to {path}")


def _refused(files: list[str]) -> list[str]:
    """Return the files that cannot be opened, a line on stderr for each."""
    refused = []
    for name in files:
        if problem := unusable(name):
            console.error(problem)
            refused.append(name)
    return refused


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


def _one_file(name: str, job: _Job) -> None:
    """Transcribe and deliver one recording; what goes wrong is a line on stderr."""
    began = time.perf_counter()
    problems: list[StreamasrError] = []
    notes: list[str] = []
    level: Level | None = None
    transcript = Transcript()
    interrupted = False
    with console.progress_bar(quiet=job.options.quiet) as bar:
        # Words are printed as they come, unless a progress bar shares the terminal with them.
        options = job.options
        text = options.output_dir is None and options.format is Format.txt
        live = _LiveText() if text and options.nbest == 1 and bar.disable else None
        stream = job.recognizer.stream(job.timings)
        with _collected(name, problems):
            try:
                level = _hear(name, stream, job, live, bar, notes.append)
            except KeyboardInterrupt:
                interrupted = True
    with _collected(name, problems):
        transcript = stream.finish()
    job.audio_seconds += transcript.duration
    job.seconds += time.perf_counter() - began
    # A recording that breaks off is not lost: what was heard of it is delivered. One that the user
    # breaks off is, too, except as a file, which would look whole.
    if interrupted:
        if job.options.output_dir is None and transcript.duration:
            _deliver(name, transcript, job, live)
        raise typer.Exit(130)
    if transcript.duration or not problems:
        with _collected(name, problems):
            _deliver(name, transcript, job, live)
    if not job.options.quiet:
        console.notes_on(name, notes, None if problems else level, transcript)
    for problem in problems:
        console.error(str(problem))
    if problems:
        job.failed.append(name)


def _hear(
    name: str,
    stream: Stream,
    job: _Job,
    live: _LiveText | None,
    bar: Progress,
    on_note: Callable[[str], None],
) -> Level:
    """Let ``stream`` hear a recording; return how loud it was."""
    began = time.perf_counter()
    task = bar.add_task(Path(name).name, total=None, rate="")
    with _open(name, job.options, on_note) as audio:
        bar.update(task, total=audio.duration)
        for chunk in _chunks(audio, job):
            words = stream.accept(chunk)
            if live:
                live.write(words)
            heard = stream.state.samples / job.recognizer.sample_rate
            rtf = (time.perf_counter() - began) / heard
            bar.update(task, completed=heard, rate=f"RTF {rtf:.3f}")
        return audio.level


@contextmanager
def _collected(name: str, problems: list[StreamasrError]) -> Iterator[None]:
    """Append what goes wrong with one recording to ``problems``: the others go on."""
    try:
        yield
    except (console.StdoutError, BrokenPipeError):
        raise  # nobody would get the others either
    except StreamasrError as error:
        problems.append(error)
    except Exception as error:
        if console.debug:
            raise
        problems.append(StreamasrError(unexpected(name, error)))


def _open(name: str, options: _Options, on_note: Callable[[str], None]) -> AudioFile:
    from ..audio import open_audio, open_raw

    if options.raw_rate is not None:
        return open_raw(name, sample_rate=options.raw_rate, on_note=on_note)
    return open_audio(name, track=options.track, on_note=on_note)


def _chunks(audio: AudioFile, job: _Job) -> Iterator[NDArray[np.float32]]:
    from ..samples import rechunk

    def timed() -> Iterator[NDArray[np.float32]]:
        blocks = audio.blocks()
        while True:
            with job.timings.stage("audio"):
                block = next(blocks, None)
            if block is None:
                return
            yield block

    return rechunk(timed(), job.recognizer.chunk_samples(job.options.chunk_ms))


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


def _deliver(name: str, transcript: Transcript, job: _Job, live: _LiveText | None) -> None:
    if live:
        live.finish(transcript)
        return
    recognizer = job.recognizer
    track = job.options.track
    about = made_by(recognizer.options, recognizer.decoder, recognizer.fingerprint, track=track)
    text = WRITERS[job.options.format.value].render(transcript, source=name, about=about)
    if job.options.output_dir is not None:
        write_transcript(job.options.output_path(name), text)
        return
    if len(job.files) > 1 and console.stderr.is_terminal and not job.options.quiet:
        console.note(f"{name}:")
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_summary(job: _Job) -> None:
    count = len(job.files)
    line = (
        f"{count - len(job.failed)} of {count} file{'s' * (count != 1)}, "
        f"{job.audio_seconds:.1f} s of audio in {job.seconds:.1f} s (RTF {job.rtf:.3f}), "
        f"start-up {job.start_up:.1f} s, backend {job.recognizer.backend} "
        f"({job.recognizer.backend_reason}), decoder {job.recognizer.decoder} "
        f"({job.recognizer.decoder_reason})"
    )
    console.note(line + (f"; {len(job.failed)} failed" if job.failed else ""))


def _print_timings(job: _Job) -> None:
    table = Table(title=f"{job.audio_seconds:.1f} s of audio")
    for column in ("stage", "seconds", "share", "RTF"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    stages = dict(job.timings.seconds)
    stages["other"] = max(0.0, job.seconds - sum(stages.values()))
    for stage, seconds in stages.items():
        share = seconds / job.seconds if job.seconds else 0.0
        rtf = seconds / job.audio_seconds if job.audio_seconds else 0.0
        table.add_row(stage, f"{seconds:.3f}", f"{share:.0%}", f"{rtf:.4f}")
    console.stderr.print(table)
