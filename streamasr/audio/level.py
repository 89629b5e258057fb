"""How loud a recording is, and what to say of one that is too quiet."""

import math

import numpy as np

from .decoder import Samples

__all__ = ["Level"]

QUIET_PEAK = -36.0
"""dBFS. The bundled model, trained on speech that peaks near 0, begins to fail here."""


class Level:
    """Root mean square and peak of samples, in dBFS: a full-scale square wave has 0."""

    def __init__(self) -> None:
        self._squares = 0.0
        self._count = 0
        self._peak = 0.0

    def add(self, samples: Samples) -> None:
        """Count samples of shape (n,)."""
        if samples.size:
            self._squares += float(np.dot(samples, samples))
            self._count += samples.size
            self._peak = max(self._peak, float(samples.max()), -float(samples.min()))

    @property
    def rms(self) -> float:
        """Root mean square in dBFS, -inf for silence."""
        return _decibels(math.sqrt(self._squares / self._count)) if self._count else -math.inf

    @property
    def peak(self) -> float:
        """Largest magnitude in dBFS, -inf for silence."""
        return _decibels(self._peak)

    def describe(self) -> str:
        """Return the level in words: "its level is -23.1 dBFS, its peak -4.0 dBFS"."""
        if not self._peak:
            return "it is digital silence, its level -inf dBFS"
        return f"its level is {self.rms:.1f} dBFS, its peak {self.peak:.1f} dBFS"

    def note_on(self, words: int, seconds: float) -> str:
        """Return what to say of a recording in which so many words were found; "" if nothing."""
        quiet = bool(self._peak) and self.peak < QUIET_PEAK
        if words and not quiet:
            return ""
        found = "very quiet, so that words may be missing"
        if not words:
            found = f"nothing was recognised in its {seconds:.1f} s"
        remedy = ""
        if quiet:
            gain = -round(self.peak) - 3
            remedy = f"; amplify it, for example with ffmpeg -af volume={gain}dB"
        return f"{found}: {self.describe()}{remedy}"


def _decibels(value: float) -> float:
    return 20 * math.log10(value) if value > 0 else -math.inf
