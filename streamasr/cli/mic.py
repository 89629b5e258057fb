"""``streamasr mic``: talk, and the words stand there; ``streamasr devices``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OutputError
from . import console
from .checks import finite
from .loading import load_recognizer, recognizer_options
from .options import (
    Backend,
    BackendOption,
    Decoder,
    DecoderOption,
    FillersOption,
    FormattedOption,
    HotwordsOption,
    ModelOption,
    ProfanityOption,
    TextOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..api import Listener, Recognizer
    from ..audio.live import Block
    from ..audio.microphone import DeviceChange, Microphone
    from ..events import Event
    from ..events.saving import Saver
    from ..segment import EndpointConfig
    from .live_view import LiveView

__all__ = ["DeviceOption", "devices", "mic", "quiet_libraries"]

DeviceOption = Annotated[
    str | None,
    typer.Option("--device", "-d", metavar="ID|NAME", help="Index, or a unique part of the name."),
]


def devices() -> None:
    """List the microphones."""
    from ..audio.microphone import input_devices

    with quiet_libraries():
        found = input_devices()
    for device in found:
        mark = "*" if device.is_default else " "
        print(f"{mark} {device.index:3d}  {device.name}  ({device.sample_rate} Hz)")
    if not found:
        console.note("no microphone found")


def mic(
    device: DeviceOption = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the microphones and end.")
    ] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Events on stdout, a line of JSON each, partials too.")
    ] = False,
    save: Annotated[
        list[Path] | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Write there as it goes: .txt, .srt, .vtt, .tsv, .json, or .wav for the sound. "
            "May be given several times.",
        ),
    ] = None,
    silence: Annotated[
        float,
        typer.Option(
            "--silence", min=0.4, max=10, callback=finite, help="Seconds that end a segment."
        ),
    ] = 0.8,
    longest: Annotated[
        float,
        typer.Option(
            "--longest",
            min=2,
            callback=finite,
            help="Seconds after which the next gap ends a segment.",
        ),
    ] = 20.0,
    chunk_ms: Annotated[
        int, typer.Option("--chunk-ms", min=10, help="Audio handed to the model at a time, in ms.")
    ] = 80,
    decoder: DecoderOption = Decoder.auto,
    hotwords: HotwordsOption = None,
    text: TextOption = None,
    formatted: FormattedOption = None,
    remove_fillers: FillersOption = False,
    mask_profanity: ProfanityOption = False,
    backend: BackendOption = Backend.auto,
    model: ModelOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")] = False,
) -> None:
    """Transcribe the microphone until Ctrl-C.

    On a terminal the words appear as they are said; elsewhere each finished segment is a line.
    """
    if list_devices:
        devices()
        return
    from ..events.saving import check_savable, open_saver

    for path in save or ():
        check_savable(path)
    note = console.note_unless(quiet)
    options = recognizer_options(
        *(model, backend, decoder, hotwords),
        text=text,
        formatted=formatted,
        remove_fillers=remove_fillers,
        mask_profanity=mask_profanity,
        note=note,
    )
    with _Interruption() as interruption, ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        # Opened before the model is loaded: what is said meanwhile waits in the queue.
        from ..audio.microphone import Microphone

        session = _Session(jsonl, quiet)
        microphone = stack.enter_context(Microphone(device, notify=session.notify))
        interruption.stop = microphone.stop
        rate = microphone.device.sample_rate
        note(f"listening to {microphone.device.name} at {rate} Hz, the model loads; Ctrl-C ends")
        recognizer = load_recognizer(options)
        # Not before: a model that cannot be loaded shall leave no empty files.
        session.savers = [stack.enter_context(open_saver(path)) for path in save or ()]
        config = _endpoint(silence, longest)
        session.run(recognizer, config, chunk_ms, microphone)
        if not quiet:
            console.note(session.summary())
    raise typer.Exit(130)


class _Interruption:
    """Ctrl-C and SIGTERM end the session in order; the second time they end it at once."""

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupted(self, _number: int, _frame: object) -> None:
        self.__exit__()
        if self.stop is None:  # not listening yet
            raise KeyboardInterrupt
        self.stop()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what ALSA and PortAudio write to stderr off the screen, unless ``--debug``.

    They print lines of their own for every plugin they try, on the file descriptor itself.
    """
    if console.debug:
        yield
        return
    before = sys.stderr
    before.flush()
    kept = os.dup(2)
    try:
        with os.fdopen(
            os.dup(kept), "w", encoding=before.encoding, errors=before.errors, buffering=1
        ) as ours:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            if before is sys.__stderr__:
                sys.stderr = ours
            try:
                yield
            finally:
                sys.stderr = before
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _endpoint(silence: float, longest: float) -> EndpointConfig:
    from ..segment import EndpointConfig

    return EndpointConfig(
        silence_seconds=silence,
        no_speech_seconds=max(2.0, silence),
        longest_seconds=max(longest, silence),
    )


class _Session:
    """One session: what it delivers where, and what it came to."""

    def __init__(self, jsonl: bool, quiet: bool) -> None:
        self.savers: list[Saver] = []
        self._jsonl = jsonl
        self._quiet = quiet
        self._view: LiveView | None = None
        self._seconds = self._busy = self._lost = 0.0
        self._segments = self._words = 0

    def run(
        self,
        recognizer: Recognizer,
        config: EndpointConfig,
        chunk_ms: int,
        microphone: Microphone,
    ) -> None:
        """Listen until the microphone is stopped, or what stdout or a file takes ends."""
        from ..api import Listener
        from .live_view import LiveView

        listener = Listener(recognizer, config, chunk_ms=chunk_ms)
        with ExitStack() as stack:
            terminal = self._terminal()
            if terminal is not None:
                facts = f"{recognizer.backend}, {recognizer.decoder}"
                self._view = stack.enter_context(LiveView(terminal, facts))
            for block in microphone.blocks():
                self._process(block, listener)
            self._deliver(listener.finish())

    def notify(self, change: DeviceChange) -> None:
        """Say what became of the microphone: on the status line for as long as it is gone."""
        if self._view is not None:
            self._view.say("" if change.present else str(change))
        elif not self._quiet:
            console.note(str(change))

    def summary(self) -> str:
        """Return one line on the whole session."""
        whole = round(self._seconds)
        rtf = self._busy / self._seconds if self._seconds else 0.0
        lost = f", {self._lost:.1f} s of audio lost" if self._lost else ""
        return (
            f"{whole // 60}:{whole % 60:02d} of audio, {self._words} words in {self._segments} "
            f"segment{'s' * (self._segments != 1)}, RTF {rtf:.3f}{lost}"
        )

    def _terminal(self) -> Console | None:
        """Return where the words can be shown as they are said: stdout, else stderr, or nowhere."""
        if self._jsonl or self._quiet:
            return None
        for terminal in (console.stdout(), console.stderr):
            if terminal.is_terminal and not terminal.is_dumb_terminal:
                return terminal
        return None

    def _process(self, block: Block, listener: Listener) -> None:
        began = time.perf_counter()
        events = listener.accept(block)
        self._busy += time.perf_counter() - began
        self._seconds = listener.seconds
        self._lost += block.lost_seconds
        for saver in self.savers:
            self._saved(saver, partial(saver.write_audio, block.samples, block.lost_seconds))
        self._deliver(events)
        if self._view is not None:
            self._view.meter.update(block.samples)
            self._view.refresh(self._seconds, self._busy / max(self._seconds, 1.0))

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if event.type == "final" and event.words:
                self._segments += 1
                self._words += len(event.words)
            for saver in self.savers:
                self._saved(saver, partial(saver.write, event))
            self._print(event)

    def _print(self, event: Event) -> None:
        if self._jsonl:
            print(event.to_json(), flush=True)
            return
        if self._view is not None:
            self._view.show(event)
            if self._view.is_stdout:
                return
        if event.type == "gap":
            print(event.description, flush=True)
        elif event.type == "final" and event.text:
            print(event.text, flush=True)

    def _saved(self, saver: Saver, save: Callable[[], None]) -> None:
        """Save; a file that takes no more is given up, and the session goes on."""
        try:
            save()
        except OutputError as error:
            self.savers = [s for s in self.savers if s is not saver]
            console.error(str(error))
