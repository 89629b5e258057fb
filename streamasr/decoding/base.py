"""What every decoder offers: log-posteriors in, words out, the state a value."""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from ..transcript import Word

__all__ = ["Decoder"]

State = TypeVar("State")


class Decoder(Protocol[State]):
    """Turns log-posteriors into words, chunk by chunk; any chunking gives the same words."""

    def initial_state(self) -> State:
        """Return the state before the first timestep."""
        ...

    def __call__(self, log_probs: Tensor, state: State) -> tuple[list[Word], State]:
        """Take ``log_probs (T, V)``; return the words that are now final."""
        ...

    def partial(self, state: State) -> list[Word]:
        """Return the words that may still change."""
        ...

    def firm(self, state: State) -> int:
        """Return how many of the first words of ``partial`` can no longer change."""
        ...

    def finish(self, state: State) -> tuple[list[Word], State]:
        """Return the words that become final when nothing follows, and the state after them."""
        ...
