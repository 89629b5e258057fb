"""What every decoder offers to `AudioFile`."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "BLOCK_SECONDS",
    "LOUDEST",
    "AudioDecoder",
    "Damaged",
    "NotAudio",
    "Samples",
    "block_frames",
]

BLOCK_SECONDS = 0.5
"""Length of the blocks that files are decoded in. Live pipes give shorter ones as data arrives."""

LOUDEST = 16.0
"""Floats lie within ±1, some a little beyond; above this, 24 dB more, they have another scale."""

Samples: TypeAlias = npt.NDArray[np.float32]


class NotAudio(Exception):
    """The source cannot be opened; the message completes a sentence that starts with its name."""


class Damaged(Exception):
    """Everything that could be decoded has been yielded, and something is missing.

    Args:
        total: seconds that there should have been, None if the source does not say.
        detail: what is wrong, where more is known than "damaged or cut short".
    """

    def __init__(self, total: float | None, detail: str = "damaged or cut short") -> None:
        super().__init__(detail)
        self.total = total
        self.detail = detail


class AudioDecoder(Protocol):
    """A source of samples at its own rate and channel count."""

    sample_rate: int
    channels: int
    duration: float | None

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield (samples, rate): samples of shape (frames, channels), rate in Hz.

        Raises:
            Damaged: at the end, after all that could be decoded.
        """
        ...

    def close(self) -> None:
        """Release the source. Closing twice is harmless."""
        ...


def block_frames(sample_rate: int, channels: int) -> int:
    """Frames in a block: BLOCK_SECONDS, within 8 MB whatever a header claims."""
    return max(1, min(int(sample_rate * BLOCK_SECONDS), 2**21 // channels))
