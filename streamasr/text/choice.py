"""Whether and how a recognizer formats its text."""

from __future__ import annotations

from pathlib import Path

from ..options import RecognizerOptions
from .files import check_tagger
from .format import Formatter
from .storage import load_tagger

__all__ = ["choose_formatter"]


def choose_formatter(folder: Path, options: RecognizerOptions) -> Formatter | None:
    """Return the formatter that ``options`` ask for, None for plain text.

    Text is plain, too, where the model folder has no tagger. Raises ModelError where formatted text
    was asked for nevertheless, and for a tagger that is damaged.
    """
    if options.text_style == "plain":
        return None
    if options.text_style == "formatted" or options.remove_fillers or options.mask_profanity:
        check_tagger(folder)
    loaded = load_tagger(folder)
    if loaded is None:
        return None
    return Formatter(
        *loaded,
        remove_fillers=options.remove_fillers,
        mask_profanity=options.mask_profanity,
    )
