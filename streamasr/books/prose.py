"""Filter the paragraphs of a book: running prose stays."""

from __future__ import annotations

import re

__all__ = ["is_prose"]

_BOILERPLATE = re.compile(
    r"gutenberg|transcriber|etext|e-text|ebook|https?:|www\.|@|copyright|produced by|proofread|"
    r"all rights reserved|printed by|first published|isbn|errata|public domain|pgdp",
    re.IGNORECASE,
)
_LETTERS, _CAPITALS = re.compile("[A-Za-z]"), re.compile("[A-Z]")
_DIGITS, _VISIBLE = re.compile("[0-9]"), re.compile("[^ \n]")
_OPENING = " \"'‘("


def is_prose(paragraph: str) -> bool:
    """Say whether a paragraph, stripped, is prose: no heading, table, verse, contents or notice."""
    if len(paragraph) < 8 or not _is_mostly_letters(paragraph):
        return False
    if len(paragraph) < 3000 and _BOILERPLATE.search(paragraph):
        return False
    if ". . . . ." in paragraph or "......" in paragraph:
        return False
    lines = paragraph.split("\n")
    if len(lines) == 1:
        return not _is_heading(paragraph)
    return not _is_table(lines) and not _is_verse(lines)


def _is_mostly_letters(paragraph: str) -> bool:
    """Say whether a text has few digits, marks and capitals."""
    letters, visible = len(_LETTERS.findall(paragraph)), len(_VISIBLE.findall(paragraph))
    if letters < 0.78 * visible or len(_DIGITS.findall(paragraph)) > 0.06 * visible:
        return False
    return len(_CAPITALS.findall(paragraph)) <= 0.3 * letters


def _is_heading(line: str) -> bool:
    """Say whether a line by itself is a heading or a line of contents."""
    if len(line) < 60 and line[-1] not in ".!?:;,'\"-":
        return True
    return len(line) < 120 and line[-1].isdigit()


def _is_table(lines: list[str]) -> bool:
    """Say whether a third of the lines have wide gaps in them."""
    wide = sum("    " in line.strip() for line in lines)
    return wide >= 2 and 3 * wide >= len(lines)


def _is_verse(lines: list[str]) -> bool:
    """Say whether nearly all lines are short and begin with a capital."""
    capitals = sum(line.lstrip(_OPENING)[:1].isupper() for line in lines)
    short = sum(map(len, lines)) + len(lines) - 1 < 60 * len(lines)
    return len(lines) >= 3 and capitals >= 0.85 * len(lines) and short
