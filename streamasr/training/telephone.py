"""Telephone lines: 8 kHz, of a band of frequencies, in the 8 bits of G.711's µ-law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE

__all__ = ["mu_law", "over_telephone"]

Samples = NDArray[np.float32]

_EDGE_HZ = 200.0
"""From what passes to what does not; G.712 allows 600 Hz at the upper end."""
_FULL_SCALE, _BIAS = 8192, 33
"""Of G.711's 14-bit magnitudes, of which 8,158 is the largest."""


def over_telephone(samples: Samples, low_hz: float = 300.0, high_hz: float = 3400.0) -> Samples:
    """Return 16 kHz ``samples (n,)`` as they sound at the other end of a telephone line.

    Frequencies between ``low_hz`` and ``high_hz`` pass, no sample is delayed, and what is kept at
    8 kHz goes through µ-law. Raises ValueError for a band that 8 kHz cannot hold.
    """
    nyquist = SAMPLE_RATE / 4
    if not 0 <= low_hz < high_hz <= nyquist - _EDGE_HZ:
        raise ValueError(f"no band of a telephone: {low_hz:g} to {high_hz:g} Hz")
    # Zeros behind the end, lest the filter's ringing comes round to the beginning.
    size = 2 ** math.ceil(math.log2(len(samples) + SAMPLE_RATE // 10))
    spectrum = np.fft.rfft(samples, size) * _band(size, low_hz, high_hz)
    narrow = np.fft.irfft(spectrum[: size // 4 + 1], size // 2) / 2
    wide = np.zeros(size // 2 + 1, np.complex128)
    wide[: size // 4] = 2 * np.fft.rfft(mu_law(narrow))[:-1]
    return np.asarray(np.fft.irfft(wide, size)[: len(samples)], dtype=np.float32)


def mu_law(samples: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return samples in [-1, 1] as G.711 (ITU-T 1988) µ-law in 8 bits gives them back.

    Beyond a bias, magnitudes lie in eight segments, each twice as long as the one before and of
    sixteen equal steps; a step's samples become its middle.
    """
    magnitude = np.minimum(np.abs(samples) * _FULL_SCALE, 8158) + _BIAS
    _, exponent = np.frexp(magnitude)
    step = np.ldexp(1.0, exponent - 5)
    middle = (np.floor(magnitude / step) + 0.5) * step - _BIAS
    return np.asarray(np.copysign(middle / _FULL_SCALE, samples), dtype=np.float64)


def _band(size: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return gains of ``size``'s real spectrum, with edges of raised cosine outside the band."""
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    outside = np.maximum(np.maximum(low_hz - frequency, frequency - high_hz), 0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.minimum(outside / _EDGE_HZ, 1)))
