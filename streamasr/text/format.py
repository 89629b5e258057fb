"""From recognised words to text with marks, capitals and figures, as the words come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from persistent_lstm import LSTMState

from ..transcript import Word
from .features import WordTable, pause_class
from .labels import ENDS, MARKS
from .letters import name
from .network import Tagger
from .numbers import LOOK_BACK, scan
from .span import Span

__all__ = ["FormatState", "Formatter", "Token", "joined"]


@dataclass(frozen=True, slots=True)
class Token:
    """Some words as they are written.

    ``mark`` stands behind ``text``; ``words`` are those that it stands for.
    """

    text: str
    mark: str
    words: tuple[Word, ...]

    def __str__(self) -> str:
        return self.text if self.text.endswith(self.mark) else self.text + self.mark

    @property
    def ends_sentence(self) -> bool:
        """Whether a sentence ends behind it."""
        return self.mark in ENDS


def joined(tokens: Iterable[Token]) -> str:
    """Return tokens as one text."""
    return " ".join(map(str, tokens))


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A word of which is known whether it has a capital; None: the mark behind it is not."""

    word: Word
    capital: bool
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class FormatState:
    """All that formatting remembers: a value, to be kept, copied and pickled.

    Attributes:
        lstm: the tagger's state.
        read: the last words that the tagger read, the latest last; None for the end of a segment.
        tagged: the words that are not given back yet, as far as their capitals are decided.
        before: the words in front of those.
        last: the last span of the number rules; its places count from the first of ``tagged``.
        end: where the last word ended, in seconds.
        begins: whether a sentence begins with the next word.
    """

    lstm: LSTMState
    read: tuple[Word | None, ...] = ()
    tagged: tuple[_Tagged, ...] = ()
    before: tuple[str, ...] = ()
    last: Span | None = None
    end: float | None = None
    begins: bool = True


class Formatter:
    """Writes words as a person would: a tagger's marks and capitals, the rules' figures.

    A word is given back when its form and the mark behind it are decided: ``look_ahead + 1``
    words later, in a number when that has ended, and at the end of its segment at the latest.
    """

    def __init__(self, tagger: Tagger, table: WordTable) -> None:
        self._tagger, self._table = tagger.eval(), table
        self._delay = tagger.config.look_ahead

    def initial_state(self) -> FormatState:
        """Return the state of a stream without words."""
        return FormatState(self._tagger.initial_state(1))

    def read(self, words: Sequence[Word], state: FormatState) -> tuple[list[Token], FormatState]:
        """Read words that will not change; return the tokens that are decided, and the state."""
        for word in words:
            state = self._step(word, state)
        return _write(state, complete=False)

    def end_segment(self, state: FormatState) -> tuple[list[Token], FormatState]:
        """Return the tokens of all words that are left; a sentence may go on behind them."""
        for _ in range(self._delay + 1):
            state = self._step(None, state)
        return _write(state, complete=True)

    def preview(self, words: Sequence[Word], state: FormatState) -> list[Token]:
        """Return what would be given back if the segment ended behind ``words``."""
        first, state = self.read(words, state)
        return first + self.end_segment(state)[0]

    @torch.inference_mode()
    def _step(self, word: Word | None, state: FormatState) -> FormatState:
        """Let the tagger read a word, or the end of a segment, and decide what it can."""
        pause = None
        if word is not None and state.end is not None:
            pause = max(0.0, word.start - state.end)
        # A word at a time, so that the bits do not depend on how many come at once.
        rows = torch.tensor(self._table.rows(word.text if word else "")).view(1, 1, 3)
        marks, capitals, lstm = self._tagger(rows, torch.tensor([[pause_class(pause)]]), state.lstm)
        read = (*state.read, word)[-self._delay - 2 :]
        state = replace(
            state, lstm=lstm, read=read, end=word.end if word is not None else state.end
        )
        if len(read) == self._delay + 2 and read[0] is not None:
            mark = MARKS[int(marks[0, 0].argmax())]
            *others, marked = state.tagged
            tagged = (*others, replace(marked, mark=mark))
            state = replace(state, tagged=tagged, begins=mark in ENDS)
        if len(read) > self._delay and (about := read[-self._delay - 1]) is not None:
            capital = state.begins or float(capitals[0, 0]) > 0
            tagged = (*state.tagged, _Tagged(about, capital))
            state = replace(state, tagged=tagged, begins=False)
        return state


def _write(state: FormatState, *, complete: bool) -> tuple[list[Token], FormatState]:
    """Return the tokens that are decided, and the state without them."""
    words = [*state.before, *(tagged.word.text for tagged in state.tagged)]
    shift = len(state.before)
    last = _moved(state.last, shift)
    spans, decided = scan(words, shift, last, complete=complete)
    tokens: list[Token] = []
    at, rest = shift, iter([*spans, None])
    span = next(rest)
    while at < decided:
        inside = span is not None and span.start == at
        end = span.end if span is not None and inside else at + 1
        part = state.tagged[at - shift : end - shift]
        if part[-1].mark is None:
            break
        if span is not None and inside:
            last, text = span, span.text
            span = next(rest)
        else:
            text = ""
        tokens += _tokens(part, text)
        at = end
    return tokens, replace(
        state,
        tagged=state.tagged[at - shift :],
        before=tuple(words[max(0, at - LOOK_BACK) : at]),
        last=_moved(last, -at),
    )


def _moved(span: Span | None, places: int) -> Span | None:
    if span is None:
        return None
    return replace(span, start=span.start + places, end=span.end + places)


def _tokens(part: Sequence[_Tagged], text: str) -> list[Token]:
    """Return words as one token if ``text`` says how they are written, else one by one."""
    if not text:
        return [Token(_cased(one), one.mark or "", (one.word,)) for one in part]
    if part[0].capital:
        text = text[0].upper() + text[1:]
    return [Token(text, part[-1].mark or "", tuple(one.word for one in part))]


def _cased(tagged: _Tagged) -> str:
    """Return a word with its capital, if it has one; "I" always has."""
    text = tagged.word.text
    return name(text) if tagged.capital or text == "i" or text.startswith("i'") else text
