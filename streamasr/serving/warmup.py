"""Compile the model's step and the beam search before the first client waits for them."""

from __future__ import annotations

import logging

import torch

from ..acoustic import AcousticOutput
from ..api import Recognizer
from ..transcript import Word

__all__ = ["warm_up"]

log = logging.getLogger("streamasr.serving")

STEPS = 10


@torch.inference_mode()
def warm_up(recognizer: Recognizer) -> None:
    """Run the model for a timestep, decode a few, and format a word.

    Numba compiles a function on its first call, which takes the beam search half a minute, unless
    it finds it compiled in its cache.
    """
    if recognizer.decoder == "beam":
        log.info("preparing the beam search; the first time on a machine, it is compiled")
    silence = torch.zeros(recognizer.config.frontend.window_samples)
    recognizer.acoustic(silence, recognizer.acoustic.initial_state())
    # All tokens alike: silence would not be searched.
    logits = torch.zeros(STEPS, recognizer.config.model.output_size)
    words = recognizer.words
    _, state = words(AcousticOutput(logits.log_softmax(1)), words.initial_state())
    words.partial(state)
    words.finish(state)
    if (formatter := recognizer.formatter) is not None:
        formatter.preview([Word("a", 0.0, 1.0, 1.0)], formatter.initial_state())
