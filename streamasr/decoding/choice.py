"""Which decoder reads a model's log-posteriors, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..acoustic import SecondPass
from ..acoustic.model import Bundle
from ..errors import ModelError
from ..hotwords import Hotword
from ..language import read_own_text
from ..options import DecoderName
from .base import Decoder
from .greedy import GreedyDecoder
from .loading import BeamMissing, has_beam, load_beam

__all__ = ["Chosen", "choose_decoder"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A decoder, why it was taken, and the part of the log-posteriors that it reads."""

    name: DecoderName
    reason: str
    decoder: Decoder[Any]
    part: slice


def choose_decoder(
    bundle: Bundle,
    name: str,
    hotwords: Sequence[Hotword] = (),
    nbest: int = 1,
    second: SecondPass | None = None,
    text: str | None = None,
) -> Chosen:
    """Return the decoder of this ``name`` for a model; raises ModelError where it has none.

    ``auto`` is the beam search where the model has what it needs. ``second`` is the model's second
    pass, which the beam search uses; ``text`` a file of somebody's own text, which needs it.
    """
    if nbest < 1:
        raise ModelError(f"nbest must be at least 1, not {nbest}")
    step_seconds = bundle.config.frontend.step_seconds

    def greedy(reason: str) -> Chosen:
        part = slice(0, len(bundle.tokens))
        return Chosen("greedy", reason, GreedyDecoder(bundle.tokens, step_seconds), part)

    def beam(reason: str) -> Chosen:
        decoder = load_beam(
            bundle.folder,
            bundle.spelling_tokens,
            step_seconds,
            hotwords=hotwords,
            nbest=nbest,
            second=second,
            own=read_own_text(text) if text else None,
        )
        return Chosen("beam", reason, decoder, bundle.spelling_part)

    if name == "beam" or (name == "auto" and (hotwords or nbest > 1 or text)):
        return beam("as requested")
    if name == "greedy":
        if hotwords or nbest > 1 or text:
            raise ModelError("hotwords, nbest and text need the beam search: --decoder beam")
        return greedy("as requested")
    if name != "auto":
        raise ModelError(f"unknown decoder {name!r}: choose auto, greedy or beam")
    if not has_beam(bundle.folder):
        return greedy("the model has no language model")
    try:
        return beam("the model's language model")
    except BeamMissing as error:
        return greedy(str(error))
