"""What the rules give: a stretch of words and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Span"]

Kind = Literal[
    "date",
    "year",
    "time",
    "money",
    "percent",
    "fraction",
    "ordinal",
    "number",
    "letters",
    "title",
    "said",
]


@dataclass(frozen=True, slots=True)
class Span:
    """Words ``start`` to ``end`` (the first one that is not in it), written as ``text``.

    ``kind`` says by which rule.
    """

    start: int
    end: int
    text: str
    kind: Kind
