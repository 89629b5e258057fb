"""Read a book's file as plain text, and its running prose as sentences."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ConfigError
from .prose import is_prose
from .sentences import sentences

__all__ = [
    "book_files",
    "book_text",
    "is_copyrighted",
    "is_english",
    "plain_text",
    "prose_of_book",
    "sentences_of_book",
]

_SUFFIXES = (".md", ".txt", ".xml")

_SPELLED = {
    **dict.fromkeys("’′´", "'"),
    **dict.fromkeys("‘‛`", "‘"),
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("—―", " -- "),
    **dict.fromkeys("–‒‐‑", "-"),
    **dict.fromkeys("\t|\\=~", " "),
    **dict.fromkeys("_^\xad\ufeff", ""),
    **{"…": "...", "½": " and a half ", "¼": " and a quarter ", "¾": " and three quarters "},
    **{"°": " degrees ", "Æ": "Ae", "æ": "ae", "Œ": "Oe", "œ": "oe", "Þ": "Th", "þ": "th"},
    **{"ß": "ss", "Ø": "O", "ø": "o", "Ð": "D", "ð": "d", "Ł": "L", "ł": "l"},
}
_TABLE = str.maketrans(_SPELLED)
_NOT_PLAIN = re.compile(r"[^\n\x20-\x7e‘£]")

_BEGINS = ("start of this project gutenberg", "start of the project gutenberg")
_BEGINS_OLD = ("*end*the small print", "*end* the small print", "*end the small print")
_ENDS = (
    "end of this project gutenberg",
    "end of the project gutenberg",
    "end of project gutenberg",
    "*** end of th",
)
_COPYRIGHTED = (
    "is a copyrighted project gutenberg",
    "this is a *copyrighted* project",
    "copyrighted project gutenberg e",
)
_HEAD = 60_000  # characters in which a licence stands before the book
_KILLED = re.compile(
    r"(illus|sidenote|footnote|transcr|pg|page|note|greek|music|image|picture|blank|decor)", re.I
)
_SQUARE = re.compile(r"\[([^\[\]]{0,2499})\]")
_CURLY, _TAG = re.compile(r"\{[^}]{0,11}\}"), re.compile(r"<[^>\n]{0,89}>")
_CLOSING = re.compile(r"(theend|finis|end|transcribersnotes?)")


def book_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files among ``paths``, and the books in the folders among them, by name.

    Raises ConfigError for a path that does not exist, and if no book is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
            found += sorted(inside)
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder")
    if not found:
        raise ConfigError(f"no {', '.join(_SUFFIXES)} in {' '.join(map(str, paths))}")
    return found


def book_text(path: Path) -> str:
    """Return a book's text, in ASCII but for ``‘`` and ``£``, lines as in the file.

    UTF-8, or else Windows' Latin-1; of TEI (.xml) only the running text.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if path.suffix.lower() == ".xml":
        text = _tei_text(text)
    return plain_text(text)


def plain_text(text: str) -> str:
    """Return ``text`` in ASCII but for ``‘`` and ``£``: accents, dashes and quotes as typed."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_TABLE)
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
        text = _NOT_PLAIN.sub(" ", text)
    return text


def _tei_text(document: str) -> str:
    """Return the paragraphs of a TEI document: no front, back, headings, verse, notes or tables."""
    if found := re.search(r"<text[ >].*</text>", document, re.DOTALL):
        document = found.group()
    document = re.sub(r"<(front|back)[ >].*?</\1>", " ", document, flags=re.DOTALL)
    left_out = "note|head|figure|fw|ref|trailer|argument|epigraph|titlePage|table|lg|speaker|stage"
    document = re.sub(rf"<({left_out})[ >](?:(?!<\1[ >]).)*?</\1>", " ", document, flags=re.DOTALL)
    document = re.sub(r"<(pb|milestone|gap|lb)[^>]*/>", " ", document)
    document = re.sub(r"</?(p|ab|div\d?|q|quote|item|label|sp)\b[^>]*>", _paragraph_end, document)
    plain = html.unescape(re.sub(r"<[^>]+>", "", document))
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", plain))
    return "\n\n".join(filter(None, paragraphs))


def _paragraph_end(tag: re.Match[str]) -> str:
    """Return a blank line for what ends or begins a paragraph; a quotation may begin within one."""
    return "\n\n" if tag.group()[1] == "/" or tag.group(1)[0] in "pad" else ""


def sentences_of_book(text: str) -> list[str]:
    """Return the sentences of a book's prose; of a book that is not English, none."""
    found = [sentence for paragraph in prose_of_book(text) for sentence in sentences(paragraph)]
    return found if is_english(" ".join(found).split()) else []


def prose_of_book(text: str) -> Iterator[str]:
    """Yield the paragraphs of running prose between a book's licence and its end."""
    for paragraph in _paragraphs(_without_brackets(_without_licence(text))):
        if is_prose(paragraph):
            yield paragraph


def is_english(words: list[str]) -> bool:
    """Say whether the commonest words of English are common among these."""
    common = sum(map(words.count, ("the", "of", "and", "to")))
    return common >= 0.06 * len(words)


def is_copyrighted(text: str) -> bool:
    """Say whether Project Gutenberg's header says that a book is not in the public domain."""
    head = text[:_HEAD].lower()
    return any(notice in head for notice in _COPYRIGHTED)


def _without_licence(text: str) -> str:
    """Return what stands between Project Gutenberg's header and footer."""
    low, begin, end = text.lower(), 0, len(text)
    for mark in _BEGINS:
        place = low.find(mark, 0, _HEAD)
        if place >= 0:
            stars, line = low.find("***", place, place + 400), low.find("\n", place)
            begin = max(begin, stars + 3 if stars >= 0 else line)
    for mark in _BEGINS_OLD:
        place = low.rfind(mark, 0, _HEAD)
        if place >= 0:
            closing, line = low.find("*end*", place + 5, place + 250), low.find("\n", place)
            begin = max(begin, closing + 5 if closing >= 0 else line + 1)
    for mark in _ENDS:
        place = low.find(mark, max(begin, len(text) // 2))
        end = min(end, place) if place >= 0 else end
    return text[begin:end]


def _without_brackets(text: str) -> str:
    """Leave out tags, notes and pictures in brackets; other words in square brackets stay."""

    def kept(bracket: re.Match[str]) -> str:
        inside = bracket.group(1)
        return " " if len(inside) <= 5 or _KILLED.match(inside) else bracket.group()

    for _ in range(2):  # a note within a note
        text = _SQUARE.sub(kept, text)
    return _TAG.sub(" ", _CURLY.sub(" ", text))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs up to the book's end, their first and last lines stripped."""
    place = 0
    for paragraph in re.split(r"\n *(?=\n)", text):
        place += len(paragraph)
        stripped = paragraph.strip(" \n")
        letters = re.sub("[^a-z]", "", stripped[:60].lower())
        late = place > 0.85 * len(text)
        if late and len(stripped) < 40 and _CLOSING.fullmatch(letters):
            return
        if place > 0.9 * len(text) and "transcriber" in letters:
            return
        if stripped:
            yield stripped
