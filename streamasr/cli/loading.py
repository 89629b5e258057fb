"""The recognizer that a command's options describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import console
from .options import Backend, Decoder

if TYPE_CHECKING:
    from ..recognizer import Recognizer

__all__ = ["load_recognizer"]


def load_recognizer(
    model: Path | None,
    backend: Backend,
    decoder: Decoder,
    hotwords: Path | None,
    *,
    nbest: int = 1,
) -> Recognizer:
    """Load a model; hotwords that cannot be used are a line each on stderr."""
    from ..decoding import read_hotwords
    from ..recognizer import Recognizer

    recognizer = Recognizer.from_pretrained(
        model,
        backend=backend.value,
        decoder=decoder.value,
        hotwords=read_hotwords(hotwords) if hotwords else (),
        nbest=nbest,
    )
    for hotword, reason in recognizer.unusable_hotwords:
        console.note(f"hotword {hotword.text!r} cannot be used: {reason}")
    return recognizer
