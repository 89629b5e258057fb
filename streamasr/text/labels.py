"""What the tagger says of each word: the mark behind it and whether it begins with a capital."""

from __future__ import annotations

__all__ = ["ENDS", "MARKS", "UNKNOWN"]

MARKS = ("", ",", ".", "?", "!", ";", ":")
"""Marks by label."""

ENDS = frozenset(".?!")
"""Marks that end a sentence: the next word has a capital."""

UNKNOWN = -1
"""The label where a text does not tell, as beside a dash."""
