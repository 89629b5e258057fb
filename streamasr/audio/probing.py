"""Which decoder reads a file or a pipe, by what it holds."""

import io
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, cast

from .boundaries import HEAD_BYTES, FilePart, file_parts, has_signature
from .bytestream import ByteReader, Window, is_seekable
from .decoder import AudioDecoder, NotAudio
from .ffmpeg import UNREADABLE, FfmpegDecoder
from .headers import is_mp4, mp3_frames, needs_seeking, read_stated
from .joined import JoinedDecoder, stream_parts
from .ogg import MAGIC as OGG
from .ogg import stated_seconds
from .riff import is_wav

__all__ = ["open_decoder"]

COPY_BYTES = 2**20
NO_INDEX = "cannot be read: its index (moov) is missing or damaged, so it was probably cut short"


def open_decoder(
    file: BinaryIO,
    track: int | str | None,
    note: Callable[[str], None],
    resources: ExitStack,
) -> AudioDecoder:
    """Open what a binary file holds, from where it stands.

    A pipe is read as its data arrives; only formats that are read back and forth, such as an MP4,
    whose index is usually at its end, are first copied to a temporary file.

    Args:
        file: it stays open.
        track: as in `FfmpegDecoder`.
        note: called with what a listener should know.
        resources: what must be closed after the decoder.

    Raises:
        NotAudio: nothing here can read it.
    """
    source = ByteReader(file)
    if not is_seekable(file):
        return _open_pipe(source, track, note, resources)
    start = file.tell()
    head = source.peek(12)
    if not head:
        end = file.seek(0, 2)
        raise NotAudio("is empty (0 bytes)" if not end else "stands at its end: seek(0) first")
    if head[:4] == OGG or is_wav(head):
        window = Window(file, start)
        duration = stated_seconds(window) if head[:4] == OGG else None
        size = window.size()
        window.seek(0)
        source = ByteReader(file)
        try:
            parts = stream_parts(source, size, note)
            return JoinedDecoder(parts, live=False, track=track, note=note, duration=duration)
        except NotAudio as problem:
            if head[:4] == OGG:
                raise
            return _open_rare(Window(file, start), track, note, problem)
    return _open_seekable(Window(file, start), track, note)


def _open_seekable(
    window: Window, track: int | str | None, note: Callable[[str], None]
) -> AudioDecoder:
    head = window.read(12)
    parts = file_parts(window)
    try:
        if len(parts) > 1:
            recordings = (window.part(FilePart, *part) for part in parts)
            return JoinedDecoder(recordings, live=False, track=track, note=note, duration=None)
        return FfmpegDecoder(window, live=False, track=track, note=note, stated=read_stated(window))
    except NotAudio as problem:
        if is_mp4(head) and str(problem) == UNREADABLE:
            raise NotAudio(NO_INDEX) from None
        return _open_rare(window, track, note, problem)


def _open_rare(
    window: Window, track: int | str | None, note: Callable[[str], None], problem: NotAudio
) -> AudioDecoder:
    """Open what FFmpeg does not know, if libsndfile does."""
    from .sndfile import SndfileDecoder

    if track not in (None, 1, "1"):
        raise problem
    window.seek(0)
    try:
        return SndfileDecoder(window, note)
    except NotAudio:
        raise problem from None


def _open_pipe(
    source: ByteReader,
    track: int | str | None,
    note: Callable[[str], None],
    resources: ExitStack,
) -> AudioDecoder:
    head = source.peek(HEAD_BYTES)
    if not head:
        raise NotAudio("is empty (0 bytes)")
    if needs_seeking(head) or mp3_frames(source):
        return _open_seekable(_copy(source, resources), track, note)
    source.record()
    try:
        decoder: AudioDecoder
        if head[:4] == OGG or is_wav(head[:12]) or has_signature(head):
            parts = stream_parts(source, None, note)
            decoder = JoinedDecoder(parts, live=True, track=track, note=note, duration=None)
        else:
            decoder = FfmpegDecoder(source, live=True, track=track, note=note)
    except NotAudio as problem:
        from .sndfile import known_to_sndfile

        recorded = source.rewind()
        if head[:4] != OGG and known_to_sndfile(io.BytesIO(recorded)):
            return _open_rare(_copy(source, resources), track, note, problem)
        raise
    source.stop_recording()
    return decoder


def _copy(source: ByteReader, resources: ExitStack) -> Window:
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    resources.enter_context(copy)
    while data := source.read(COPY_BYTES):
        copy.write(data)
    return Window(cast(BinaryIO, copy))
