"""The weights of a model folder's beam search, chosen on labelled recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..api import Recognizer
from ..decoding import BeamConfig, BeamDecoder
from ..decoding.graph import load_graph
from ..decoding.settings import SETTINGS, Weights
from ..errors import AudioError
from ..failures import Failure, attempt
from ..language import load_rescorer
from ..manifest import Utterance
from ..transcript import Word
from ..wer import ErrorCounts, count_errors
from .bootstrap import bootstrap_interval
from .calibration import calibrated
from .hypotheses import HypothesisPool, RecordingDecoder, Segments, merged
from .posteriors import Posteriors, posteriors
from .random_search import random_search

__all__ = ["Trial", "Tuning", "tune"]

D = TypeVar("D", bound=BeamDecoder)

_SEARCH_FACTOR, _SEARCH_WORD = 1.25, 0.6
"""How far the weights of further searches lie from those of the first."""
_FIRST_RESCORER = 0.5
"""Where a recurrent language model that had no weight yet begins."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings, and the errors of decoding all recordings anew with them."""

    config: BeamConfig
    counts: ErrorCounts


@dataclass(frozen=True, slots=True)
class Tuning:
    """The settings before and after, and the 95 % interval of the change of WER.

    ``after`` is ``before`` where none made fewer errors. Recordings that ``failed`` were left out.
    """

    before: Trial
    after: Trial
    interval: tuple[float, float]
    failed: tuple[Failure, ...] = ()


def tune(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    searches: int = 5,
    trials: int = 3000,
    hypotheses: int = 60,
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> Tuning:
    """Choose the weights with the fewest word errors; store them in the folder's ``beam.json``.

    All recordings are decoded with a few weights of the search. Of the hypotheses that come out,
    any weights choose at once, so that thousands are tried (minimum error rate training, Och 2003).
    The best are then decoded with anew, and what makes confidence the share of words that are right
    is estimated. Posteriors are computed once, and each utterance is decoded whole: chunks do not
    change the words. Recordings that break off or cannot be read are left out.

    Args:
        folder: a model folder with a search graph.
        utterances: recordings that are kept apart for choosing.
        searches: weights of the search to collect hypotheses with.
        trials: weights to try on the hypotheses.
        hypotheses: how many to keep of each segment and search.
        seed: of all that is random.
        report: called with a stage's name, what is done of it and of how much.

    Raises:
        ModelError: the folder has no language model, or an unusable one.
        AudioError: no recording can be read.
    """
    recognizer = Recognizer.from_pretrained(folder, decoder="greedy")
    run = _Run(folder, recognizer, report)
    run.compute_posteriors(utterances)
    start = run.start
    if run.rescorer is not None and not start.rescoring_weight:
        start = start.model_copy(update={"rescoring_weight": _FIRST_RESCORER})
    tried = _search_weights(start, searches, seed)
    found = [run.decode(config, f"search {k + 1}", hypotheses) for k, config in enumerate(tried)]
    pool = HypothesisPool(
        run.references,
        start,
        (merged(same) for same in zip(*found, strict=True)),
    )
    best = random_search(
        lambda weights: int(pool.errors(weights).sum()), start.rescoring, trials, seed=seed
    )
    config = _with_weights(start, best)
    if run.rescorer is not None:
        errors = [
            HypothesisPool(run.references, start, segments).errors(best).sum() for segments in found
        ]
        chosen = tried[int(np.argmin(errors))]
        config = config.model_copy(
            update={"lm_weight": chosen.lm_weight, "word_score": chosen.word_score}
        )
    before = run.trial(run.start, "before")
    after = run.trial(config, "after")
    change = after.errors - before.errors
    kept = after if change.sum() < 0 else before
    calibration = calibrated(kept.config, run.references, kept.words)
    stored = Trial(calibration, kept.counts)
    path = folder / SETTINGS
    path.write_text(calibration.model_dump_json(exclude_defaults=True) + "\n", encoding="utf-8")
    speakers = [utterance.speaker for utterance in run.utterances]
    interval = bootstrap_interval(change, before.lengths, speakers, seed=seed)
    return Tuning(
        Trial(run.start, before.counts),
        stored,
        interval if kept is after else (0.0, 0.0),
        tuple(run.failed),
    )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """All recordings decoded with one ``config``: words, and errors ``(N,)`` of ``lengths``."""

    config: BeamConfig
    words: list[list[Word]]
    counts: ErrorCounts
    errors: np.ndarray[tuple[int], np.dtype[np.int64]]
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]]


class _Run:
    """A model folder, the posteriors of the recordings, and their references."""

    def __init__(
        self, folder: Path, recognizer: Recognizer, report: Callable[[str, int, int], None]
    ) -> None:
        self._recognizer = recognizer
        self._report = report
        self._graph = load_graph(folder)
        self.rescorer = load_rescorer(folder)
        path = folder / SETTINGS
        self.start = (
            BeamConfig.model_validate_json(path.read_bytes()) if path.exists() else BeamConfig()
        )
        self.utterances: list[Utterance] = []
        self.failed: list[Failure] = []
        self._posteriors: list[Posteriors] = []

    def compute_posteriors(self, utterances: Sequence[Utterance]) -> None:
        """Compute the posteriors of all recordings; raises AudioError if there are none."""
        for number, utterance in enumerate(utterances, 1):
            found = attempt(utterance.path, partial(posteriors, self._recognizer, utterance))
            if isinstance(found, Failure):
                self.failed.append(found)
            else:
                self.utterances.append(utterance)
                self._posteriors.append(found)
            self._report("posteriors", number, len(utterances))
        if not self.utterances:
            problems = [failure.problem for failure in self.failed] or ["the list is empty"]
            raise AudioError(f"there is no recording to choose on: {'; '.join(problems)}")

    @property
    def references(self) -> list[str]:
        """The reference of each recording."""
        return [utterance.transcript for utterance in self.utterances]

    def _decoder(self, kind: type[D], config: BeamConfig) -> D:
        bundle = self._recognizer.bundle
        return kind(
            bundle.spelling_tokens,
            bundle.config.frontend.step_seconds,
            self._graph,
            config,
            rescorer=self.rescorer,
            second=self._recognizer.acoustic.second_pass,
        )

    def decode(self, config: BeamConfig, stage: str, hypotheses: int) -> list[Segments]:
        """Return the hypotheses of all recordings."""
        every = {"rescored_hypotheses": hypotheses, "rescoring_margin": None}
        config = config.model_copy(update=every)
        decoder = self._decoder(RecordingDecoder, config)
        found = []
        for posterior in self._posteriors:
            found.append(decoder.hypotheses(*posterior))
            self._report(stage, len(found), len(self._posteriors))
        return found

    def trial(self, config: BeamConfig, stage: str) -> _Decoded:
        """Decode all recordings as a recognizer does, and count the errors."""
        decoder = self._decoder(BeamDecoder, config)
        words = []
        for log_probs, encoded in self._posteriors:
            said, state = decoder(log_probs, decoder.initial_state(partials=False), encoded)
            words.append([*said, *decoder.finish(state)[0]])
            self._report(stage, len(words), len(self._posteriors))
        texts = [" ".join(word.text for word in said) for said in words]
        each = [count_errors([r], [t]) for r, t in zip(self.references, texts, strict=True)]
        errors = [c.substitutions + c.deletions + c.insertions for c in each]
        return _Decoded(
            config,
            words,
            count_errors(self.references, texts),
            np.array(errors, np.int64),
            np.array([c.words for c in each], np.int64),
        )


def _search_weights(start: BeamConfig, count: int, seed: int) -> list[BeamConfig]:
    """Return settings around ``start``, which is the first of them."""
    rng = np.random.default_rng(seed)
    configs = [start]
    while len(configs) < count:
        lm, word = rng.uniform(-1, 1, 2)
        update = {
            "lm_weight": round(start.lm_weight * _SEARCH_FACTOR**lm, 2),
            "word_score": round(start.word_score + _SEARCH_WORD * word, 2),
        }
        configs.append(start.model_copy(update=update))
    return configs


def _with_weights(config: BeamConfig, weights: Weights) -> BeamConfig:
    """Return ``config`` with these weights in the choice among hypotheses."""
    lm, word = round(weights.lm, 3), round(weights.word, 3)
    if not config.rescoring_weight:
        return config.model_copy(update={"lm_weight": lm, "word_score": word})
    return config.model_copy(
        update={
            "rescoring_weight": round(weights.rescorer, 3),
            "rescoring_lm_weight": lm,
            "rescoring_word_score": word,
        }
    )
