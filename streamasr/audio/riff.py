"""WAV as it is found: sizes that are 0, too small, too large or unknown, and files joined.

Microsoft's RIFF/WAVE, big-endian RIFX, and RF64/BW64 (EBU Tech 3306, ITU-R BS.2088).
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from .bytestream import ByteReader

__all__ = ["WavPart", "is_wav"]

NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
# Sizes that a program writes which cannot go back to the header: FFmpeg 0xFFFFFFFF, SoX
# 0x7FFFF000, arecord 0x7FFFFFFF or 0x80000000. They promise nothing.
STREAMING_SIZE = 0x7FFF0000
UNKNOWN = 0xFFFFFFFF
# Writers that miscount a header by a few bytes lose no audio.
TOLERANCE = 0.01
LARGEST_CHUNK = 2**24
"""Beyond this, four letters and a size behind the samples are taken for samples."""
LARGEST_HEADER = 2**24


class WavPart:
    """The bytes of a WAV up to the end of its samples, whatever its header says.

    FFmpeg is to read it with `options`, so that it leaves the end to this class.

    Args:
        source: at the WAV's first byte.
        size: bytes from there to the end of the file, None for a pipe.
        note: called with what a listener should know.

    Attributes:
        format_tag: what the samples are, such as 1 for PCM; 0 without a `fmt ` chunk.
        duration: seconds as the header states them, or as the file has room for; None if unknown.
    """

    options: Mapping[str, str] = MappingProxyType({"ignore_length": "1"})
    may_leave = False

    def __init__(self, source: ByteReader, size: int | None, note: Callable[[str], None]) -> None:
        self._source = source
        self._note = note
        self.format_tag = 0
        self._byte_rate = 0
        self._stated = UNKNOWN
        self._is_data = False
        self._order: Literal["little", "big"] = "little"
        self._header = self._read_header()
        self._taken = 0
        self._ended = self._overrun = False
        if self._stated in (0, UNKNOWN) and size is not None:
            length: int | None = size - len(self._header)
        else:
            length = self._stated if 0 < self._stated < UNKNOWN else None
        self.duration = length / self._byte_rate if length and self._byte_rate else None

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; b"" at the end of the samples."""
        if self._header:
            data, self._header = self._header[:size], self._header[size:]
            return data
        left = self._stated - self._taken
        if self._is_data and left <= 0 and not self._ended and not self._overrun:
            self._look_behind()
        if self._ended:
            return b""
        data = self._source.read(size if self._overrun or not self._is_data else min(size, left))
        self._taken += len(data)
        self._ended = not data
        return data

    def check(self) -> str:
        """Return what is wrong with it, once it has been read to its end; "" if nothing is."""
        missing = self._stated - self._taken
        promised = self._is_data and self._stated < STREAMING_SIZE
        if promised and missing > TOLERANCE * max(1, self._byte_rate):
            return "damaged or cut short"
        if not self._overrun:
            self._skip_chunks()
        return ""

    def _read_header(self) -> bytes:
        """Read up to the samples."""
        header = self._source.read_exactly(12)
        order = self._order = "big" if header[:4] == b"RIFX" else "little"
        long_size = 0
        while len(header) < LARGEST_HEADER and len(chunk := self._source.read_exactly(8)) == 8:
            header += chunk
            size = int.from_bytes(chunk[4:], order)
            if chunk[:4] == b"data":
                self._is_data = True
                self._stated = long_size if size == UNKNOWN and long_size else size
                return header
            if size > LARGEST_HEADER:
                break
            body = self._source.read_exactly(size + size % 2)
            header += body
            if chunk[:4] == b"fmt " and len(body) >= 16:
                self.format_tag = int.from_bytes(body[:2], order)
                self._byte_rate = int.from_bytes(body[8:12], order)
            elif chunk[:4] == b"ds64" and len(body) >= 16:
                long_size = int.from_bytes(body[8:16], order)
        return header

    def _look_behind(self) -> None:
        """Decide, where the samples should end, whether they do."""
        ahead = self._source.peek(9)
        pad = self._stated % 2
        if not ahead[pad:] or _is_chunk(ahead[:8]) or (pad and _is_chunk(ahead[1:])):
            self._ended = True
            return
        self._overrun = True
        if self._stated:
            length = self._stated / self._byte_rate if self._byte_rate else 0.0
            self._note(f"its header states {length:.2f} s, but the samples go on: read to the end")

    def _skip_chunks(self) -> None:
        """Move to where another recording may follow: text and pictures may stand between."""
        if self._stated % 2 and not _is_chunk(self._source.peek(8)):
            self._source.read(1)
        while _is_chunk(chunk := self._source.peek(8)) and chunk[:4] not in FORMS:
            size = int.from_bytes(chunk[4:], self._order)
            left = 8 + size + size % 2
            while left and (data := self._source.read(min(left, 2**16))):
                left -= len(data)


def is_wav(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are a WAV's."""
    return head[:4] in FORMS and head[8:12] == b"WAVE"


def _is_chunk(head: bytes) -> bool:
    """Whether 8 bytes behind the samples are the header of a chunk, and not more samples."""
    if len(head) < 8:
        return False
    if head[:4] in FORMS:
        return True
    sizes = int.from_bytes(head[4:8], "little"), int.from_bytes(head[4:8])
    return NAME.fullmatch(head[:4]) is not None and min(sizes) <= LARGEST_CHUNK
