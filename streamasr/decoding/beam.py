"""Decode by a beam search with a lexicon and an n-gram model, rescored by a recurrent one.

The search runs over segments: one ends where the model has heard nothing but blanks for a while,
and its words become final. Where it ends depends on the posteriors alone, never on how they were
cut into chunks, and memory is bounded by its longest length. Of a segment's best readings a
recurrent language model, if the model folder has one, chooses; it remembers the segments before.

Where the acoustic model has a second pass, a segment that has ended is searched again, in
posteriors that know all of it (the cascade of Narayanan et al. 2020, arXiv:2010.14606).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from ..errors import ModelError
from ..hotwords import RARE, Hotword
from ..language import Reader, ReadState, load_reader
from ..language.storage import WEIGHTS
from ..tokens import Tokens
from ..transcript import Alternative, Word
from ..validated import Settings, first_problem
from .bias import Bias, build_bias
from .graph import GRAPH, SearchGraph, load_graph
from .letters import RULES, read_rules
from .search import Hit, Search, SearchState

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamMissing",
    "BeamState",
    "Candidate",
    "SecondPass",
    "Weights",
    "check_beam",
    "has_beam",
    "load_beam",
]

SETTINGS = "beam.json"
NEVER = -1e4


class BeamMissing(ModelError):
    """Numba, which compiles the search, is not installed."""


class BeamConfig(Settings):
    """Settings of the search, tuned for a model and stored with it."""

    beam_size: int = Field(100, gt=0)
    beam_size_token: int = Field(20, gt=0, description="tokens tried in each timestep")
    beam_threshold: float = Field(25.0, gt=0, description="score below the best, in nats")
    lm_weight: float = Field(1.0, ge=0)
    word_score: float = 0.0
    readings: int = Field(50, gt=0, description="that the recurrent language model reads")
    reading_weight: float = Field(0.0, ge=0, description="of its log-probabilities, in nats")
    reading_lm_weight: float | None = Field(None, ge=0, description="then in lm_weight's place")
    reading_word_score: float | None = Field(None, description="then in word_score's place")
    pause_seconds: float = Field(0.6, gt=0, description="of blanks that end a segment")
    second_share: float = Field(0.5, gt=0, le=1, description="of the second pass in posteriors")
    firm_confidence: float = Field(
        0.9, ge=0, le=1, description="of words that a second pass shall not change"
    )
    longest_seconds: float = Field(20.0, gt=0, description="of a segment")
    blank_posterior: float = Field(0.5, gt=0, lt=1, description="above it nothing was said")
    confidence_slope: float = Field(1.0, gt=0, description="of log-odds, see confidence()")
    confidence_offset: float = Field(0.0, description="of log-odds, see confidence()")
    least_confidence: float = Field(
        0.0, ge=0, lt=1, description="mean of a segment's words; below it they are taken for noise"
    )
    partial_readings: int = Field(10, gt=0, description="that are compared for partials")
    partial_share: float = Field(
        0.4, ge=0, le=1, description="of the hypotheses' probability, from which on words are shown"
    )
    partial_scale: float = Field(
        0.5, gt=0, description="of the scores, in nats, that make this probability"
    )
    partial_seconds: float = Field(0.1, ge=0, description="after its end a word is shown")
    least_partial_confidence: float = Field(
        0.0, ge=0, lt=1, description="the same while it lasts: its first words may be unsure alone"
    )

    @property
    def rescoring(self) -> Weights:
        """The weights beside the recurrent language model, where it has a say."""
        if not self.reading_weight:
            return Weights(self.lm_weight, self.word_score)
        lm, word = self.reading_lm_weight, self.reading_word_score
        return Weights(
            self.lm_weight if lm is None else lm,
            self.word_score if word is None else word,
            self.reading_weight,
        )

    def confidence(self, posterior: float) -> float:
        """Return how likely a word is right whose tokens have this mean posterior (Platt 1999)."""
        odds = math.log(max(posterior, 1e-6)) - math.log(max(1 - posterior, 1e-6))
        return 1 / (1 + math.exp(-(self.confidence_slope * odds + self.confidence_offset)))


@dataclass(frozen=True, slots=True)
class Weights:
    """What each model's score counts for in the choice among a segment's hypotheses."""

    lm: float
    word: float
    reader: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hypothesis for a segment, with each model's score of it, unweighted.

    ``acoustic`` is natural and holds what hotwords add, ``lm`` the n-gram model's power of ten,
    ``reader`` the recurrent model's log-probability in nats, ``read`` its state after the text.
    """

    text: tuple[str, ...]
    hits: tuple[Hit, ...]
    acoustic: float
    lm: float
    reader: float = 0.0
    read: ReadState | None = None

    def score(self, weights: Weights) -> float:
        """Return the log-linear combination of all scores."""
        models = weights.lm * self.lm + weights.reader * self.reader
        return self.acoustic + models + weights.word * len(self.text)


@dataclass(frozen=True)
class BeamState:
    """Where a stream stands. A value: it can be kept, copied, pickled and gone on from twice.

    ``before`` counts the timesteps before the segment, ``steps`` its own, ``blanks`` those that
    were quiet at its end; ``spoken`` says whether any was not. ``alternatives`` are the best
    readings of all segments before, ``read`` what the recurrent language model remembers of them,
    ``search`` the hypotheses of the segment, and ``bias`` the stream's hotwords. For a second pass,
    ``log_probs (T, V)`` and ``encoded (T, H)`` are the segment's, chunk by chunk; with ``lazy``,
    only that pass searches.
    """

    search: SearchState
    before: int = 0
    steps: int = 0
    blanks: int = 0
    spoken: bool = False
    alternatives: tuple[Alternative, ...] = (Alternative("", 0.0),)
    read: ReadState | None = None
    bias: Bias | None = None
    log_probs: tuple[NDArray[np.float32], ...] = ()
    encoded: tuple[Tensor, ...] = ()
    lazy: bool = False


SecondPass = Callable[[Tensor], Tensor]
"""Maps ``encoded (T, H)`` of a whole segment to ``log_probs (T, V)`` that know what follows."""


class BeamDecoder:
    """Log-posteriors to words, chunk by chunk; any chunking gives the same words.

    Immutable: threads share one. ``unusable_hotwords`` are those that have no effect, each with
    the reason. ``second`` is run over each segment as it ends, where ``encoded`` is given.
    """

    def __init__(
        self,
        tokens: Tokens,
        step_seconds: float,
        graph: SearchGraph,
        config: BeamConfig,
        *,
        hotwords: Sequence[Hotword] = (),
        rules: Mapping[str, tuple[str, ...]] | None = None,
        nbest: int = 1,
        reader: Reader | None = None,
        units: NDArray[np.int32] | None = None,
        second: SecondPass | None = None,
    ) -> None:
        self._second = second
        self._tokens = tokens
        self._step_seconds = step_seconds
        self._graph = graph
        self._rules = rules or {}
        self._config = config
        self._nbest = nbest
        self._reader = reader if config.reading_weight else None
        self._pause = max(1, round(config.pause_seconds / step_seconds))
        self._settle = round(config.partial_seconds / step_seconds)
        self._longest = max(1, round(config.longest_seconds / step_seconds))
        self._search = Search(
            graph,
            beam=config.beam_size,
            threshold=config.beam_threshold,
            tokens=config.beam_size_token,
            lm_weight=config.lm_weight,
            word_score=config.word_score,
            units=units,
            silence=tokens.space or 0,
        )
        self._bias, self.unusable_hotwords = self.bias(hotwords)

    def bias(self, hotwords: Sequence[Hotword]) -> tuple[Bias | None, list[tuple[Hotword, str]]]:
        """Return hotwords as ``initial_state`` takes them, and those unusable, with the reason."""
        if not hotwords:
            return None, []
        return build_bias(hotwords, self._graph, self._tokens, self._rules)

    def initial_state(self, bias: Bias | None = None, *, partials: bool = True) -> BeamState:
        """Return the state before the first timestep, with the stream's own hotwords if given.

        Without ``partials``, which then take long, a segment is searched once, as it ends.
        """
        return BeamState(
            self._search.initial_state(),
            read=self._reader.initial_state() if self._reader else None,
            bias=bias or self._bias,
            lazy=not partials and self._second is not None,
        )

    def __call__(
        self, log_probs: Tensor, state: BeamState, encoded: Tensor | None = None
    ) -> tuple[list[Word], BeamState]:
        """Take ``log_probs (T, V)``; return the words of the segments that ended.

        ``encoded (T, H)`` is what a second pass reads; without it there is none.
        """
        words: list[Word] = []
        silent = (
            log_probs[:, self._tokens.blank] > math.log(self._config.blank_posterior)
        ).tolist()
        start = 0
        for step, quiet in enumerate(silent):
            blanks = state.blanks + 1 if quiet else 0
            state = replace(state, blanks=blanks, spoken=state.spoken or not quiet)
            length = state.steps + step + 1 - start
            if (state.spoken and blanks >= self._pause) or length >= self._longest:
                state = self._hear(log_probs, encoded, slice(start, step + 1), state)
                ended, state = self.finish(state)
                words += ended
                start = step + 1
        return words, self._hear(log_probs, encoded, slice(start, None), state)

    def partial(self, state: BeamState) -> list[Word]:
        """Return the segment's words that are likely to stay, chosen as if it ended here.

        Those are the best hypothesis' first words: as far as hypotheses that agree with it have
        ``partial_share`` of the probability of those that agreed a word before.
        """
        if not state.spoken:
            return []
        state = self._searched(state)
        words, firm = self._words(self._shown(state), state), self._firm(state)
        sure = are_sure(_confidences(words), self._config.least_partial_confidence)
        return words if sure and len(words) > len(firm) else firm

    def firm(self, state: BeamState) -> int:
        """Return how many of the first words of ``partial`` can no longer change."""
        return len(self._firm(self._searched(state))) if state.spoken else 0

    def _firm(self, state: BeamState) -> list[Word]:
        """Return the words that all hypotheses share, and that a second pass will not change."""
        words = self._words(self._search.firm(state.search), state)
        if state.encoded:
            least = self._config.firm_confidence
            words = list(takewhile(lambda word: word.confidence >= least, words))
        # A segment of unsure words is dropped as a whole, firm ones included.
        return words if are_sure(_confidences(words), self._config.least_confidence) else []

    def _shown(self, state: BeamState) -> tuple[Hit, ...]:
        """Return the best hypothesis' first words as far as others agree, and that have ended."""
        candidates = self.candidates(state.search, state, self._config.partial_readings)
        if not candidates:
            return ()
        weights, scale = self._config.rescoring, self._config.partial_scale
        best = candidates[0]
        top = best.score(weights)
        rest = [(math.exp(scale * (c.score(weights) - top)), c.text) for c in candidates]
        mass = sum(share for share, _ in rest)
        for count, (word, hit) in enumerate(zip(best.text, best.hits, strict=True)):
            rest = [(share, text) for share, text in rest if text[count : count + 1] == (word,)]
            agreeing = sum(share for share, _ in rest)
            ended = state.steps - 1 - hit.last_step
            if agreeing < self._config.partial_share * mass or ended < self._settle:
                return best.hits[:count]
            mass = agreeing
        return best.hits

    def finish(self, state: BeamState) -> tuple[list[Word], BeamState]:
        """End the segment: return its words, and the state after them."""
        words = []
        if state.spoken:
            candidates = self._reconsidered(state)
            words = self._words(candidates[0].hits, state) if candidates else []
            if are_sure(_confidences(words), self._config.least_confidence):
                state = self._remember(candidates, state)
            else:
                words = []
        return words, BeamState(
            self._search.initial_state(),
            before=state.before + state.steps,
            alternatives=state.alternatives,
            read=state.read,
            bias=state.bias,
            lazy=state.lazy,
        )

    def _reconsidered(self, state: BeamState) -> list[Candidate]:
        """Return the hypotheses for a segment that has ended, after a second pass if there is one.

        Words that were firm stay: where no hypothesis has them, the first pass' are taken.
        """
        if self._second is None or not state.encoded:
            return self.candidates(self._closed(state.search, state), state)
        share, first = self._config.second_share, np.concatenate(state.log_probs)
        second = self._second(torch.cat(state.encoded)).numpy()
        mixed = np.logaddexp(second + np.log(share), first + np.log(max(1 - share, 1e-30)))
        search = self._search.advance(mixed, self._search.initial_state(), state.bias)
        candidates = self.candidates(self._closed(search, state), state)
        if state.lazy:
            return candidates
        firm = tuple(word.text for word in self._firm(state))
        kept = [each for each in candidates if each.text[: len(firm)] == firm]
        return kept or self.candidates(self._closed(state.search, state), state)

    def _closed(self, search: SearchState, state: BeamState) -> SearchState:
        """Return the search at a segment's end: a word ends with a space, which nobody says."""
        if self._tokens.space is None:
            return search
        end = np.full((1, len(self._tokens)), NEVER, np.float32)
        end[0, [self._tokens.blank, self._tokens.space]] = math.log(0.5)
        return self._search.advance(end, search, state.bias)

    def candidates(
        self, search: SearchState, state: BeamState, most: int | None = None
    ) -> list[Candidate]:
        """Return the hypotheses for a segment that ends here, the best first, each text once.

        They are the ``most`` best before the recurrent language model chooses, by default as many
        as it reads at a segment's end.
        """
        config, found = self._config, dict[tuple[str, ...], Candidate]()
        most = most or max(self._nbest, config.readings if self._reader else 1)
        for reading in self._search.readings(search, most, state.bias):
            text = tuple(self._text(hit.word, state.bias) for hit in reading.hits)
            known = config.lm_weight * reading.lm_score + config.word_score * len(text)
            candidate = Candidate(text, reading.hits, reading.score - known, reading.lm_score)
            found.setdefault(text, candidate)
        candidates = [*found.values()]
        if self._reader is None or state.read is None:
            return candidates
        scores, reads = self._reader.score([*found], state.read)
        hot = state.bias.words if state.bias else frozenset()
        judged = [
            replace(candidate, reader=_reader_score(candidate.text, own, hot), read=read)
            for candidate, own, read in zip(candidates, scores, reads, strict=True)
        ]
        return sorted(judged, key=lambda candidate: -candidate.score(config.rescoring))

    def _remember(self, candidates: Sequence[Candidate], state: BeamState) -> BeamState:
        """Return the state that knows of the segment's hypotheses."""
        if candidates and candidates[0].read is not None:
            state = replace(state, read=candidates[0].read)
        if self._nbest > 1:
            state = replace(state, alternatives=self._join(state.alternatives, candidates))
        return state

    def alternatives(self, state: BeamState) -> tuple[Alternative, ...]:
        """Return the best readings of all finished segments, if more than one is kept."""
        return state.alternatives if self._nbest > 1 else ()

    def _join(
        self, before: tuple[Alternative, ...], candidates: Sequence[Candidate]
    ) -> tuple[Alternative, ...]:
        """Return the best pairs of what came before and the readings of a segment."""
        weights = self._config.rescoring
        pairs = [
            Alternative(" ".join([old.text, *new.text]).strip(), old.score + new.score(weights))
            for old in before
            for new in candidates[: self._nbest]
        ]
        return tuple(nlargest(self._nbest, pairs, key=lambda pair: pair.score)) or before

    def _hear(
        self, log_probs: Tensor, encoded: Tensor | None, part: slice, state: BeamState
    ) -> BeamState:
        """Take the timesteps of ``part``, which belong to the segment."""
        own = log_probs[part].numpy()
        if not len(own):
            return state
        if encoded is not None and self._second is not None:
            state = replace(
                state,
                log_probs=(*state.log_probs, own),
                encoded=(*state.encoded, encoded[part].clone()),  # not the whole batch
            )
        else:
            state = replace(self._searched(state), lazy=False)
        if not state.lazy:
            search = self._search.advance(own, state.search, state.bias)
            state = replace(state, search=search)
        return replace(state, steps=state.steps + len(own))

    def _searched(self, state: BeamState) -> BeamState:
        """Return the state in which the first pass has searched all of the segment."""
        if not state.lazy or not state.log_probs:
            return state
        search = self._search.advance(np.concatenate(state.log_probs), state.search, state.bias)
        return replace(state, search=search, lazy=False)

    def _text(self, word: int, bias: Bias | None) -> str:
        size = len(self._graph.text_ends)
        if word < size or bias is None:
            return self._graph.word(word)
        return bias.added[word - size]

    def _words(self, hits: Sequence[Hit], state: BeamState) -> list[Word]:
        return [
            Word(
                self._text(hit.word, state.bias),
                start=(state.before + hit.first_step) * self._step_seconds,
                end=(state.before + hit.last_step + 1) * self._step_seconds,
                confidence=self._config.confidence(hit.posterior),
            )
            for hit in hits
        ]


def _reader_score(text: Sequence[str], scores: Sequence[float], hot: frozenset[str]) -> float:
    """Add up words' scores; a hotword is at least a rare word to the reader, as to the search."""
    rare = RARE * math.log(10)
    return sum(
        max(score, rare) if word in hot else score for word, score in zip(text, scores, strict=True)
    )


def are_sure(confidences: Sequence[float], least: float) -> bool:
    """Whether words have this mean confidence; those that noise resembles have little."""
    return sum(confidences) >= least * len(confidences)


def _confidences(words: Sequence[Word]) -> list[float]:
    return [word.confidence for word in words]


def has_beam(folder: Path) -> bool:
    """Whether a model folder has what a beam search needs."""
    return (folder / SETTINGS).is_file()


def check_beam(folder: Path) -> None:
    """Raise ModelError where there is no beam search to load, by a look at the folder only."""
    if find_spec("numba") is None:
        raise BeamMissing("the beam search needs Numba: pip install numba; or decode greedy")
    if not has_beam(folder):
        raise ModelError(
            f"{folder / SETTINGS}: missing, and with it the language model: decode greedy, "
            "without hotwords and nbest"
        )


def load_beam(
    folder: Path,
    tokens: Tokens,
    step_seconds: float,
    *,
    hotwords: Sequence[Hotword] = (),
    nbest: int = 1,
    second: SecondPass | None = None,
) -> BeamDecoder:
    """Return the beam search of a model folder; raises ModelError if it has none that works."""
    check_beam(folder)
    path = folder / SETTINGS
    try:
        config = BeamConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): decode greedy") from error
    except ValidationError as error:
        raise ModelError(f"{path}: {first_problem(error)}") from error
    graph = load_graph(folder)
    if graph.tokens != tokens.symbols:
        raise ModelError(
            f"{folder / GRAPH}: its words are spelled in other tokens than the model's"
        )
    rules = read_rules(folder / RULES)
    reader = load_reader(folder) if config.reading_weight else None
    if config.reading_weight and not reader:
        raise ModelError(f"{folder / WEIGHTS}: missing, but {SETTINGS} has reading_weight for it")
    return BeamDecoder(
        *(tokens, step_seconds, graph, config),
        hotwords=hotwords,
        rules=rules,
        nbest=nbest,
        reader=reader,
        second=second,
    )
