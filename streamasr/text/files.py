"""Names of a tagger's files in a model folder; quick to import."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError

__all__ = ["TAGGER", "TAGGER_WORDS", "check_tagger"]

TAGGER, TAGGER_WORDS = "tagger.safetensors", "tagger.txt"


def check_tagger(folder: Path) -> None:
    """Raise ModelError where a model folder has no tagger."""
    if not (folder / TAGGER).is_file():
        raise ModelError(f"{folder / TAGGER}: missing; without it this model's text is plain only")
