"""Opening: what can be refused before decoding, and which decoder reads the rest."""

import os
import re
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from ..errors import AudioError
from .audiofile import AudioFile, one_line
from .decoder import Decoder, NotAudio
from .raw import RawDecoder

__all__ = ["is_address", "open_audio", "open_raw", "unusable"]

STDIN = "-"
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def open_audio(source: str | os.PathLike[str]) -> AudioFile:
    """Open a recording of any common format, or "-" for standard input.

    WAV, FLAC, Ogg, AIFF… are read by libsndfile; MP3, MP4/M4A, WebM, MKV, WMA… and everything
    on standard input by FFmpeg. The content decides, not the extension.

    Raises:
        AudioError: missing, unreadable or empty file, not a regular file, or not audio.
    """
    if os.fspath(source) == STDIN:
        from .ffmpeg import open_pipe

        try:
            return AudioFile("stdin", open_pipe(_stdin()))
        except NotAudio as problem:
            raise AudioError(f"stdin: {problem}") from None
    name, path = _check(source)
    try:
        return AudioFile(name, _decoder(path))
    except NotAudio as problem:
        raise AudioError(f"{one_line(name)}: {problem}") from None


def open_raw(source: str | os.PathLike[str], *, sample_rate: int, channels: int = 1) -> AudioFile:
    """Open headerless PCM, signed 16-bit little-endian, channels interleaved; "-" for stdin.

    A live pipe on standard input is read as data arrives.

    Args:
        source: path or "-".
        sample_rate: frames a second, in Hz.
        channels: samples a frame.

    Raises:
        AudioError: missing, unreadable or empty file, not a regular file, or an implausible
            sample rate or channel count.
    """
    if channels < 1:
        raise AudioError(f"{one_line(os.fspath(source))}: {channels} channels are not possible")
    if os.fspath(source) == STDIN:
        return AudioFile("stdin", RawDecoder(_stdin(), sample_rate, channels, owned=False))
    name, path = _check(source)
    return AudioFile(name, RawDecoder(path.open("rb"), sample_rate, channels, owned=True))


def is_address(name: str) -> bool:
    """Whether ``name`` looks like a URL."""
    return ADDRESS.match(name) is not None


def unusable(name: str) -> str | None:
    """Return why a name cannot be opened, as open_audio would say it; None if nothing is known."""
    if not name:
        return "an empty file name: is a variable of the shell unset?"
    if name != STDIN:
        try:
            _check(name)
        except AudioError as error:
            return str(error)
    return None


def _decoder(path: Path) -> Decoder:
    from .sndfile import SndfileDecoder

    # libmpg123 inside libsndfile stops at the estimated length of a VBR MP3 without a Xing
    # header, and writes about damage to stderr; FFmpeg does neither.
    if not _looks_like_mpeg(path):
        try:
            return SndfileDecoder(path)
        except NotAudio:
            pass
    from .ffmpeg import open_file

    return open_file(path)


def _looks_like_mpeg(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(3)
    return head == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _check(source: str | os.PathLike[str]) -> tuple[str, Path]:
    """Return the name and the path of a regular, readable, non-empty file."""
    name = os.fspath(source)
    path = Path(name)
    problem = ""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            problem = "is a folder, not a recording"
        elif not stat.S_ISREG(status.st_mode):
            # Opening a FIFO that nobody writes to would wait for ever.
            problem = 'is a pipe or a device, not a file; feed it to standard input and give "-"'
        elif status.st_size == 0:
            problem = "is empty (0 bytes)"
        else:
            path.open("rb").close()
    except FileNotFoundError:
        problem = "no such file"
        if is_address(name):
            problem = "is an address, not a file: download it first, and give the file"
    except OSError as error:
        problem = f"cannot be opened: {(error.strerror or str(error)).lower()}"
    except ValueError:  # a NUL byte
        problem = "is not a possible file name"
    if problem:
        raise AudioError(f"{one_line(name)}: {problem}")
    return name, path


def _stdin() -> BinaryIO:
    if sys.stdin is None:  # a program started without one
        raise AudioError("stdin: there is no standard input")
    return sys.stdin.buffer
