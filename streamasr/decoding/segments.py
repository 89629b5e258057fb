"""From the acoustic output of a live session's segments to events: partials, finals, gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..acoustic import AcousticOutput, SecondPassInput
from ..events import Event, agreement
from ..segment import Part
from ..transcript import Word, clipped
from .words import DecoderState, WordDecoder

__all__ = ["HOLD_SECONDS", "SegmentDecoder", "SegmentState"]

HOLD_SECONDS = 0.08
"""How long a word must stand in the decoder's best hypothesis to be shown in a partial.

Without it a quarter of the words that the beam search shows change again (docs/experiments.md).
"""


@dataclass(frozen=True, slots=True)
class SegmentState:
    """The decoding state of a session. A value.

    Attributes:
        decoder: the state of the segment's search.
        segment: the number of its events.
        origin, end: samples of the session, at the segment's beginning and behind its last part.
        speech: whether anyone may have spoken in it so far.
        words: those that the decoder will not change.
        shown: all words of the last partial, the first ``firm`` of which can no longer change.
        guesses: the latest hypotheses, each with the sample at which it stood.
    """

    decoder: DecoderState
    segment: int = 0
    origin: int = 0
    end: int = 0
    speech: bool = False
    words: tuple[Word, ...] = ()
    shown: tuple[Word, ...] = ()
    firm: int = 0
    guesses: tuple[tuple[int, tuple[str, ...]], ...] = ()


class SegmentDecoder:
    """Parts of segments, and what the acoustic model made of them, to events. Immutable.

    Events have no latency yet: who knows the time adds it.
    """

    def __init__(self, words: WordDecoder, sample_rate: int) -> None:
        self._words = words
        self._rate = sample_rate

    def initial_state(self) -> SegmentState:
        """Return the state of a new session."""
        return SegmentState(self._words.initial_state())

    def __call__(
        self, part: Part, output: AcousticOutput, state: SegmentState
    ) -> tuple[list[Event], SegmentState]:
        """Decode ``part``, of which the acoustic model made ``output``; return what is final."""
        words, decoder = self._words(output, state.decoder)
        state = replace(
            state, decoder=decoder, origin=part.origin, end=part.end, speech=part.speech
        )
        if part.ended:
            return self._end_segment(words, state)
        return [], replace(state, words=(*state.words, *self._moved(words, state)))

    def second_inputs(
        self, part: Part, output: AcousticOutput, state: SegmentState
    ) -> list[SecondPassInput]:
        """Return what the second pass reads for a call, see ``WordDecoder.second_inputs``."""
        return self._words.second_inputs(output, state.decoder, ended=part.ended)

    def _end_segment(
        self, words: Sequence[Word], state: SegmentState
    ) -> tuple[list[Event], SegmentState]:
        """Return the segment's final, if it has words or ever seemed to, and what follows.

        ``words`` are the last part's; its closing silence may carry them past the end.
        """
        last, _ = self._words.finish(state.decoder)
        length = (state.end - state.origin) / self._rate
        ending = [clipped(word, length) for word in (*words, *last)]
        said = (*state.words, *self._moved(ending, state))
        events = []
        if said and state.speech:
            events = [_text_event("final", state.segment, said)]
        elif state.shown:
            at = state.shown[-1].end
            events = [Event("final", state.segment, at, at)]
        following = replace(self.initial_state(), segment=state.segment + len(events))
        return events, replace(following, origin=state.end, end=state.end)

    def partial(self, state: SegmentState) -> tuple[list[Event], SegmentState]:
        """Return the segment as it looks now, if that has changed, and the state that knows.

        Words are shown once they have stood for ``HOLD_SECONDS``, and taken back only for others.
        """
        if not state.speech:
            return [], state
        words = (*state.words, *self._moved(self._words.partial(state.decoder), state))
        guess = tuple(word.text for word in words)
        count, guesses = self._settled(guess, state)
        state = replace(state, guesses=guesses)
        firm = len(state.words) + self._words.firm(state.decoder)
        settled = words[: max(count, firm)]
        same = agreement([w.text for w in settled], [w.text for w in state.shown]) == len(settled)
        if same and firm <= state.firm:
            return [], state
        if same:  # nothing is taken back but for other words
            settled = (*settled, *state.shown[len(settled) :])
        state = replace(state, shown=settled, firm=firm)
        return [replace(_text_event("partial", state.segment, settled), firm=firm)], state

    def gap(self, lost_samples: int, reason: str, state: SegmentState) -> Event:
        """Return the event of audio that was lost behind a segment that has ended."""
        begun, ended = state.end / self._rate, (state.end + lost_samples) / self._rate
        return Event("gap", state.segment, begun, ended, reason=reason)

    def _settled(
        self, guess: tuple[str, ...], state: SegmentState
    ) -> tuple[int, tuple[tuple[int, tuple[str, ...]], ...]]:
        """Return how many words of ``guess`` have stood long enough, and the guesses to keep."""
        hold = HOLD_SECONDS * self._rate
        count, kept = len(guess), [(state.end, guess)]
        for at, before in reversed(state.guesses):
            kept.append((at, before))
            count = min(count, agreement(guess, before))
            if state.end - at >= hold:
                return count, tuple(reversed(kept))
        return 0, tuple(reversed(kept))

    def _moved(self, words: Sequence[Word], state: SegmentState) -> list[Word]:
        """Put a segment's words where they were said in the session."""
        offset = state.origin / self._rate
        return [replace(w, start=w.start + offset, end=w.end + offset) for w in words]


def _text_event(kind: Literal["partial", "final"], segment: int, words: tuple[Word, ...]) -> Event:
    return Event(kind, segment, words[0].start, max(w.end for w in words), words)
