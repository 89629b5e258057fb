"""Hotwords: phrases that the search shall prefer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..manifest import normalise

__all__ = ["DEFAULT_WEIGHT", "RARE", "Hotword", "read_hotwords"]

DEFAULT_WEIGHT = 2.0
RARE = -5.5
"""What a hotword's words score at least before its weight, in powers of ten: one that the language
model has never seen is taken for a rare one."""


@dataclass(frozen=True)
class Hotword:
    """A phrase as it was written, and perhaps its phones.

    ``weight`` is a power of ten: with 2, each of its words counts as a hundred times as likely as
    the language model thinks.
    """

    text: str
    weight: float = DEFAULT_WEIGHT
    phones: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the phrase, as transcripts have them."""
        return tuple(normalise(self.text).split())


def read_hotwords(path: str | Path) -> list[Hotword]:
    """Read a phrase a line: ``phrase``, or ``phrase<TAB>weight``, or with ``<TAB>phones`` behind.

    Empty lines and those that begin with ``#`` are skipped. Raises ConfigError naming the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, weight, phones, *more = [*(part.strip() for part in line.split("\t")), "", ""]
        try:
            value = float(weight) if weight else DEFAULT_WEIGHT
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number}: the weight {weight!r} is no number; a line is a phrase, and "
                "after a tab its weight"
            ) from error
        if any(more):
            raise ConfigError(f"{path}:{number}: a line is a phrase, its weight and its phones")
        found.append(Hotword(text, value, tuple(phones.lower().split())))
    return found
