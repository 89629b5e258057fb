"""Where FFmpeg's bytes come from: a pipe that can be looked ahead into, or a part of a file."""

from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeVar, cast

__all__ = ["ByteReader", "Readable", "Window", "is_seekable", "read_some", "tell_of_unread"]


W = TypeVar("W", bound="Window")

PEEK_BYTES = 2**15
UNREAD_BYTES = 2**16
"""Tags and an index behind the samples may stay unread; more than this is reported."""


class Readable(Protocol):
    """What can be read forwards."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; b"" at the end."""
        ...


class ByteReader:
    """Reads a pipe or file forwards, with a look ahead; never waits for more than is asked.

    Args:
        file: a binary file; only its `read` (or `read1`) is used.
    """

    def __init__(self, file: "Readable") -> None:
        self._file = file
        self._ahead = b""
        self._recorded: list[bytes] | None = None

    def read(self, size: int) -> bytes:
        """Read what is there, at most `size` bytes; b"" at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = read_some(self._file, size) if size else b""
        if self._recorded is not None:
            self._recorded.append(data)
        return data

    def read_exactly(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        parts = []
        while size and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without taking them; fewer only at the end."""
        while len(self._ahead) < size and (data := read_some(self._file, size - len(self._ahead))):
            self._ahead += data
        return self._ahead[:size]

    def peek_some(self, least: int) -> bytes:
        """Return what is there, at least `least` bytes without taking them; fewer at the end."""
        while len(self._ahead) < least and (data := read_some(self._file, PEEK_BYTES)):
            self._ahead += data
        return self._ahead

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read next."""
        self._ahead = data + self._ahead

    def record(self) -> None:
        """Keep what is read from now on, until `rewind`."""
        self._recorded = []

    def rewind(self) -> bytes:
        """Put back what was read since `record`, and return it."""
        recorded, self._recorded = b"".join(self._recorded or []), None
        self.unread(recorded)
        return recorded

    def stop_recording(self) -> None:
        """Forget what was kept."""
        self._recorded = None


class Window:
    """A seekable file from a position on, to another one or to its end; without its name.

    FFmpeg would take any `.raw` for video and `.ul` for µ-law by the name alone.

    Attributes:
        seen: the furthest position, from the window's start, that was read up to.
    """

    def __init__(self, file: BinaryIO, start: int = 0, end: int | None = None) -> None:
        self._file = file
        self._start = start
        self._end = end
        self.seen = 0
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, all that are left if it is negative."""
        if self._end is not None:
            left = max(0, self._end - self._file.tell())
            size = left if size < 0 else min(size, left)
        data = self._file.read(size)
        self.seen = max(self.seen, self.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as `io.IOBase.seek` does; return the new position."""
        if whence == 0:
            offset += self._start
        elif whence == 2 and self._end is not None:
            whence, offset = 0, offset + self._end
        return self._file.seek(offset, whence) - self._start

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell() - self._start

    def seekable(self) -> bool:
        """Return True."""
        return True

    def part(self, kind: type[W], start: int, end: int) -> W:
        """Return a part of the window, at its first byte."""
        return kind(self._file, self._start + start, self._start + end)

    def size(self) -> int:
        """Bytes from the window's start to its end; leaves the position alone."""
        if self._end is not None:
            return self._end - self._start
        position = self._file.tell()
        end = self._file.seek(0, 2)
        self._file.seek(position)
        return end - self._start


def tell_of_unread(unread: int, note: Callable[[str], None]) -> None:
    """Note how many bytes of a recording its decoder, which says that it is done, left unread."""
    if unread > UNREAD_BYTES:
        note(f"its last {unread / 1e6:.1f} MB are of no known format, and were not decoded")


def is_seekable(file: BinaryIO) -> bool:
    """Whether a file can go back; an object that has only `read` cannot."""
    seekable = getattr(file, "seekable", None)
    return seekable is not None and seekable()


def read_some(file: "Readable", size: int) -> bytes:
    """Read what is there, at most `size` bytes, waiting only while there is nothing.

    `read` of a buffered pipe would wait until all of `size` has arrived.
    """
    read1 = getattr(file, "read1", file.read)
    return cast(bytes, read1(size))
