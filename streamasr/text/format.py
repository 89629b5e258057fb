"""From recognised words to text with marks, capitals and figures, as the words come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from persistent_lstm import LSTMState

from ..transcript import Token, Word
from .features import WordTable, pause_class
from .labels import ENDS, MARKS
from .letters import name
from .network import Tagger
from .numbers import LOOK_BACK, scan
from .span import Span
from .tables import FILLERS, PROFANITY

__all__ = ["FormatState", "Formatter"]


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
        seen: the last words that the tagger has read; None for the end of a segment.
        tagged: the words that are not given back yet, as far as their capitals are decided.
        before: the words in front of those.
        last: the last span of the number rules; its places count from the first of ``tagged``.
        end: where the last word ended, in seconds.
        begins: whether a sentence begins with the next word.
    """

    lstm: LSTMState
    seen: tuple[Word | None, ...] = ()
    tagged: tuple[_Tagged, ...] = ()
    before: tuple[str, ...] = ()
    last: Span | None = None
    end: float | None = None
    begins: bool = True


class Formatter:
    """Writes words as a person would: a tagger's marks and capitals, the rules' numbers.

    A word is given back when its form and the mark behind it are decided: ``look_ahead + 1``
    words later, in a number when that has ended, and at the end of its segment at the latest.
    Immutable: threads share one.

    Args:
        tagger: decides on marks and capitals.
        table: its words.
        remove_fillers: whether "uh" and the like are left out: no token has them.
        mask_profanity: whether of a swear word only the first letter is written.
    """

    def __init__(
        self,
        tagger: Tagger,
        table: WordTable,
        *,
        remove_fillers: bool = False,
        mask_profanity: bool = False,
    ) -> None:
        self._tagger, self._table = tagger.eval(), table
        self._delay = tagger.config.look_ahead
        self._left_out = FILLERS if remove_fillers else frozenset[str]()
        self._masked = PROFANITY if mask_profanity else frozenset[str]()

    def initial_state(self) -> FormatState:
        """Return the state of a stream without words."""
        return FormatState(self._tagger.initial_state(1))

    def read(self, words: Sequence[Word], state: FormatState) -> tuple[list[Token], FormatState]:
        """Read words that will not change; return the tokens that are decided, and the state."""
        return self._write(self._tag(words, state), complete=False)

    def end_segment(
        self, state: FormatState, words: Sequence[Word] = ()
    ) -> tuple[list[Token], FormatState]:
        """Read the last ``words`` of a segment; return all tokens that are left, and the state.

        The next segment may go on with the sentence.
        """
        ending = [None] * (self._delay + 1)
        return self._write(self._tag([*words, *ending], state), complete=True)

    def preview(self, words: Sequence[Word], state: FormatState) -> list[Token]:
        """Return how the words look that were not given back yet, and ``words``, which may change.

        As if the segment ended here, but without a mark behind the last word, which only what
        follows can tell.
        """
        tokens, _ = self.end_segment(state, words)
        return [*tokens[:-1], *(replace(token, mark="") for token in tokens[-1:])]

    def left_out(self, word: Word) -> bool:
        """Say whether a word is a filler that is to be removed."""
        return word.text in self._left_out

    def count_decided(self, state: FormatState) -> int:
        """Return how many words that were not given back yet have a form that stays.

        What may still change is the mark behind the last of them.
        """
        words = [*state.before, *(tagged.word.text for tagged in state.tagged)]
        shift = len(state.before)
        return scan(words, shift, _moved(state.last, shift), complete=False)[1] - shift

    @torch.inference_mode()
    def _tag(self, words: Sequence[Word | None], state: FormatState) -> FormatState:
        """Let the tagger read words, or None for the end of a segment; decide what it can."""
        rows, pauses, end = [], [], state.end
        read: list[Word | None] = []
        for word in words:
            if word is not None and self.left_out(word):
                # A pause is silence: what is filled with "uh" does not count.
                end = None if end is None else end + word.end - word.start
                continue
            read.append(word)
            pause = None if word is None or end is None else max(0.0, word.start - end)
            pauses.append(pause_class(pause))
            rows.append(self._table.rows(word.text if word else ""))
            end = word.end if word else end
        if not read:
            return replace(state, end=end)
        marks, capitals, lstm = self._run(rows, pauses, state.lstm)
        tagged, begins = [*state.tagged], state.begins
        seen = [*state.seen, *read]
        for place, (mark, capital) in enumerate(zip(marks, capitals, strict=True)):
            newest = len(state.seen) + place
            marked, about = newest - self._delay - 1, newest - self._delay
            if marked >= 0 and seen[marked] is not None:
                tagged[-1] = replace(tagged[-1], mark=MARKS[mark])
                begins = MARKS[mark] in ENDS
            if about >= 0 and (word := seen[about]) is not None:
                tagged.append(_Tagged(word, begins or capital))
                begins = False
        return replace(
            state,
            lstm=lstm,
            seen=tuple(seen[-self._delay - 1 :]),
            tagged=tuple(tagged),
            end=end,
            begins=begins,
        )

    def _run(
        self, rows: Sequence[tuple[int, int, int]], pauses: Sequence[int], lstm: LSTMState
    ) -> tuple[list[int], list[bool], LSTMState]:
        """Run the tagger over words; return labels of marks, whether capitals, and its state."""
        words, gaps = torch.tensor(rows)[:, None], torch.tensor(pauses)[:, None]
        # Where its bits depend on how many words come at once, they come one by one.
        size = len(rows) if self._tagger.any_chunking else 1
        marks, capitals = [], []
        for some, their in zip(torch.split(words, size), torch.split(gaps, size), strict=True):
            labels, capital, lstm = self._tagger(some, their, lstm)
            marks += labels[:, 0].argmax(-1).tolist()
            capitals += (capital[:, 0] > 0).tolist()
        return marks, capitals, lstm

    def _write(self, state: FormatState, *, complete: bool) -> tuple[list[Token], FormatState]:
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
            tokens += self._tokens(part, text)
            at = end
        return tokens, replace(
            state,
            tagged=state.tagged[at - shift :],
            before=tuple(words[max(0, at - LOOK_BACK) : at]),
            last=_moved(last, -at),
        )

    def _tokens(self, part: Sequence[_Tagged], text: str) -> list[Token]:
        """Return words as one token if ``text`` says how they are written, else one by one."""
        if not text:
            return [Token(self._form(one), one.mark or "", (one.word,)) for one in part]
        if part[0].capital:
            text = text[0].upper() + text[1:]
        return [Token(text, part[-1].mark or "", tuple(one.word for one in part))]

    def _form(self, tagged: _Tagged) -> str:
        """Return a word with its capital, if it has one; "I" always has."""
        text = tagged.word.text
        if text in self._masked:
            text = text[0] + "*" * (len(text) - 1)
        return name(text) if tagged.capital or text == "i" or text.startswith("i'") else text


def _moved(span: Span | None, places: int) -> Span | None:
    if span is None:
        return None
    return replace(span, start=span.start + places, end=span.end + places)
