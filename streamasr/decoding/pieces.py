"""Where the search's segments end: at pauses, which the posteriors alone decide."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .settings import BeamConfig

__all__ = ["Cutter", "Piece"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive timesteps of a segment, and what is known of it behind them.

    Attributes:
        part: which of the timesteps given.
        blanks: timesteps since the last one that was not blank.
        spoken: whether any timestep of the segment was not blank.
        ended: whether the segment ends.
    """

    part: slice
    blanks: int
    spoken: bool
    ended: bool


class Cutter:
    """Cuts posteriors where they have been blank for a while, or a segment is too long."""

    def __init__(self, config: BeamConfig, blank: int, step_seconds: float) -> None:
        self._blank, self._floor = blank, math.log(config.blank_posterior)
        self._pause = max(1, round(config.pause_seconds / step_seconds))
        self._longest = max(1, round(config.longest_seconds / step_seconds))

    def __call__(self, log_probs: Tensor, blanks: int, spoken: bool, steps: int) -> list[Piece]:
        """Cut ``log_probs (T, V)``; the last piece, which may be empty, has not ended.

        ``blanks`` and ``spoken`` are those of the segment so far, as in ``Piece``, and ``steps``
        its timesteps.
        """
        pieces, start = [], 0
        quiet = (log_probs[:, self._blank] > self._floor).tolist()
        for step, blank in enumerate(quiet, start=1):
            blanks, spoken, steps = blanks + 1 if blank else 0, spoken or not blank, steps + 1
            if (spoken and blanks >= self._pause) or steps >= self._longest:
                pieces.append(Piece(slice(start, step), blanks, spoken, ended=True))
                start, blanks, spoken, steps = step, 0, False, 0
        return [*pieces, Piece(slice(start, None), blanks, spoken, ended=False)]
