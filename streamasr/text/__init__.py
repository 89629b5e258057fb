"""From recognised words to text as a person writes it."""

from .numbers import Span, write_decided, write_numbers

__all__ = ["Span", "write_decided", "write_numbers"]
