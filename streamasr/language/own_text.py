"""A small n-gram model of somebody's own text, mixed with the bundled ones while they decode."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from ..books import plain_text, sentences
from ..errors import ConfigError
from ..manifest import normalise

__all__ = ["END", "MOST_BYTES", "START", "OwnText", "own_sentences", "read_own_text"]

START, END = "<s>", "</s>"
MOST_BYTES = 20_000_000
"""Of a text: what is larger belongs in a search graph (``scripts/build_language_model``)."""

_ORDER = 3
_DISCOUNT = 0.75
_BLANK_LINES = re.compile(r"\n\s*\n")


class OwnText:
    """The probability of a word after the two before it, as a text has them.

    Interpolated absolute discounting (Ney, Essen and Kneser 1994): each count gives up
    ``_DISCOUNT``, which is shared out as the shorter history says. What single words give up is
    left for those that the text lacks: their probability is 0 here, and the model that this one is
    mixed with knows them. Threads may share one.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self._counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(_ORDER)]
        for sentence in sentences:
            words = sentence.split()
            if not words:
                continue
            row = (START, *words, END)
            for place in range(1, len(row)):
                for order in range(min(_ORDER, place + 1)):
                    self._counts[order][row[place - order : place + 1]] += 1
        self._totals: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(_ORDER)]
        self._kinds: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(_ORDER)]
        for order, counts in enumerate(self._counts):
            for ngram, count in counts.items():
                self._totals[order][ngram[:-1]] += count
                self._kinds[order][ngram[:-1]] += 1

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the text, the most frequent first."""
        found = ((word, count) for (word,), count in self._counts[0].items() if word != END)
        return tuple(word for word, _ in sorted(found, key=lambda pair: (-pair[1], pair[0])))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each word, or ``</s>``, behind the word before it, or ``<s>``."""
        return [(before, word) for before, word in self._counts[1]]

    def probability(self, word: str, before: Sequence[str] = ()) -> float:
        """Return the probability of ``word`` after the words ``before``, of which two count.

        A sentence begins after ``<s>`` and ends with ``</s>``.
        """
        found = 0.0
        for order in range(min(_ORDER, len(before) + 1)):
            history = tuple(before[len(before) - order :])
            total = self._totals[order][history]
            if not total:
                break
            count = max(0.0, self._counts[order][(*history, word)] - _DISCOUNT)
            # Of the empty history, the discounts are kept for words that are not in the text.
            rest = _DISCOUNT * self._kinds[order][history] * found if order else 0.0
            found = (count + rest) / total
        return found


def read_own_text(path: str | Path) -> OwnText:
    """Return the model of a text file; raises ConfigError, one line, for an unusable one."""
    try:
        size = Path(path).stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(
                f"{path}: {size / 1e6:.0f} MB are more than a text at run time may have "
                f"({MOST_BYTES / 1e6:.0f} MB): build a search graph from it, "
                "scripts/build_language_model"
            )
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    found = OwnText(own_sentences(text))
    if not found.words:
        raise ConfigError(f"{path}: has no words with letters a to z")
    return found


def own_sentences(text: str) -> Iterator[str]:
    """Yield a text's sentences as they are said: ``[a-z' ]``, numbers and abbreviations in words.

    Where a paragraph has no full stop, question or exclamation mark, each of its lines is one.
    """
    for paragraph in _BLANK_LINES.split(plain_text(text)):
        marked = re.search(r"[.!?]", paragraph)
        for part in [paragraph] if marked else paragraph.splitlines():
            # A single word, or a long one without pauses, is no sentence of prose.
            yield from sentences(part) or filter(None, [normalise(part)])


def mixed(share: float, probability: float, log_prob: float) -> float:
    """Return the natural logarithm of ``share`` of a probability and the rest of another's log."""
    rest = log_prob + math.log1p(-share)
    if not probability:
        return rest
    own = math.log(share * probability)
    high, low = max(own, rest), min(own, rest)
    return high + math.log1p(math.exp(low - high))
