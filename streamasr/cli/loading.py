"""The recognizer that a command's options describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError, StreamasrError
from ..hotwords import read_hotwords
from ..options import RecognizerOptions, TextStyle
from ..pretrained import PRETRAINED
from ..text.files import check_tagger
from . import console
from .checks import check_gpu, check_model, folded_note
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
    text: Path | None = None,
    formatted: bool | None = False,
    remove_fillers: bool = False,
    mask_profanity: bool = False,
    note: Callable[[str], None] = console.note,
) -> RecognizerOptions:
    """Return what the options of a command describe; reads the file of hotwords, if any.

    Raises StreamasrError, before a model is loaded, for what no recognizer can be loaded with.
    ``note`` is called with hotwords whose spelling is normalised. ``formatted`` None: where the
    model can.
    """
    check_model(model)
    style: TextStyle = "auto" if formatted is None else "formatted" if formatted else "plain"
    if formatted is False and (remove_fillers or mask_profanity):
        option = "--remove-fillers" if remove_fillers else "--mask-profanity"
        raise StreamasrError(f"{option} is for formatted text: not with --plain or ctm")
    if formatted or remove_fillers or mask_profanity:
        check_tagger(model or PRETRAINED)
    if decoder is Decoder.greedy and (hotwords or text or nbest > 1):
        option = "--hotwords" if hotwords else "--text" if text else "--nbest"
        raise ModelError(f"{option} needs the beam search: --decoder beam, not greedy")
    phrases = read_hotwords(hotwords) if hotwords else []
    if folded := folded_note(phrases):
        note(folded)
    if backend.value.startswith("triton"):
        check_gpu(backend.value)
    if text:
        from ..language.own_text import read_own_text

        read_own_text(text)
    if decoder is Decoder.beam or hotwords or text or nbest > 1:
        from ..decoding.loading import check_beam

        check_beam(model or PRETRAINED)
    return RecognizerOptions(
        model=None if model is None else str(model),
        backend=backend.value,
        decoder=decoder.value,
        hotwords=tuple(phrases),
        nbest=nbest,
        text=None if text is None else str(text),
        text_style=style,
        remove_fillers=remove_fillers,
        mask_profanity=mask_profanity,
    )


def load_recognizer(
    options: RecognizerOptions,
    *,
    threads: int = 1,
    warn: Callable[[str], None] = console.warning,
    note: Callable[[str], None] = console.note,
) -> Recognizer:
    """Load a model; ``note`` is called with those hotwords that cannot be used.

    ``warn`` is called, even with ``--quiet``, if the model's language model cannot be used.

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
