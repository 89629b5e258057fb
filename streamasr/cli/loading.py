"""The recognizer that a command's options describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..hotwords import read_hotwords
from ..options import RecognizerOptions
from . import console
from .options import Backend, Decoder

if TYPE_CHECKING:
    from ..api import Recognizer

__all__ = ["load_recognizer", "recognizer_options"]


def recognizer_options(
    model: Path | None,
    backend: Backend,
    decoder: Decoder,
    hotwords: Path | None,
    *,
    nbest: int = 1,
) -> RecognizerOptions:
    """Return what the options of a command describe; reads the file of hotwords, if any."""
    return RecognizerOptions(
        model=None if model is None else str(model),
        backend=backend.value,
        decoder=decoder.value,
        hotwords=tuple(read_hotwords(hotwords)) if hotwords else (),
        nbest=nbest,
    )


def load_recognizer(
    options: RecognizerOptions,
    *,
    threads: int = 1,
    warn: Callable[[str], None] = console.warning,
    note: Callable[[str], None] = console.note,
) -> Recognizer:
    """Load a model; ``note`` is told of hotwords that cannot be used.

    ``warn`` is told, whatever else is quiet, if the model's language model cannot be used.

    The chunks of one stream are too small for more than one of the CPU's ``threads``, which would
    wait for each other: no gain on an idle machine, and several times as long on a busy one.
    """
    import torch

    from ..api import Recognizer, degraded_message

    torch.set_num_threads(threads)
    recognizer = Recognizer.from_options(options)
    if recognizer.degraded:
        warn(degraded_message(recognizer.decoder_reason))
    for hotword, reason in recognizer.unusable_hotwords:
        note(f"hotword {hotword.text!r} cannot be used: {reason}")
    return recognizer
