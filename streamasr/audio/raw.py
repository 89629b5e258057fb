"""Headerless 16-bit PCM."""

from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from .decoder import Damaged, Samples, block_frames

__all__ = ["RawDecoder", "read_some"]


class RawDecoder:
    """Signed 16-bit little-endian PCM, channels interleaved, from a binary file or pipe.

    Args:
        file: where the bytes come from.
        sample_rate: in Hz.
        channels: samples a frame.
        owned: whether `close` closes the file.
    """

    duration: float | None = None

    def __init__(self, file: BinaryIO, sample_rate: int, channels: int, *, owned: bool) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self._file = file
        self._owned = owned
        self._frame_bytes = 2 * channels
        if owned:
            size = file.seek(0, 2)
            file.seek(0)
            self.duration = size // self._frame_bytes / sample_rate if sample_rate > 0 else None

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels) in ±1 as they arrive, and the rate."""
        wanted = block_frames(self.sample_rate, self.channels) * self._frame_bytes
        rest = b""
        while data := read_some(self._file, wanted):
            data = rest + data
            whole = len(data) - len(data) % self._frame_bytes
            rest = data[whole:]
            if whole:
                pcm = np.frombuffer(data[:whole], dtype="<i2").astype(np.float32)
                yield (pcm / np.float32(32768)).reshape(-1, self.channels), self.sample_rate
        if rest:
            raise Damaged(
                None,
                f"ends in the middle of a sample, {len(rest)} byte(s) left over; "
                "is it 16-bit PCM with this number of channels?",
            )

    def close(self) -> None:
        """Close the file if it is this decoder's own."""
        if self._owned:
            self._file.close()


def read_some(file: BinaryIO, size: int) -> bytes:
    """Read what is there, at most `size` bytes, waiting only while there is nothing.

    `read` of a buffered pipe would wait until all of `size` has arrived.
    """
    read1 = getattr(file, "read1", file.read)
    return cast(bytes, read1(size))
