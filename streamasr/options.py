"""The options of a recognizer: which model, and how to run it. Quick to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import ConfigError
from .hotwords import Hotword, as_hotwords

__all__ = ["BackendName", "DecoderName", "RecognizerOptions", "TextStyle"]

BackendName = Literal["auto", "triton", "triton-wide", "triton-once", "cpu", "torch", "reference"]
"""What runs the LSTM: ``persistent_lstm.BACKENDS``."""

DecoderName = Literal["auto", "beam", "greedy"]
"""How posteriors become words; ``auto`` is the beam search where the model has what it needs."""

TextStyle = Literal["auto", "formatted", "plain"]
"""How words are written: with punctuation, capitals and numbers, or as recognised, in lower case;
``auto`` is formatted where the model has a tagger."""


@dataclass(frozen=True, slots=True)
class RecognizerOptions:
    """All that ``Recognizer.from_options`` needs. Frozen and picklable: send it to a process.

    Attributes:
        model: a model folder; the bundled English model when None.
        backend: what runs the LSTM.
        decoder: how posteriors become words.
        hotwords: phrases that the beam search shall prefer; strings become ``Hotword``.
        nbest: how many hypotheses a transcript shall offer.
        device: where the model runs, such as ``"cpu"`` or ``"cuda:1"``; a GPU, if there is one,
            when None.
        text: a file of text like what will be said, which the language models are mixed with.
        text_style: how words are written.
        remove_fillers: whether formatted text leaves out "uh", "um" and the like.
        mask_profanity: whether formatted text has only the first letter of swear words.

    Raises:
        ConfigError: a value that none of them can have.
    """

    model: str | None = None
    backend: BackendName = "auto"
    decoder: DecoderName = "auto"
    hotwords: tuple[Hotword, ...] = ()
    nbest: int = 1
    device: str | None = None
    text: str | None = None
    text_style: TextStyle = "auto"
    remove_fillers: bool = False
    mask_profanity: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("backend", self.backend, get_args(BackendName)),
            ("decoder", self.decoder, get_args(DecoderName)),
            ("text_style", self.text_style, get_args(TextStyle)),
        ):
            if value not in known:
                raise ConfigError(f"unknown {name} {value!r}: choose {_listed(known)}")
        if isinstance(self.nbest, bool) or not isinstance(self.nbest, int) or self.nbest < 1:
            raise ConfigError(f"nbest must be a whole number from 1 on, not {self.nbest!r}")
        if self.text_style == "plain" and (self.remove_fillers or self.mask_profanity):
            raise ConfigError("remove_fillers and mask_profanity are for formatted text, not plain")
        if self.model is not None:
            object.__setattr__(self, "model", os.fspath(self.model))
        if self.text is not None:
            object.__setattr__(self, "text", os.fspath(self.text))
        if self.device is not None:
            object.__setattr__(self, "device", str(self.device))
        object.__setattr__(self, "hotwords", as_hotwords(self.hotwords))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
