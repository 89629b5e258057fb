"""The links of a chained Ogg file (RFC 3533, section 4), each to be decoded on its own.

A recorder that restarts, or a radio stream, writes one Ogg stream behind the other; rate, channels
and codec may change. FFmpeg reads chains only while they do not.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType

from .bytestream import ByteReader, Window

__all__ = ["MAGIC", "OggLink", "stated_seconds"]

MAGIC = b"OggS"
HEADER = 27
LONGEST_PAGE = 65_307
CONTINUED, FIRST = 1, 2
OPUS_RATE = 48_000


class OggLink:
    """The bytes of one link: up to the first page of the next one.

    Attributes:
        duration: None; `stated_seconds` knows, where the file can be seeked in.
    """

    duration: float | None = None
    options: Mapping[str, str] = MappingProxyType({})
    may_leave = False

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self._page = b""
        self._begun = False  # a page that is not the first of a track has come
        self._ended = False
        self._cut = self._damaged = False

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; b"" at the link's end."""
        if not self._page and not self._ended:
            self._page = self._next_page()
            self._ended = not self._page
        data, self._page = self._page[:size], self._page[size:]
        return data

    def check(self) -> str:
        """Return what is wrong with the link, which has been read to its end; "" if nothing."""
        if self._cut:
            return "cut short"
        return "damaged or cut short" if self._damaged else ""

    def _next_page(self) -> bytes:
        header = self._source.read_exactly(HEADER)
        if header[:4] != MAGIC:
            return self._resynchronise(header)
        if len(header) < HEADER:
            self._cut = True
            return header
        if header[5] & FIRST and self._begun:
            self._source.unread(header)
            return b""
        self._begun = self._begun or not header[5] & FIRST
        table = self._source.read_exactly(header[26])
        length = sum(table)
        body = self._source.read_exactly(length)
        page = header + table + body
        inside = page.find(MAGIC, 4)
        if inside > 0 and _checksum(page) != header[22:26]:
            # A recorder was cut off within this page, and started again.
            self._damaged = True
            self._source.unread(page[inside:])
            return page[:inside]
        self._cut = len(table) < header[26] or len(body) < length
        return page

    def _resynchronise(self, data: bytes) -> bytes:
        """Return what stands before the next page, if anything does."""
        while data and MAGIC not in data:
            more = self._source.read(4096)
            if not more:  # a tag behind the last page is no damage
                return b""
            data = data[-3:] + more
        if not data:
            return b""
        self._damaged = True
        self._source.unread(data[data.index(MAGIC) :])
        return self._next_page()


def stated_seconds(file: Window) -> float | None:
    """Return the length of an Ogg file by its last granule positions, or None.

    Reads the headers of all pages from the file's position on, and leaves it anywhere.
    """
    seconds = 0.0
    tracks: dict[bytes, tuple[int, int]] = {}  # by serial number: rate, samples to skip
    ends: dict[bytes, float] = {}
    begun = False
    while len(header := file.read(HEADER)) == HEADER and header[:4] == MAGIC:
        length = sum(file.read(header[26]))
        serial = header[14:18]
        if header[5] & FIRST:
            if begun:
                seconds += max(ends.values(), default=0.0)
                tracks, ends, begun = {}, {}, False
            head = file.read(min(length, 64))
            file.seek(length - len(head), 1)
            if track := _rate_and_skip(head):
                tracks[serial] = track
            continue
        begun = True
        file.seek(length, 1)
        position = int.from_bytes(header[6:14], "little", signed=True)
        if serial in tracks and position >= 0:
            rate, skip = tracks[serial]
            ends[serial] = max(0, position - skip) / rate
    return seconds + max(ends.values(), default=0.0) or None


def _rate_and_skip(head: bytes) -> tuple[int, int] | None:
    """Rate of granule positions and samples to skip, by a track's first packet."""
    rate = skip = 0
    if head[:7] == b"\x01vorbis" and len(head) >= 16:
        rate = struct.unpack_from("<I", head, 12)[0]
    elif head[:8] == b"OpusHead" and len(head) >= 12:
        rate, skip = OPUS_RATE, struct.unpack_from("<H", head, 10)[0]
    elif head[:5] == b"\x7fFLAC" and len(head) >= 31:
        rate = int.from_bytes(head[27:30]) >> 4
    elif head[:8] == b"Speex   " and len(head) >= 40:
        rate = struct.unpack_from("<I", head, 36)[0]
    return (rate, skip) if rate else None


def _checksum(page: bytes) -> bytes:
    """CRC of a page, its own field taken as zero, as it stands in the header."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value = (value << 8 & 0xFFFFFFFF) ^ CRC[value >> 24 ^ byte]
    return value.to_bytes(4, "little")


def _crc_of(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


CRC = [_crc_of(byte) for byte in range(256)]
