"""Settings of the beam search from a labelled set: the fewest word errors, honest confidence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .decoding import BeamConfig, BeamDecoder
from .decoding.beam import SETTINGS
from .decoding.graph import load_graph
from .errors import AudioError, ModelError
from .failures import Failure, attempt
from .language import load_reader
from .manifest import Utterance
from .recognizer import Recognizer
from .scoring import ErrorCounts, aligned_words, count_errors
from .transcript import Word

__all__ = ["Trial", "calibrated", "tune"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and the errors they made, in all recordings but those that ``failed``."""

    config: BeamConfig
    counts: ErrorCounts
    failed: tuple[Failure, ...] = ()


def tune(
    folder: Path,
    utterances: Sequence[Utterance],
    values: Mapping[str, Sequence[float]],
    *,
    report: Callable[[Trial], None] = lambda _: None,
) -> Trial:
    """Try all ``values`` together, store the best in the model folder's ``beam.json``, return them.

    ``values`` are lists to try by the names of ``BeamConfig``'s settings; all others stay as they
    are. With the best goes what makes confidence the share of words that are right, on the same
    utterances. Posteriors are computed once, and each utterance is decoded whole: chunks do not
    change the words.

    Recordings that break off or cannot be read are left out. Raises AudioError if that is all.
    """
    reader = load_reader(folder)
    if any(values.get("reading_weight", ())) and not reader:
        raise ModelError(
            f"{folder} has no recurrent language model to weigh: scripts/train_language_model"
        )
    recognizer = Recognizer.from_pretrained(folder, decoder="greedy")
    bundle = recognizer.bundle
    path = folder / SETTINGS
    start = BeamConfig.model_validate_json(path.read_bytes()) if path.exists() else BeamConfig()
    graph = load_graph(folder)
    heard: list[Tensor] = []
    references: list[str] = []
    failed: list[Failure] = []
    for utterance in utterances:
        outcome = attempt(utterance.path, partial(_posteriors, recognizer, utterance))
        if isinstance(outcome, Failure):
            failed.append(outcome)
        else:
            heard.append(outcome)
            references.append(utterance.transcript)
    if not heard:
        problems = [failure.problem for failure in failed] or ["the list is empty"]
        raise AudioError(f"there is no recording to choose on: {'; '.join(problems)}")
    best: Trial | None = None
    words: list[list[Word]] = []
    for tried in itertools.product(*values.values()):
        config = start.model_copy(update=dict(zip(values, tried, strict=True)))
        step_seconds = bundle.config.frontend.step_seconds
        decoder = BeamDecoder(bundle.spelling_tokens, step_seconds, graph, config, reader=reader)
        found = [_decode(decoder, log_probs) for log_probs in heard]
        texts = [" ".join(word.text for word in said) for said in found]
        trial = Trial(config, count_errors(references, texts), tuple(failed))
        report(trial)
        if best is None or trial.counts.wer < best.counts.wer:
            best, words = trial, found
    assert best is not None, "no weights to try"
    best = replace(best, config=calibrated(best.config, references, words))
    path.write_text(best.config.model_dump_json(exclude_defaults=True) + "\n", encoding="utf-8")
    return best


def calibrated(
    config: BeamConfig, references: Sequence[str], found: Sequence[Sequence[Word]]
) -> BeamConfig:
    """Return ``config``, which found these words, with confidence as the share of right ones.

    A logistic regression of right and wrong on the log-odds (Platt 1999), by Newton's method. It
    is drawn towards what ``config`` has by the weight of about a word, so that a few words, all of
    them right, have an answer, too.
    """
    confidence, right = [], []
    for reference, words in zip(references, found, strict=True):
        texts = [word.text for word in words]
        equal = {j for kind, _, j in aligned_words(reference, texts) if kind == "equal"}
        confidence += [word.confidence for word in words]
        right += [float(index in equal) for index in range(len(words))]
    p = np.clip(np.array(confidence, np.float64), 1e-6, 1 - 1e-6)
    x = np.stack([np.log(p / (1 - p)), np.ones_like(p)], axis=1)
    prior = np.array([1.0, 0.0])
    weights = prior
    for _ in range(30):
        q = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (q - right) + weights - prior
        weights = weights - np.linalg.solve((x.T * (q * (1 - q))) @ x + np.eye(2), gradient)
    slope, offset = max(float(weights[0]), 1e-3), float(weights[1])
    return config.model_copy(
        update={
            "confidence_slope": round(slope * config.confidence_slope, 4),
            "confidence_offset": round(slope * config.confidence_offset + offset, 4),
        }
    )


def _decode(decoder: BeamDecoder, log_probs: Tensor) -> list[Word]:
    words, state = decoder(log_probs, decoder.initial_state())
    last, _ = decoder.finish(state)
    return [*words, *last]


def _posteriors(recognizer: Recognizer, utterance: Utterance) -> Tensor:
    from .audio import open_audio

    part = recognizer.bundle.spelling_part
    state, pieces = recognizer.initial_state(), []
    with open_audio(utterance.path) as audio:
        for block in audio.blocks():
            log_probs, state = recognizer.log_probs(torch.from_numpy(block), state)
            pieces.append(log_probs[:, part])
    log_probs, _ = recognizer.log_probs(recognizer.closing_silence(), state)
    return torch.cat([*pieces, log_probs[:, part]])
