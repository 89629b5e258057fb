"""Recordings one behind the other in one file: the links of an Ogg chain, files put together."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

from .boundaries import HEAD_BYTES, FilePart, StreamPart, has_signature
from .bytestream import ByteReader, tell_of_unread
from .decoder import Damaged, NotAudio, Samples
from .ffmpeg import UNREADABLE, FfmpegDecoder
from .headers import Stated, read_stated
from .ogg import MAGIC, OggLink
from .riff import WavPart, is_wav

__all__ = ["JoinedDecoder", "stream_parts"]

NMS_ADPCM = 0x38
"""FFmpeg takes it for AMR; libsndfile reads it."""


class Part(Protocol):
    """The bytes of one recording, which ends before the file does."""

    options: Mapping[str, str]
    duration: float | None

    @property
    def may_leave(self) -> bool:
        """Whether its decoder may stop before all bytes are read."""
        ...

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the recording's end."""
        ...

    def check(self) -> str:
        """Return what is wrong with it, once it has been read to its end; "" if nothing is."""
        ...


class JoinedDecoder:
    """All recordings of a file, each through a decoder of its own.

    Args:
        parts: the recordings' bytes; each is asked for when the one before has been read.
        live: yield each decoded frame at once instead of collecting blocks.
        track: as in `FfmpegDecoder`.
        note: called with what a listener should know.
        duration: length in seconds, where it is known better than the first header knows it.

    Raises:
        NotAudio: FFmpeg cannot open the first of them.
    """

    def __init__(
        self,
        parts: Iterator[Part],
        *,
        live: bool,
        track: int | str | None,
        note: Callable[[str], None],
        duration: float | None,
    ) -> None:
        self._parts = parts
        self._live = live
        self._track = track
        self._note = note
        self._problem: Damaged | None = None
        self._refusal: NotAudio | None = None
        self._opened = 0
        if not self._open_next():
            raise self._refusal or NotAudio(UNREADABLE)
        self.sample_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self.duration = duration or self._part.duration

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        while True:
            problem = yield from self._read_part()
            self._problem = self._problem or problem
            self._decoder.close()
            if not self._open_next():
                break
        if (problem := self._problem) is not None:
            raise problem if self._opened == 1 else Damaged(None, problem.detail)

    def _open_next(self) -> bool:
        """Open the next recording that can be decoded; return whether there is one."""
        for part in self._parts:
            self._opened += 1
            try:
                self._decoder = self._open(part)
            except NotAudio as refusal:
                self._refusal = self._refusal or refusal
                self._problem = self._problem or Damaged(None, "damaged or cut short")
                _read_to_end(part)
                part.check()
                continue
            self._part = part
            return True
        return False

    def _read_part(self) -> Generator[tuple[Samples, int], None, Damaged | None]:
        """Yield one recording; return what is wrong with it."""
        problem: Damaged | None = None
        try:
            yield from self._decoder.read()
        except Damaged as damage:
            problem = damage
        if isinstance(self._part, FilePart):
            return problem
        unread = _read_to_end(self._part)
        if self._part.may_leave:
            tell_of_unread(unread, self._note)
        elif unread:  # a decoder that stopped early is not believed to be complete
            problem = problem or Damaged(self._part.duration)
        if wrong := self._part.check():
            problem = Damaged(self._part.duration, wrong)
        return problem

    def _open(self, part: Part) -> FfmpegDecoder:
        if isinstance(part, WavPart) and part.format_tag == NMS_ADPCM:
            raise NotAudio("in a codec that FFmpeg does not know")
        stated = read_stated(part) if isinstance(part, FilePart) else Stated()
        return FfmpegDecoder(
            part,
            live=self._live,
            track=self._track,
            note=self._note,
            options=part.options,
            stated=stated,
        )

    def close(self) -> None:
        """Close the decoder; the bytes' source stays open."""
        self._decoder.close()


def _read_to_end(part: Part) -> int:
    """Read what is left; return how many bytes that was."""
    unread = 0
    while data := part.read(2**16):
        unread += len(data)
    return unread


def stream_parts(
    source: ByteReader, size: int | None, note: Callable[[str], None]
) -> Iterator[Part]:
    """Yield the recordings of a file or a pipe that is read forwards.

    Args:
        source: at the first byte.
        size: bytes of the file, None for a pipe.
        note: called with what a listener should know.
    """
    while head := source.peek(HEAD_BYTES):
        if head[:4] == MAGIC:
            yield OggLink(source)
        elif is_wav(head[:12]):
            yield WavPart(source, size, note)
        elif has_signature(head):
            yield StreamPart(source)
        else:
            return
        size = None
