"""What recognition gives back: words with times, segments, transcripts. Plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = [
    "Alternative",
    "Token",
    "Transcript",
    "Word",
    "as_tokens",
    "clipped",
    "joined",
    "word_forms",
]


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word.

    ``start`` and ``end`` are seconds from the start of the audio; ``confidence`` is the mean
    posterior of the word's tokens, in [0, 1].
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Token:
    """One or more recognised words as they are written: ``$20`` for *twenty dollars*.

    ``mark`` is the punctuation mark behind ``text``, if any; ``words`` are at least one.
    """

    text: str
    mark: str
    words: tuple[Word, ...]

    def __str__(self) -> str:
        return self.text if self.text.endswith(self.mark) else self.text + self.mark

    @property
    def start(self) -> float:
        """Where its first word starts, in seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Where the last of its words ends, in seconds."""
        return max(word.end for word in self.words)

    @property
    def ends_sentence(self) -> bool:
        """Whether a sentence ends behind it."""
        return self.mark in (".", "?", "!")


def joined(tokens: Iterable[Token]) -> str:
    """Join tokens by single spaces."""
    return " ".join(map(str, tokens))


def word_forms(words: Iterable[Word], tokens: Iterable[Token]) -> list[str]:
    """Return the text of the token that each word begins; "" for all other words.

    ``tokens`` stand for ``words`` in their order; words that are left out of the text are in none.
    """
    forms = [
        (word, "" if place else str(token))
        for token in tokens
        for place, word in enumerate(token.words)
    ]
    found, following = [], 0
    for word in words:
        if following < len(forms) and forms[following][0] == word:
            found.append(forms[following][1])
            following += 1
        else:
            found.append("")
    return found


@dataclass(frozen=True, slots=True)
class Alternative:
    """A reading of a whole recording; ``score`` is its logarithmic weight in the beam search."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one recording and how long the recording was, in seconds.

    ``alternatives`` are its best hypotheses, the best first, if more than one was asked for.
    ``tokens`` are the words as they are written, with punctuation, capitals and numbers; None where
    the text is plain.
    """

    words: tuple[Word, ...] = ()
    duration: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    tokens: tuple[Token, ...] | None = None

    @property
    def text(self) -> str:
        """The text as it is written; empty when nothing was said."""
        return " ".join(self.written)

    @property
    def written(self) -> list[str]:
        """The text token by token; word by word where it is plain."""
        return (
            [*map(str, self.tokens)]
            if self.tokens is not None
            else [word.text for word in self.words]
        )

    def as_tokens(self) -> tuple[Token, ...]:
        """Return the tokens; where the text is plain, one for each word."""
        return as_tokens(self.words) if self.tokens is None else self.tokens

    @property
    def plain_text(self) -> str:
        """The recognised words joined by single spaces, lower case and without marks."""
        return " ".join(word.text for word in self.words)


def clipped(word: Word, duration: float) -> Word:
    """Clip a word that the closing silence carried past the end of the audio."""
    if word.end <= duration:
        return word
    return replace(word, start=min(word.start, duration), end=duration)


def as_tokens(items: Iterable[Word | Token]) -> tuple[Token, ...]:
    """Return words as tokens of one word each, without marks; tokens as they are."""
    return tuple(
        item if isinstance(item, Token) else Token(item.text, "", (item,)) for item in items
    )
