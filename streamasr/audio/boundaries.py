"""Where a second recording begins in a file, for containers that FFmpeg takes to end before it.

FFmpeg believes a container's stated length: of two files put together it reads the first. The
second is found by its first bytes, which are long enough not to come about by chance.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

from .bytestream import ByteReader, Window
from .headers import is_mp4

__all__ = ["HEAD_BYTES", "FilePart", "StreamPart", "file_parts", "has_signature"]

SIGNATURE = re.compile(
    rb"FORM....(?:AIFF|AIFC|8SVX|16SV)"
    rb"|caff\0[\1\2]\0\0desc\0{4}"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"  # W64
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"  # ASF: WMA
    rb"|FLV\x01[\x01\x04\x05]\0\0\0\x09"
    rb"|Creative Voice File\x1a"
    rb"|#!AMR(?:-WB)?\n"
    rb"|NIST_1A\n   \d{4}\n"
    rb"|\x1a\x45\xdf\xa3(?:[\x80-\xff]|\x01.{7})\x42\x86\x81\x01",  # Matroska, WebM
    re.DOTALL,
)
HEAD_BYTES = 20
"""The longest of them."""
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BEGINNINGS = (
    b"FORM",
    b"caff",
    b"riff",
    b"\x30\x26\xb2\x75",
    b"FLV\x01",
    b"Crea",
    b"#!AM",
    b"NIST",
    EBML,
)
BLOCK_BYTES = 2**20


class StreamPart:
    """The bytes of a pipe up to where another recording begins.

    Args:
        source: at a recording's first byte.
    """

    options: Mapping[str, str] = MappingProxyType({})
    duration: float | None = None
    may_leave = True
    """FFmpeg stops where the samples do; tags may follow."""

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self._known = 1
        """Bytes ahead, the first of a recording included, in which no other one begins."""

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; b"" at the recording's end."""
        if not self._known:
            self._look_ahead()
        data = self._source.read(min(size, self._known))
        self._known -= len(data)
        return data

    def _look_ahead(self) -> None:
        """Wait for bytes of this recording; there are none where the next one begins."""
        ahead = b""
        while True:
            before = len(ahead)
            ahead = self._source.peek_some(before + 1)
            if found := SIGNATURE.search(ahead):
                self._known = found.start()
                return
            # What may be the beginning of a signature waits for the rest of it.
            ended = len(ahead) == before
            self._known = len(ahead) if ended else _first_beginning(ahead)
            if self._known or ended:
                return

    def check(self) -> str:
        """Return "": FFmpeg knows what is wrong."""
        return ""


class FilePart(Window):
    """A recording within a file that can be seeked in."""

    options: Mapping[str, str] = MappingProxyType({})
    duration: float | None = None
    may_leave = True

    def check(self) -> str:
        """Return "": FFmpeg knows what is wrong."""
        return ""


def has_signature(head: bytes) -> bool:
    """Whether the first `HEAD_BYTES` of a pipe are those of a format that `StreamPart` reads."""
    return SIGNATURE.match(head) is not None


def file_parts(window: Window) -> list[tuple[int, int]]:
    """Return where the recordings of a file begin and end; leaves its position at the start."""
    window.seek(0)
    head = window.read(HEAD_BYTES)
    starts = [0]
    if is_mp4(head):
        starts += _mp4_starts(window)
    elif head[:4] == EBML and (end := _matroska_end(window)) is not None:
        while end is not None and end < window.size():
            starts.append(end)
            end = _matroska_end(window, end)
    elif has_signature(head):
        starts += _signatures(window)
    window.seek(0)
    window.seen = 0
    return [*pairwise([*starts, window.size()])]


def _first_beginning(data: bytes) -> int:
    """Return where the end of `data` may be the beginning of a signature; its length if nowhere."""
    for start in range(max(0, len(data) - HEAD_BYTES + 1), len(data)):
        first = data[start : start + 4]
        if any(each.startswith(first) for each in BEGINNINGS):
            return start
    return len(data)


def _matroska_end(window: Window, start: int = 0) -> int | None:
    """Return where a Matroska's segment ends; None if that is not stated."""
    position = start
    for kind in (EBML, SEGMENT):
        window.seek(position)
        head = window.read(12)
        if head[:4] != kind or not head[4:5] or not head[4]:
            return None
        width = 9 - head[4].bit_length()  # a variable-length integer, RFC 8794
        size = int.from_bytes(head[4 : 4 + width]) & ((1 << 7 * width) - 1)
        if size == (1 << 7 * width) - 1:
            return None
        position += 4 + width + size
    return position


def _signatures(window: Window) -> Iterator[int]:
    """Yield where signatures stand, but for the first byte."""
    position, ahead = 1, b""
    window.seek(1)
    while block := window.read(BLOCK_BYTES):
        ahead += block
        done = max(0, len(ahead) - HEAD_BYTES + 1)
        for found in SIGNATURE.finditer(ahead):
            yield position + found.start()
            done = max(done, found.end())
        position, ahead = position + done, ahead[done:]


def _mp4_starts(window: Window) -> Iterator[int]:
    """Yield where an `ftyp` follows the index and the samples of a recording."""
    seen: set[bytes] = set()
    position, end = 0, window.size()
    while position < end:
        window.seek(position)
        box = window.read(16)
        kind = box[4:8]
        if kind == b"ftyp" and {b"moov", b"mdat"} <= seen:
            yield position
            seen.clear()
        seen.add(kind)
        size = int.from_bytes(box[:4])
        if size == 1:
            size = int.from_bytes(box[8:16])
        if size < 8:  # to the end of the file, or damaged
            return
        position += size
