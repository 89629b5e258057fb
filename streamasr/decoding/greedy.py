"""Greedy CTC decoding (Graves et al. 2006): the best token of each timestep, repeats merged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..tokens import Tokens
from ..transcript import Word

__all__ = ["GreedyDecoder", "GreedyState"]


@dataclass(frozen=True, slots=True)
class GreedyState:
    """Where a stream stands: the last token, the timesteps behind it, and the unfinished word."""

    step: int = 0
    previous: int = 0
    text: str = ""
    first_step: int = 0
    last_step: int = 0
    posteriors: tuple[float, ...] = ()


class GreedyDecoder:
    """Turns log-posteriors into words, chunk by chunk; any chunking gives the same words."""

    def __init__(self, tokens: Tokens, step_seconds: float) -> None:
        self._tokens = tokens
        self._step_seconds = step_seconds

    def initial_state(self) -> GreedyState:
        """Return the state before the first timestep."""
        return GreedyState(previous=self._tokens.blank)

    def __call__(self, log_probs: Tensor, state: GreedyState) -> tuple[list[Word], GreedyState]:
        """Take ``log_probs (T, V)``; return the words that are now complete."""
        words: list[Word] = []
        scores, best = log_probs.max(dim=-1)
        for token, score in zip(best.tolist(), scores.exp().tolist(), strict=True):
            if token == self._tokens.space and state.text:
                words.append(self._word(state))
                state = replace(state, text="", posteriors=())
            elif token not in (self._tokens.blank, self._tokens.space):
                state = self._extend(state, token, score)
            state = replace(state, previous=token, step=state.step + 1)
        return words, state

    def partial(self, state: GreedyState) -> list[Word]:
        """Return the word that has begun and may still grow, if any."""
        return [self._word(state)] if state.text else []

    def firm(self, state: GreedyState) -> int:  # noqa: ARG002
        """Return 0: the word that has begun may still grow."""
        return 0

    def finish(self, state: GreedyState) -> tuple[list[Word], GreedyState]:
        """Return the word that was still open, and the state after it."""
        words = self.partial(state)
        return words, replace(state, text="", posteriors=(), previous=self._tokens.blank)

    def _extend(self, state: GreedyState, token: int, score: float) -> GreedyState:
        if token == state.previous:
            kept = (*state.posteriors[:-1], max(score, state.posteriors[-1]))
            return replace(state, last_step=state.step, posteriors=kept)
        return replace(
            state,
            text=state.text + self._tokens.symbols[token],
            first_step=state.first_step if state.text else state.step,
            last_step=state.step,
            posteriors=(*state.posteriors, score),
        )

    def _word(self, state: GreedyState) -> Word:
        return Word(
            state.text,
            start=state.first_step * self._step_seconds,
            end=(state.last_step + 1) * self._step_seconds,
            confidence=sum(state.posteriors) / len(state.posteriors),
        )
