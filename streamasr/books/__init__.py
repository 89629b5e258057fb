"""Text for language models from plain books: one spoken sentence a line, lower case, no digits."""

from .passages import Passages, new_lines
from .reading import SUFFIXES, book_text, is_copyrighted, sentences_of_book
from .sentences import sentences

__all__ = [
    "SUFFIXES",
    "Passages",
    "book_text",
    "is_copyrighted",
    "new_lines",
    "sentences",
    "sentences_of_book",
]
