"""Continuous batching of recordings: rows join as there is room and leave as they end.

No row waits for the longest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from .rows import AcousticOutput
from .stage import AcousticStage, AcousticState

__all__ = ["ContinuousBatch", "Ended"]

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Ended(Generic[K]):
    """A row that has ended, and all that the model made of it."""

    key: K
    output: AcousticOutput


@dataclass(slots=True)
class _Row(Generic[K]):
    key: K
    chunks: Iterator[Tensor]
    state: AcousticState
    found: list[AcousticOutput]


class ContinuousBatch(Generic[K]):
    """Rows that advance together, each through the chunks of a source of its own."""

    def __init__(self, acoustic: AcousticStage) -> None:
        self._acoustic = acoustic
        self._rows: list[_Row[K]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def join(self, key: K, chunks: Iterator[Tensor]) -> None:
        """Add a row that is fed ``chunks``, samples ``(n,)`` each, one a step."""
        nothing, state = self._acoustic(torch.zeros(0), self._acoustic.initial_state())
        self._rows.append(_Row(key, chunks, state, [nothing]))

    def step(self) -> list[Ended[K]]:
        """Advance every row by a chunk; return those whose chunks have come to an end."""
        active, chunks, ended = [], [], []
        for row in self._rows:
            chunk = next(row.chunks, None)
            if chunk is None:
                ended.append(row)
            else:
                active.append(row)
                chunks.append(chunk)
        self._rows = active
        if active:
            states = [row.state for row in active]
            found = self._acoustic.many(chunks, states)
            for row, (output, row.state) in zip(active, found, strict=True):
                row.found.append(output)
        return [Ended(row.key, AcousticOutput.joined(row.found)) for row in ended]
