"""Events of live recognition, formatted: the last stage of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..events import Event
from ..transcript import Token, Word
from .format import FormatState, Formatter

__all__ = ["EventFormatState", "EventFormatter"]


@dataclass(frozen=True, slots=True)
class EventFormatState:
    """What formatting a session's events remembers: a value.

    Attributes:
        begun: the formatter's state at the beginning of the segment.
        current: its state behind the segment's firm words, and
        read: those words, as it has read them.
        tokens: what is decided of them.
    """

    begun: FormatState
    current: FormatState
    read: tuple[Word, ...] = ()
    tokens: tuple[Token, ...] = ()


class EventFormatter:
    """Events with plain words to events with tokens: ``(event, state) -> (event, state)``.

    Firm words are read once, as they become firm, so that neither their form nor the time that it
    takes depends on what comes later. Immutable.
    """

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def initial_state(self) -> EventFormatState:
        """Return the state of a new session."""
        state = self._formatter.initial_state()
        return EventFormatState(state, state)

    def __call__(self, event: Event, state: EventFormatState) -> tuple[Event, EventFormatState]:
        """Return an event with its tokens; of a partial, what is ``firm`` includes words' forms."""
        if event.type == "partial":
            return self._partial(event, state)
        if event.type == "final":
            return self._final(event, state)
        return event, state

    def many(
        self, events: Sequence[Event], state: EventFormatState
    ) -> tuple[list[Event], EventFormatState]:
        """Format events in their order."""
        formatted = []
        for event in events:
            made, state = self(event, state)
            formatted.append(made)
        return formatted, state

    def _partial(self, event: Event, state: EventFormatState) -> tuple[Event, EventFormatState]:
        state = self._resumed(event, state)
        new = event.words[len(state.read) : event.firm]
        decided, current = self._formatter.read(new, state.current)
        state = replace(
            state,
            current=current,
            read=(*state.read, *new),
            tokens=(*state.tokens, *decided),
        )
        rest = self._formatter.preview(event.words[len(state.read) :], current)
        count = sum(len(token.words) for token in state.tokens)
        count += self._formatter.count_decided(current)
        firm = self._place(event.words, count, event.firm)
        tokens = self._with_words((*state.tokens, *rest), event.words)
        return replace(event, tokens=tokens, firm=firm), state

    def _final(self, event: Event, state: EventFormatState) -> tuple[Event, EventFormatState]:
        if not event.words:  # what partials showed was noise
            return replace(event, tokens=()), EventFormatState(state.begun, state.begun)
        state = self._resumed(event, state)
        rest, begun = self._formatter.end_segment(state.current, event.words[len(state.read) :])
        tokens = self._with_words((*state.tokens, *rest), event.words)
        return replace(event, tokens=tokens), EventFormatState(begun, begun)

    def _resumed(self, event: Event, state: EventFormatState) -> EventFormatState:
        """Return the state, or the segment's first where the event lacks words that were firm.

        The search drops a whole stretch of words, firm ones included, that turns out to be noise.
        """
        said = [word.text for word in event.words[: len(state.read)]]
        if said == [word.text for word in state.read]:
            return state
        return EventFormatState(state.begun, state.begun)

    def _with_words(self, tokens: Sequence[Token], words: Sequence[Word]) -> tuple[Token, ...]:
        """Return tokens of ``words``: an event's confidences are not those of the one before."""
        said = iter(word for word in words if not self._formatter.left_out(word))
        return tuple(
            replace(token, words=tuple(next(said) for _ in token.words)) for token in tokens
        )

    def _place(self, words: Sequence[Word], count: int, most: int) -> int:
        """Return the place behind ``count`` words, fillers that are left out not counted."""
        for place, word in enumerate(words[:most]):
            if not self._formatter.left_out(word):
                if not count:
                    return place
                count -= 1
        return most
