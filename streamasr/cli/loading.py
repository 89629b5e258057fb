"""The recognizer that a command's options describe."""

from __future__ import annotations

from collections.abc import Callable
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
    threads: int = 1,
    warn: Callable[[str], None] = console.warning,
) -> Recognizer:
    """Load a model; hotwords that cannot be used are a line each on stderr.

    ``warn`` is told, whatever else is quiet, if the model's language model cannot be used.

    The chunks of one stream are too small for more than one of the CPU's ``threads``, which would
    wait for each other: no gain on an idle machine, and several times as long on a busy one.
    """
    import torch

    from ..decoding import read_hotwords
    from ..recognizer import Recognizer, degraded_message

    torch.set_num_threads(threads)
    recognizer = Recognizer.from_pretrained(
        model,
        backend=backend.value,
        decoder=decoder.value,
        hotwords=read_hotwords(hotwords) if hotwords else (),
        nbest=nbest,
    )
    if recognizer.degraded:
        warn(degraded_message(recognizer.decoder_reason))
    for hotword, reason in recognizer.unusable_hotwords:
        console.note(f"hotword {hotword.text!r} cannot be used: {reason}")
    return recognizer
