"""Recordings one behind the other in one file: the links of an Ogg chain, WAVs put together."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

from .bytestream import ByteReader
from .decoder import Damaged, NotAudio, Samples
from .ffmpeg import FfmpegDecoder
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
        part = self._next_part(size)
        assert part is not None
        self._part = part
        self._decoder = self._open(part)
        self.sample_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self.duration = duration or part.duration

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        problem: Damaged | None = None
        parts = 0
        while True:
            parts += 1
            found = yield from self._read_part()
            problem = problem or found
            self._decoder.close()
            part = self._next_part(None)
            if part is None:
                break
            self._part = part
            try:
                self._decoder = self._open(part)
            except NotAudio:
                problem = problem or Damaged(None, "what follows cannot be decoded")
                break
        if problem is not None:
            raise problem if parts == 1 else Damaged(None, problem.detail)

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
            while self._part.read(2**16):
                pass
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


def is_joinable(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a format that this reads."""
    return head[:4] == MAGIC or is_wav(head)
