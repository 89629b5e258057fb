"""From channels to one: the mean, except where that would lose what they carry."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .decoder import Samples

__all__ = ["Mixer"]

WINDOW_SECONDS = 0.02
"""Decisions are made on windows at fixed places, so that blocks of any size give the same."""

DECAY = 0.98
"""A window's share in what is remembered of a recording: about a second."""

CANCELLED, RECOVERED = 0.05, 0.3
"""Energy of the channels' sum by the sum of their energies: 1 where they have nothing to do with
each other, the number of channels where they are equal, 0 where they cancel each other."""

SILENT = 1e-4
"""A channel whose root mean square never rises above this, -80 dBFS, carries nothing."""

LOUDER = 2.0
"""How much more energy a channel needs to be preferred to the first one."""


class Mixer:
    """Averages channels, without those that are silent so far.

    Where they cancel each other, as those of a microphone that was wired the wrong way round do,
    the loudest one is taken for as long as that lasts.

    Args:
        channels: how many there are.
        rate: frames a second.
        note: called, once at most, when channels cancel each other.
    """

    def __init__(self, channels: int, rate: int, note: Callable[[str], None]) -> None:
        self.channels = channels
        self.rate = rate
        self._note = note
        self._window = max(1, round(rate * WINDOW_SECONDS))
        self._rest = np.zeros((0, channels), np.float32)
        self._sounding = np.zeros(channels, bool)
        self._mixed: tuple[int, ...] = ()  # those that sound
        self._energies = np.zeros(channels)
        self._of_sum = 0.0
        self._single: int | None = None
        self._noted = False

    def process(self, samples: Samples) -> Samples:
        """Take samples of shape (n, channels); return those that are ready, shape (m,)."""
        if self.channels == 1:
            return np.ascontiguousarray(samples[:, 0])
        if len(self._rest):
            samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % self._window
        self._rest = samples[whole:].copy()
        return self._mix(samples[:whole], self._window)

    def flush(self) -> Samples:
        """Return what is left of a window, shape (m,)."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._mix(rest, len(rest))

    def _mix(self, samples: Samples, window: int) -> Samples:
        if not len(samples):
            return np.zeros(0, np.float32)
        windows = samples.reshape(-1, window, self.channels)
        energies = np.einsum("nwc,nwc->nc", windows, windows, dtype=np.float64)
        summed = _sum(samples, range(self.channels)).reshape(-1, window)
        of_sum = np.einsum("nw,nw->n", summed, summed, dtype=np.float64)
        sounding = energies > SILENT**2 * window
        weights = [self._decide(*each) for each in zip(energies, of_sum, sounding, strict=True)]
        mono = np.empty(len(samples), np.float32)
        begin = 0
        for end in range(1, len(weights) + 1):
            if end == len(weights) or weights[end] != weights[begin]:
                part = slice(begin * window, end * window)
                mono[part] = _mean(samples[part], weights[begin])
                begin = end
        return mono

    def _decide(
        self, energies: npt.NDArray[np.float64], of_sum: float, sounding: npt.NDArray[np.bool_]
    ) -> tuple[int, ...]:
        """Return the channels to average in a window."""
        if len(self._mixed) < self.channels and (sounding & ~self._sounding).any():
            self._sounding |= sounding
            self._mixed = tuple(int(channel) for channel in np.flatnonzero(self._sounding))
        self._energies = DECAY * self._energies + energies
        self._of_sum = DECAY * self._of_sum + of_sum
        total = self._energies.sum()
        limit = CANCELLED if self._single is None else RECOVERED
        if not self._mixed or self._of_sum >= limit * total:
            self._single = None
        elif self._single is None:
            loudest = int(np.argmax(self._energies))
            louder = self._energies[loudest] > LOUDER * self._energies[0]
            self._single = loudest if louder else 0
            self._tell(self._single)
        if self._single is not None:
            return (self._single,)
        return self._mixed or tuple(range(self.channels))

    def _tell(self, channel: int) -> None:
        if self._noted:
            return
        self._noted = True
        if self.channels == 2:
            which = f"two channels cancel each other: using the {('left', 'right')[channel]} one"
        else:
            which = f"{self.channels} channels cancel each other: using number {channel + 1}"
        self._note(which)


def _mean(samples: Samples, channels: Sequence[int]) -> Samples:
    if len(channels) == 1:
        return samples[:, channels[0]]
    return _sum(samples, channels) / np.float32(len(channels))


def _sum(samples: Samples, channels: Sequence[int]) -> Samples:
    # Several times as fast as NumPy's sum over an axis of two.
    total: Samples = samples[:, channels[0]].copy()
    for channel in channels[1:]:
        total += samples[:, channel]
    return total
