"""Stateful sample rate conversion."""

import numpy as np
import numpy.typing as npt
import soxr

__all__ = ["SAMPLE_RATE", "Resampler"]

SAMPLE_RATE = 16_000
"""The rate, in Hz, that the recognizer works at."""


class Resampler:
    """Converts mono audio from one sample rate to another, piece by piece (soxr, HQ).

    The output does not depend on how the input is split: the pieces joined are bit for bit
    what `soxr.resample` gives for the whole. With equal rates samples pass through untouched.

    Args:
        source_rate: rate of the input, in Hz.
        target_rate: rate of the output, in Hz.

    Raises:
        ValueError: a rate is not positive.
    """

    def __init__(self, source_rate: int, target_rate: int = SAMPLE_RATE) -> None:
        if source_rate <= 0 or target_rate <= 0:
            raise ValueError(f"sample rates must be positive: {source_rate}, {target_rate}")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._flushed = False
        self._stream: soxr.ResampleStream | None = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")

    def process(self, samples: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Take samples of shape (n,) and return those that are ready, shape (m,), m may be 0.

        Raises:
            RuntimeError: the resampler has been flushed.
        """
        if self._flushed:
            raise RuntimeError("a flushed Resampler takes no more samples: make a new one")
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        if self._stream is None:
            return samples
        ready: npt.NDArray[np.float32] = self._stream.resample_chunk(samples)
        return ready

    def flush(self) -> npt.NDArray[np.float32]:
        """End the input and return the samples still held back, shape (m,)."""
        nothing = np.zeros(0, np.float32)
        if self._flushed or self._stream is None:
            self._flushed = True
            return nothing
        self._flushed = True
        rest: npt.NDArray[np.float32] = self._stream.resample_chunk(nothing, last=True)
        return rest
