"""Headerless 16-bit PCM."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .bytestream import Window, is_seekable, read_some
from .decoder import Damaged, Samples, block_frames

__all__ = ["RawDecoder"]


class RawDecoder:
    """Signed 16-bit little-endian PCM, channels interleaved, from a binary file or pipe.

    Args:
        file: where the bytes come from; it stays open.
        sample_rate: in Hz.
        channels: samples a frame.
    """

    duration: float | None = None

    def __init__(self, file: BinaryIO, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self._file = file
        self._frame_bytes = 2 * channels
        if sample_rate > 0 and is_seekable(file):
            size = Window(file, file.tell()).size()
            self.duration = size // self._frame_bytes / sample_rate

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
        """Do nothing: the file belongs to whoever opened it."""
