"""The weights of the beam search that make the fewest word errors on a labelled set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .decoding import BeamConfig, BeamDecoder, Lexicon
from .decoding.beam import SETTINGS
from .manifest import Utterance
from .recognizer import Recognizer
from .scoring import ErrorCounts, count_errors

__all__ = ["Trial", "tune"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and the errors they made."""

    config: BeamConfig
    counts: ErrorCounts


def tune(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    lm_weights: Sequence[float],
    word_scores: Sequence[float],
    report: Callable[[Trial], None] = lambda _: None,
) -> Trial:
    """Try every pair of weights, store the best in the model folder's ``beam.json``, return it.

    All other settings stay as they are there. Posteriors are computed once, and each utterance is
    decoded whole: chunks do not change the words.
    """
    recognizer = Recognizer.from_pretrained(folder, decoder="greedy")
    bundle = recognizer.bundle
    path = folder / SETTINGS
    start = BeamConfig.model_validate_json(path.read_bytes()) if path.exists() else BeamConfig()
    lexicon = Lexicon(folder, bundle.spelling_tokens)
    heard = [*_posteriors(recognizer, utterances)]
    references = [utterance.transcript for utterance in utterances]
    best: Trial | None = None
    for lm_weight, word_score in itertools.product(lm_weights, word_scores):
        config = start.model_copy(update={"lm_weight": lm_weight, "word_score": word_score})
        step_seconds = bundle.config.frontend.step_seconds
        decoder = BeamDecoder(bundle.spelling_tokens, step_seconds, lexicon, config)
        texts = [_decode(decoder, log_probs) for log_probs in heard]
        trial = Trial(config, count_errors(references, texts))
        report(trial)
        if best is None or trial.counts.wer < best.counts.wer:
            best = trial
    assert best is not None, "no weights to try"
    path.write_text(best.config.model_dump_json(exclude_defaults=True) + "\n", encoding="utf-8")
    return best


def _decode(decoder: BeamDecoder, log_probs: Tensor) -> str:
    words, state = decoder(log_probs, decoder.initial_state())
    last, _ = decoder.finish(state)
    return " ".join(word.text for word in [*words, *last])


def _posteriors(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Iterator[Tensor]:
    from .audio import open_audio

    part = recognizer.bundle.spelling_part
    for utterance in utterances:
        state, pieces = recognizer.initial_state(), []
        with open_audio(utterance.path) as audio:
            for block in audio.blocks():
                log_probs, state = recognizer.log_probs(torch.from_numpy(block), state)
                pieces.append(log_probs[:, part])
        log_probs, _ = recognizer.log_probs(recognizer.closing_silence(), state)
        yield torch.cat([*pieces, log_probs[:, part]])
