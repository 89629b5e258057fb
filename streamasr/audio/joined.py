"""Recordings one behind the other in one file: the links of an Ogg chain, WAVs put together."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

from .bytestream import ByteReader
from .decoder import Damaged, NotAudio, Samples
from .ffmpeg import UNREADABLE, FfmpegDecoder
from .ogg import MAGIC, OggLink
from .riff import WavPart, is_wav

__all__ = ["JoinedDecoder", "is_joinable"]

NMS_ADPCM = 0x38
"""FFmpeg takes it for AMR; libsndfile reads it."""


class Part(Protocol):
    """The bytes of one recording, which ends before the file does."""

    options: Mapping[str, str]
    duration: float | None

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the recording's end."""
        ...

    def check(self) -> str:
        """Return what is wrong with it, once it has been read to its end; "" if nothing is."""
        ...


class JoinedDecoder:
    """All recordings of an Ogg or WAV file, each through a decoder of its own.

    A file and a pipe are read the same way: forwards.

    Args:
        source: at the file's first byte.
        size: bytes of the file, None for a pipe.
        live: yield each decoded frame at once instead of collecting blocks.
        track: as in `FfmpegDecoder`.
        note: called with what a listener should know.
        duration: length in seconds, where it is known better than the first header knows it.

    Raises:
        NotAudio: FFmpeg cannot open the first of them.
    """

    def __init__(
        self,
        source: ByteReader,
        size: int | None,
        *,
        live: bool,
        track: int | str | None,
        note: Callable[[str], None],
        duration: float | None,
    ) -> None:
        self._source = source
        self._live = live
        self._track = track
        self._note = note
        self._problem: Damaged | None = None
        self._refusal: NotAudio | None = None
        self._parts = 0
        if not self._open_next(size):
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
            if not self._open_next(None):
                break
        if (problem := self._problem) is not None:
            raise problem if self._parts == 1 else Damaged(None, problem.detail)

    def _open_next(self, size: int | None) -> bool:
        """Open the next recording that can be decoded; return whether there is one."""
        while (part := self._next_part(size)) is not None:
            self._parts += 1
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
        # A decoder that stopped early is not believed to be complete.
        if self._part.read(1):
            problem = problem or Damaged(self._part.duration)
            _read_to_end(self._part)
        if wrong := self._part.check():
            problem = Damaged(self._part.duration, wrong)
        return problem

    def _next_part(self, size: int | None) -> Part | None:
        head = self._source.peek(12)
        if head[:4] == MAGIC:
            return OggLink(self._source)
        return WavPart(self._source, size, self._note) if is_wav(head) else None

    def _open(self, part: Part) -> FfmpegDecoder:
        if isinstance(part, WavPart) and part.format_tag == NMS_ADPCM:
            raise NotAudio("in a codec that FFmpeg does not know")
        return FfmpegDecoder(
            part, live=self._live, track=self._track, note=self._note, options=part.options
        )

    def close(self) -> None:
        """Close the decoder; the bytes' source stays open."""
        self._decoder.close()


def _read_to_end(part: Part) -> None:
    while part.read(2**16):
        pass


def is_joinable(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a format that this reads."""
    return head[:4] == MAGIC or is_wav(head)
