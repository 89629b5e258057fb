"""Hotwords: phrases that the search shall prefer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError
from .manifest import normalise
from .tokens import ARPABET

__all__ = ["DEFAULT_WEIGHT", "MOST_WEIGHT", "RARE", "Hotword", "as_hotwords", "read_hotwords"]

DEFAULT_WEIGHT = 2.0
MOST_WEIGHT = 8.0
"""Largest absolute weight: beyond it words are inserted where nothing resembles them."""
RARE = -5.5
"""What a hotword's words score at least before its weight, in powers of ten: one that the language
model has never seen is taken for a rare one."""

_PHONES = frozenset(ARPABET.split())
_STRESS = re.compile(r"(?<=[a-z])[012]$")


@dataclass(frozen=True)
class Hotword:
    """A phrase as it was written, and perhaps its phones.

    ``weight`` is a power of ten: with 2, each of its words counts as a hundred times as likely as
    the language model thinks. ``phones`` are ARPAbet's, of one word; the CMU dictionary's stress
    digits and capitals are dropped.

    Raises ConfigError, with the range of sensible values, for other weights and phones.
    """

    text: str
    weight: float = DEFAULT_WEIGHT
    phones: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        phones = tuple(_STRESS.sub("", phone.lower()) for phone in self.phones)
        if not (math.isfinite(self.weight) and abs(self.weight) <= MOST_WEIGHT):
            raise ConfigError(
                f"{self.text!r}: the weight {self.weight:g} is not sensible: it is a power of ten, "
                f"mostly 1 to 4, at most {MOST_WEIGHT:g}; below 0 it keeps a word away"
            )
        for written, phone in zip(self.phones, phones, strict=True):
            if phone in _PHONES:
                continue
            raise ConfigError(
                f"{self.text!r}: {written!r} is no phone; these are ARPAbet's, as the CMU "
                f"dictionary writes them: {ARPABET}"
            )
        if phones and len(self.words) > 1:
            raise ConfigError(
                f"{self.text!r}: phones are those of one word: give each word a line of its own"
            )
        object.__setattr__(self, "phones", phones)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the phrase, as transcripts have them."""
        return tuple(normalise(self.text).split())

    @property
    def is_folded(self) -> bool:
        """Whether ``words`` differ from the text in more than capitals and punctuation."""
        plain = re.sub(r"[\s.,;:!?()\"-]+", " ", self.text.lower()).strip()
        return bool(self.words) and " ".join(self.words) != plain


def as_hotwords(phrases: Iterable[Hotword | str]) -> tuple[Hotword, ...]:
    """Return ``phrases`` as hotwords, strings with the default weight; raises ConfigError."""
    if isinstance(phrases, str):
        raise ConfigError(f"hotwords are a list of phrases: [{phrases!r}], not {phrases!r}")
    found = []
    for phrase in phrases:
        if not isinstance(phrase, (Hotword, str)):
            raise ConfigError(f"a hotword is a string or a streamasr.Hotword, not {phrase!r}")
        found.append(Hotword(phrase) if isinstance(phrase, str) else phrase)
    return tuple(found)


def read_hotwords(path: str | Path) -> list[Hotword]:
    """Read a phrase a line: ``phrase``, or ``phrase<TAB>weight``, or with ``<TAB>phones`` behind.

    Empty lines and those that begin with ``#`` are skipped. Raises ConfigError naming the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(_hotword(line))
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path}:{number}: {error}") from error
    return found


def _hotword(line: str) -> Hotword:
    text, weight, phones, *more = [*(part.strip() for part in line.split("\t")), "", ""]
    if any(more):
        raise ValueError("a line is a phrase, its weight and its phones")
    try:
        value = float(weight) if weight else DEFAULT_WEIGHT
    except ValueError:
        raise ValueError(
            f"the weight {weight!r} is no number; a line is a phrase, after a tab its weight, and "
            "after another the phones of a single word"
        ) from None
    return Hotword(text, value, tuple(phones.split()))
