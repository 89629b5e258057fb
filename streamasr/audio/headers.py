"""Read from headers what FFmpeg does not expose: MP3 frames, a W64's size."""

import re
from typing import NamedTuple

from .bytestream import ByteReader, Window

__all__ = ["Stated", "is_mp4", "mp3_frames", "needs_seeking", "read_stated"]

# The flags' last bit says that the count of frames follows.
XING = re.compile(
    rb"\xff.{1,200}?(?:Xing|Info)\0\0\0[\x01\x03\x05\x07\x09\x0b\x0d\x0f](.{4})", re.DOTALL
)
XING_BYTES = 2048
LARGEST_TAG = 2**24
W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_UNKNOWN = 2**62
# QuickTime's first files begin with another box than `ftyp`.
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")


class Stated(NamedTuple):
    """What a file's header states.

    Attributes:
        mp3_frames: in an MP3's Xing or Info header; 0 without one.
        bytes_by_size: bytes that the file should have by those that it has, at least 1.
    """

    mp3_frames: int = 0
    bytes_by_size: float = 1.0


def read_stated(window: Window) -> Stated:
    """Return what is stated at the beginning of a file; leaves its position there."""
    window.seek(0)
    head = window.read(24)
    stated = Stated()
    if head[:16] == W64 and len(head) == 24:
        size = int.from_bytes(head[16:], "little")
        if size < W64_UNKNOWN:
            stated = Stated(bytes_by_size=max(1.0, size / window.size()))
    elif not is_mp4(head):
        window.seek(0)
        stated = Stated(mp3_frames=mp3_frames(ByteReader(window)))
    window.seek(0)
    window.seen = 0
    return stated


def mp3_frames(source: ByteReader) -> int:
    """Frame count in the Xing or Info header, the first frame after the ID3 tag; 0 without."""
    start = 0
    head = source.peek(10)
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    elif head[:1] != b"\xff":
        return 0
    if start > LARGEST_TAG:
        return 0
    header = XING.match(source.peek(start + XING_BYTES)[start:])
    return int.from_bytes(header[1]) if header else 0


def needs_seeking(head: bytes) -> bool:
    """Whether FFmpeg goes back and forth in a file that begins with these 12 bytes."""
    iff = head[:4] == b"FORM" and head[8:12] in (b"8SVX", b"16SV")
    return is_mp4(head) or iff or head[:4] in (b"caff", b"riff")


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an MP4, M4A, 3GP or MOV."""
    return head[4:8] in MP4_BOXES
