"""The recognizer that a command's options describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..fingerprint import fingerprint
from ..hotwords import read_hotwords
from ..options import DecoderName, RecognizerOptions
from ..pretrained import PRETRAINED
from . import console
from .options import Backend, Decoder

if TYPE_CHECKING:
    from ..api import Recognizer

__all__ = ["asked_for", "load_recognizer", "made_by", "recognizer_options"]


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


def made_by(
    options: RecognizerOptions, decoder: DecoderName, model_hash: str, *, track: str | None = None
) -> dict[str, object]:
    """Return what a transcript says of how it was made: ``decoder`` is what decoded it."""
    return {**asked_for(options, model_hash, track=track), "decoder": decoder}


def asked_for(
    options: RecognizerOptions, model_hash: str | None = None, *, track: str | None = None
) -> dict[str, object]:
    """Return what decides a transcript, as far as it is known before a model is loaded.

    ``model_hash`` is computed unless it is known already; raises ModelError without the model.
    """
    folder = PRETRAINED if options.model is None else Path(options.model)
    return {
        **({} if track is None else {"track": track}),
        "model": folder.name,
        "model_hash": model_hash or fingerprint(folder),
        "decoder": options.decoder,
        "nbest": options.nbest,
    }
