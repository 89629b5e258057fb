"""Memory that a launch leaves as it found it: ready for the next one."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import failures
from .types import LSTMError

__all__ = ["LaunchMemory", "own_memory"]

SENTINEL = -1
HEADER = 8  # words, see _once
FEWEST_WORDS = 1 << 16


class LaunchMemory:
    """What programs of the ``triton-once`` backend exchange their words through.

    One launch at a time may use it: launches of one stream, or replays of one CUDA graph. ``lstm``
    keeps one for each stream; a graph needs one of its own, that has run a chunk before::

        memory = LaunchMemory()
        lstm(x, weights, state, backend="triton-once", memory=memory)
        with torch.cuda.graph(graph):
            y, last = lstm(x, weights, state, backend="triton-once", memory=memory)
    """

    def __init__(self) -> None:
        self._words: Tensor | None = None
        self._failures = 0

    @property
    def capacity(self) -> int:
        """Words of each of its two buffers."""
        return 0 if self._words is None else (len(self._words) - HEADER) // 2

    def words(self, needed: int, device: torch.device) -> Tensor:
        """Return the memory, of ``needed`` words a buffer at least.

        Raises LSTMError where it would have to grow while a CUDA graph is captured.
        """
        found = self._words
        # After a wait in vain nobody knows what has been filled.
        fresh = found is None or found.device != device or self._failures != failures(device)
        if found is not None and not fresh and self.capacity >= needed:
            return found
        if found is not None and _capturing(device):
            raise LSTMError(
                "the memory of a CUDA graph is too small for this chunk: run it once with that "
                "memory before it is captured"
            )
        capacity = max(FEWEST_WORDS, 1 << (needed - 1).bit_length())
        words = torch.full((HEADER + 2 * capacity,), SENTINEL, dtype=torch.int32, device=device)
        words[:HEADER].zero_()
        self._words, self._failures = words, failures(device)
        return words


_memories: dict[tuple[torch.device, int], LaunchMemory] = {}


def own_memory(device: torch.device) -> LaunchMemory:
    """Return the memory of the current stream; in a capture new memory, filled at each replay."""
    if _capturing(device):
        return LaunchMemory()
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _memories.setdefault((device, stream), LaunchMemory())


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
