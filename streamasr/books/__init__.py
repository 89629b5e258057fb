"""Text for language models from plain books: one spoken sentence a line, lower case, no digits."""

from .marked import MarkedWord, marked_words
from .passages import Passages, new_lines
from .reading import (
    book_files,
    book_text,
    is_copyrighted,
    is_english,
    plain_text,
    prose_of_book,
    sentences_of_book,
)
from .sentences import sentences

__all__ = [
    "MarkedWord",
    "Passages",
    "book_files",
    "book_text",
    "is_copyrighted",
    "is_english",
    "marked_words",
    "new_lines",
    "plain_text",
    "prose_of_book",
    "sentences",
    "sentences_of_book",
]
