"""Opening: what can be refused before decoding, and which decoder reads the rest."""

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, TypeAlias

from ..errors import AudioError, AudioWarning
from ..paths import STDIN, check_file, one_line
from .audiofile import AudioFile
from .decoder import NotAudio
from .probing import open_decoder
from .raw import RawDecoder

__all__ = ["AudioSource", "open_audio", "open_raw"]


AudioSource: TypeAlias = str | os.PathLike[str] | BinaryIO


def _warn(note: str) -> None:
    warnings.warn(note, AudioWarning, stacklevel=2)


def open_audio(
    source: AudioSource,
    *,
    track: int | str | None = None,
    name: str | None = None,
    on_note: Callable[[str], None] = _warn,
) -> AudioFile:
    """Open a recording of any common format: a path, "-" for standard input, a binary file.

    FFmpeg reads it, and libsndfile the few formats that FFmpeg does not know. The content decides,
    not the extension; a file and a pipe give the same samples. A binary file is read from where it
    stands and stays open.

    Args:
        source: what to read.
        track: which of several audio tracks: a number from 1, or a language by any of its ISO 639
            codes or BCP 47 tags. By default FFmpeg's choice, or the loudest one where that is
            silent.
        name: what errors and notes call it, if not by its path.
        on_note: called with one line for each thing that a listener should know: which of several
            tracks or channels was taken, what was missing by its timestamps. An `AudioWarning`
            by default.

    Raises:
        AudioError: missing, unreadable or empty file, not a regular file, not audio, or without
            such a track.
    """
    with ExitStack() as resources:
        found, file = _open(source, resources)
        name = name or found
        note = _named(name, on_note)
        try:
            decoder = open_decoder(file, track, note, resources)
        except NotAudio as problem:
            raise AudioError(f"{one_line(name)}: {problem}") from None
        return AudioFile(name, decoder, note, resources.pop_all())


def open_raw(
    source: AudioSource,
    *,
    sample_rate: int,
    channels: int = 1,
    on_note: Callable[[str], None] = _warn,
) -> AudioFile:
    """Open headerless PCM, signed 16-bit little-endian, channels interleaved; "-" for stdin.

    A live pipe is read as data arrives. A binary file is read from where it stands and stays open.

    Args:
        source: path, "-" or binary file.
        sample_rate: frames a second, in Hz.
        channels: samples a frame.
        on_note: as in `open_audio`.

    Raises:
        AudioError: missing, unreadable or empty file, not a regular file, or an implausible
            sample rate or channel count.
    """
    with ExitStack() as resources:
        name, file = _open(source, resources)
        if channels < 1:
            raise AudioError(f"{one_line(name)}: {channels} channels are not possible")
        decoder = RawDecoder(file, sample_rate, channels)
        return AudioFile(name, decoder, _named(name, on_note), resources.pop_all())


def _named(name: str, on_note: Callable[[str], None]) -> Callable[[str], None]:
    """Return `on_note` with a name before each line, and no line twice."""
    noted: set[str] = set()

    def note(text: str) -> None:
        if text not in noted:  # the links of a chain may repeat a note
            noted.add(text)
            on_note(f"{one_line(name)}: {text}")

    return note


def _open(source: AudioSource, resources: ExitStack) -> tuple[str, BinaryIO]:
    """Return the name and the bytes of a source; a file opened here belongs to `resources`."""
    if not isinstance(source, str | os.PathLike):
        name = getattr(source, "name", None)  # a file descriptor's is a number
        name = name if isinstance(name, str) and name else "the recording"
        if hasattr(source, "encoding"):
            raise AudioError(f"{one_line(name)}: must be binary: open it with mode 'rb'")
        return name, source
    if os.fspath(source) == STDIN:
        if sys.stdin is None:  # a program started without one
            raise AudioError("stdin: there is no standard input")
        return "stdin", sys.stdin.buffer
    name, path = check_file(source)
    return name, resources.enter_context(path.open("rb"))
