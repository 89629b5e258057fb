"""Continuous batching: many streams, one pass through the model a step.

``step`` is the whole of it for those who keep their own streams: values in, values out. ``Batch``
drives streams whose samples are all there: rows join as there is room and leave as they end, so
nobody waits for the longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from persistent_lstm import LSTMState, raise_pending_error
from torch import Tensor

from .model import AcousticModel

if TYPE_CHECKING:
    from .recognizer import Recognizer, StreamState, Timings

__all__ = ["Batch", "Heard", "step"]

K = TypeVar("K")


def step(
    model: AcousticModel,
    frames: Sequence[Tensor],
    states: Sequence[LSTMState],
    *,
    backend: str = "auto",
) -> list[tuple[Tensor, LSTMState]]:
    """Hear ``frames``, ``(T, I)`` of each row, from ``states``, ``(L, 1, H)`` of each row.

    Returns ``log_probs (T, V + P)`` on the CPU and the state after them, row by row. T may differ
    from row to row and may be 0; no row depends on another.
    """
    log_probs = [row.new_zeros(0, model.config.output_size, device="cpu") for row in frames]
    after = list(states)
    rows = [index for index, row in enumerate(frames) if len(row)]
    if rows:
        device = states[rows[0]].h.device
        lengths = [len(frames[row]) for row in rows]
        padded = torch.nn.utils.rnn.pad_sequence([frames[row] for row in rows])
        carried = [states[row] for row in rows]
        state = LSTMState(
            torch.cat([part.h for part in carried], 1), torch.cat([part.C for part in carried], 1)
        )
        ragged = torch.tensor(lengths) if len(set(lengths)) > 1 else None
        if device.type == "cuda":
            padded = padded.pin_memory()
        padded = padded.to(device, non_blocking=True)
        found, last = model(padded, state, lengths=ragged, backend=backend)
        found = found.cpu()  # waits for the GPU
        raise_pending_error(device)
        for column, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            log_probs[row] = found[:length, column]
            part = slice(column, column + 1)
            after[row] = LSTMState(last.h[:, part], last.C[:, part])
    return list(zip(log_probs, after, strict=True))


@dataclass(frozen=True, slots=True)
class Heard(Generic[K]):
    """A row that has ended: all its log-posteriors, ``(T, V + P)``."""

    key: K
    log_probs: Tensor


@dataclass(slots=True)
class _Row(Generic[K]):
    key: K
    chunks: Iterator[Tensor]
    state: StreamState
    found: list[Tensor] = field(default_factory=list)


class Batch(Generic[K]):
    """Rows that advance together, each through the chunks of a source of its own."""

    def __init__(self, recognizer: Recognizer, timings: Timings | None = None) -> None:
        self._recognizer = recognizer
        self._timings = timings
        self._rows: list[_Row[K]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def join(self, key: K, chunks: Iterator[Tensor]) -> None:
        """Add a row that hears ``chunks``, samples ``(n,)`` each, one a step."""
        self._rows.append(_Row(key, chunks, self._recognizer.initial_state()))

    def step(self) -> list[Heard[K]]:
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
            found = self._recognizer.log_probs_of(chunks, states, self._timings)
            for row, (log_probs, row.state) in zip(active, found, strict=True):
                row.found.append(log_probs)
        empty = torch.zeros(0, self._recognizer.config.model.output_size)
        return [Heard(row.key, torch.cat([empty, *row.found])) for row in ended]
