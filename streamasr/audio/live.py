"""Sound as it happens: a bounded queue between who captures it and who recognises it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .resample import Resampler

__all__ = ["QUEUE_SECONDS", "Block", "BlockQueue", "Captured", "blocks_of"]

QUEUE_SECONDS = 30.0
"""How far recognition may fall behind before the oldest audio is dropped."""

Reason = Literal["", "overflow", "device"]


class Block(NamedTuple):
    """Some live audio, ``samples (n,)`` float32 at 16 kHz; n may be 0, when nothing came.

    ``captured_at`` is when its last sample was captured (``time.monotonic()``). Before its first
    sample ``lost_seconds`` of audio are missing, because of ``reason``; a reason without seconds
    says that the sound has broken off here.
    """

    samples: npt.NDArray[np.float32]
    captured_at: float
    lost_seconds: float = 0.0
    reason: Reason = ""


class Captured(NamedTuple):
    """Frames ``(n, channels)`` at the device's rate, and how many before them were lost."""

    frames: npt.NDArray[np.float32]
    at: float
    lost_frames: int


class BlockQueue:
    """Frames from one thread to another. When full, the oldest are dropped.

    A sixth of what may wait goes at once: where recognition is too slow for long, pieces of seconds
    stay whole, and not a hundred fragments.

    Args:
        sample_rate: of the frames, in Hz.
        seconds: how much may wait.
    """

    def __init__(self, sample_rate: int, seconds: float = QUEUE_SECONDS) -> None:
        self.sample_rate = sample_rate
        self._most = round(seconds * sample_rate)
        self._waiting: deque[Captured] = deque()
        self._length = 0
        self._lost = 0
        self._changed = threading.Condition()

    def put(self, frames: npt.NDArray[np.float32], at: float, lost_frames: int = 0) -> None:
        """Append frames captured until time ``at``; never blocks."""
        with self._changed:
            self._waiting.append(Captured(frames, at, lost_frames))
            self._length += len(frames)
            most = self._most if self._length <= self._most else self._most - self._most // 6
            while self._length > most and len(self._waiting) > 1:
                oldest = self._waiting.popleft()
                self._length -= len(oldest.frames)
                self._lost += len(oldest.frames) + oldest.lost_frames
            self._changed.notify()

    def get(self, timeout: float) -> Captured | None:
        """Return the oldest frames, or None if none come in time."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout)
            if not self._waiting:
                return None
            frames, at, lost = self._waiting.popleft()
            self._length -= len(frames)
            lost, self._lost = lost + self._lost, 0
            return Captured(frames, at, lost)

    @property
    def waiting_seconds(self) -> float:
        """How much audio waits."""
        return self._length / self.sample_rate


def blocks_of(
    queue: BlockQueue, ended: Callable[[], bool], patience: float = 0.1
) -> Iterator[Block]:
    """Yield what comes through ``queue`` as mono at 16 kHz, until it ``ended`` and is empty.

    When nothing comes for ``patience`` seconds, an empty block does, so that the reader can look
    after other things. Once ``ended`` returns True, nothing more may be put.
    """
    resampler = Resampler(queue.sample_rate)
    done = False
    while True:
        done = done or ended()
        captured = queue.get(0.0 if done else patience)
        if captured is None:
            if done:
                yield Block(resampler.flush(), time.monotonic())
                return
            yield Block(np.zeros(0, np.float32), time.monotonic())
            continue
        lost = captured.lost_frames / queue.sample_rate
        if lost:
            # What comes next has nothing to do with what the filter still holds.
            begun = captured.at - len(captured.frames) / queue.sample_rate
            yield Block(resampler.flush(), begun - lost)
            resampler = Resampler(queue.sample_rate)
        samples = resampler.process(captured.frames.mean(axis=1, dtype=np.float32))
        yield Block(samples, captured.at, lost, "overflow" if lost else "")
