"""Sample rate conversion whose state is a value: kept, copied and pickled with a stream's.

A polyphase filter: the low-pass of the lower of both rates, a Kaiser-windowed sinc, computed at
every phase that an output sample can have between two input samples (Crochiere and Rabiner 1983).
Recordings, which are read once from beginning to end, are converted by soxr (``Resampler``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError

__all__ = ["RATES", "ResamplingState", "checked_rate", "convert", "flush", "position_at"]

Samples = NDArray[np.float32]

RATES = range(4_000, 192_001)
"""Sample rates, in Hz, that are converted."""

_ZERO_CROSSINGS = 32
"""Of the sinc, on either side; the transition band is then a tenth of the passband wide."""
_BETA = 10.06
"""Of the Kaiser window: what is above the band is damped by 100 dB."""
_CUTOFF = 0.95
"""The middle of the transition band, as a share of the lower Nyquist frequency."""
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class ResamplingState:
    """Where a conversion from ``source_rate`` to ``target_rate``, in Hz, stands.

    ``received`` samples came in, ``made`` went out, and ``tail (n,)`` are the newest that came in
    that samples to come still need.
    """

    source_rate: int
    target_rate: int
    received: int = 0
    made: int = 0
    tail: Samples | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Filter:
    """Output sample ``n`` lies at input sample ``n * down / up``; ``taps (up, 2 * half)``."""

    up: int
    down: int
    half: int
    taps: Samples


def convert(
    samples: Samples, source_rate: int, target_rate: int, state: ResamplingState | None
) -> tuple[Samples, ResamplingState | None]:
    """Take ``samples (n,)``; return those ready at ``target_rate``, ``(m,)``, and the state.

    None is the state of a conversion that holds nothing back. Where the rate changes on the way,
    the old conversion is ended first. Any split of the same samples gives the same.

    Raises:
        AudioError: a rate outside ``RATES``.
    """
    source_rate = checked_rate(source_rate)
    rest = np.zeros(0, np.float32)
    if state is not None and state.source_rate != source_rate:
        rest, state = flush(state), None
    if source_rate == target_rate:
        return (np.concatenate([rest, samples]) if len(rest) else samples), None
    state = state or ResamplingState(source_rate, target_rate)
    ready, state = _advance(samples, state)
    return (np.concatenate([rest, ready]) if len(rest) else ready), state


def checked_rate(rate: float) -> int:
    """Return a sample rate, in whole Hz, if it is one of ``RATES``; raises AudioError."""
    if rate in (0, None) or rate != rate // 1 or int(rate) not in RATES:
        raise AudioError(
            f"a sample rate of {rate} Hz: whole numbers from {RATES[0]} to {RATES[-1]} are taken"
        )
    return int(rate)


def position_at(
    source_rate: int, target_rate: int, samples: int, state: ResamplingState | None
) -> int:
    """Return how many samples at ``source_rate`` came before, where ``samples`` went out in all."""
    if state is None or state.source_rate != source_rate:
        return samples * source_rate // target_rate
    return (samples - state.made) * source_rate // target_rate + state.received


def flush(state: ResamplingState | None) -> Samples:
    """Return the samples ``(m,)`` still held back when nothing follows."""
    if state is None:
        return np.zeros(0, np.float32)
    own = _filter_of(state.source_rate, state.target_rate)
    total = -(-state.received * own.up // own.down)
    ready, _ = _advance(np.zeros(own.half, np.float32), state)
    return ready[: total - state.made]


def _advance(samples: Samples, state: ResamplingState) -> tuple[Samples, ResamplingState]:
    own = _filter_of(state.source_rate, state.target_rate)
    # Before the first sample there is silence.
    tail = np.zeros(own.half - 1, np.float32) if state.tail is None else state.tail
    buffer = np.concatenate([tail, samples])
    start = state.received - len(tail)  # the input sample that the buffer begins with
    received = state.received + len(samples)
    made = max(state.made, -(-(received - own.half) * own.up // own.down))
    pieces = []
    for first in range(state.made, made, _BLOCK):
        places = np.arange(first, min(first + _BLOCK, made), dtype=np.int64) * own.down
        windows = np.lib.stride_tricks.sliding_window_view(buffer, 2 * own.half)
        begins = places // own.up - (own.half - 1) - start
        pieces.append(np.einsum("ij,ij->i", windows[begins], own.taps[places % own.up]))
    needed = made * own.down // own.up - (own.half - 1)
    kept = buffer[max(0, needed - start) :].copy()
    ready = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return ready, replace(state, received=received, made=made, tail=kept)


@lru_cache(maxsize=8)
def _filter_of(source_rate: int, target_rate: int) -> _Filter:
    common = math.gcd(source_rate, target_rate)
    up, down = target_rate // common, source_rate // common
    cutoff = 0.5 * _CUTOFF * min(1.0, up / down)  # in periods per input sample
    width = _ZERO_CROSSINGS / (2 * cutoff)
    half = math.ceil(width)
    x = np.arange(1 - half, half + 1) - np.arange(up)[:, None] / up
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (x / width) ** 2, 0, None)))
    taps = np.sinc(2 * cutoff * x) * np.where(np.abs(x) <= width, window, 0)
    taps /= taps.sum(axis=1, keepdims=True)  # a constant stays what it is
    return _Filter(up, down, half, taps.astype(np.float32))
