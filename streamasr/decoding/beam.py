"""CTC beam search with a lexicon and an n-gram language model, by flashlight-text and KenLM.

A lexicon beam search (Collobert et al. 2016, arXiv:1609.03193) over segments: a segment ends where
the model has heard nothing but blanks for a while, and its words become final. Where it ends
depends on the posteriors alone, never on how they were cut into chunks, and memory is bounded by
its longest length. Of a segment's best readings a recurrent language model, if the model folder has
one, chooses the one that ends the segment: it remembers the segments before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ..errors import ModelError
from ..language import Reader, ReadState, load_reader
from ..language.storage import WEIGHTS
from ..model import Tokens
from ..transcript import Alternative, Word
from .hotwords import RARE, Hotword
from .lexicon import NEVER, Lexicon

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamMissing",
    "BeamState",
    "has_beam",
    "load_beam",
]

SETTINGS = "beam.json"
INSTALL = 'pip install "flashlight-text>=0.0.7"'


class BeamMissing(ModelError):
    """flashlight-text, which has no build for every Python, is not installed."""


class BeamConfig(BaseModel):
    """Settings of the search, tuned for a model and stored with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    longest_seconds: float = Field(20.0, gt=0, description="of a segment")
    blank_posterior: float = Field(0.5, gt=0, lt=1, description="above it nothing was said")
    confidence_slope: float = Field(1.0, gt=0, description="of log-odds, see confidence()")
    confidence_offset: float = Field(0.0, description="of log-odds, see confidence()")
    least_confidence: float = Field(
        0.0, ge=0, lt=1, description="mean of a segment's words; below it they are taken for noise"
    )
    least_partial_confidence: float = Field(
        0.0, ge=0, lt=1, description="the same while it lasts: its first words may be unsure alone"
    )

    def confidence(self, posterior: float) -> float:
        """Return how likely a word is right whose tokens have this mean posterior (Platt 1999)."""
        odds = math.log(max(posterior, 1e-6)) - math.log(max(1 - posterior, 1e-6))
        return 1 / (1 + math.exp(-(self.confidence_slope * odds + self.confidence_offset)))


class _Search:
    """A running search of flashlight's, which cannot be copied."""

    def __init__(self, options: Any, lexicon: Lexicon, blank: int) -> None:
        from flashlight.lib.text.decoder import LexiconDecoder

        self.decoder = LexiconDecoder(
            *(options, lexicon.trie, lexicon.language_model, lexicon.silence, blank),
            *(lexicon.unknown, [], False),
        )
        self.steps = 0
        self.decoder.decode_begin()

    def feed(self, log_probs: Tensor) -> None:
        log_probs = log_probs.to(torch.float32).contiguous()
        self.decoder.decode_step(log_probs.data_ptr(), *log_probs.shape)
        self.steps += len(log_probs)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The words of a segment as they may have been, and the path that says so."""

    score: float
    text: tuple[str, ...]
    hypothesis: Any


@dataclass(frozen=True)
class BeamState:
    """Where a stream stands: timesteps before the segment, and the segment's posteriors so far.

    ``alternatives`` are the best readings of all that came before the segment, and ``read`` is what
    the recurrent language model remembers of them.

    ``search`` has heard these posteriors and saves hearing them again; it is only ever a shortcut.
    A state that is kept while the stream goes on finds that the search has gone on, too, and makes
    a new one.
    """

    before: int = 0
    heard: tuple[Tensor, ...] = ()
    steps: int = 0
    blanks: int = 0
    spoken: bool = False
    alternatives: tuple[Alternative, ...] = (Alternative("", 0.0),)
    read: ReadState | None = None
    search: _Search | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return replace(self, heard=copy.deepcopy(self.heard, memo), search=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "search": None}


class BeamDecoder:
    """Log-posteriors to words, chunk by chunk; any chunking gives the same words."""

    def __init__(
        self,
        tokens: Tokens,
        step_seconds: float,
        lexicon: Lexicon,
        config: BeamConfig,
        *,
        nbest: int = 1,
        reader: Reader | None = None,
    ) -> None:
        from flashlight.lib.text.decoder import CriterionType, LexiconDecoderOptions

        self._tokens = tokens
        self._step_seconds = step_seconds
        self._lexicon = lexicon
        self._config = config
        self._nbest = nbest
        self._reader = reader if config.reading_weight else None
        self._pause = max(1, round(config.pause_seconds / step_seconds))
        self._longest = max(1, round(config.longest_seconds / step_seconds))
        self._options = LexiconDecoderOptions(
            beam_size=config.beam_size,
            beam_size_token=lexicon.most_columns(config.beam_size_token),
            beam_threshold=config.beam_threshold,
            lm_weight=config.lm_weight,
            word_score=config.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )

    def initial_state(self) -> BeamState:
        """Return the state before the first timestep."""
        return BeamState(read=self._reader.initial_state() if self._reader else None)

    def __call__(self, log_probs: Tensor, state: BeamState) -> tuple[list[Word], BeamState]:
        """Take ``log_probs (T, V)``; return the words of the segments that ended."""
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
                state = self._hear(log_probs[start : step + 1], state)
                ended, state = self.finish(state)
                words += ended
                start = step + 1
        return words, self._hear(log_probs[start:], state)

    def partial(self, state: BeamState) -> list[Word]:
        """Return the segment's words as they look now, without one that is still being said."""
        if not state.spoken:
            return []
        search = self._search_of(state)
        words = self._words(search.decoder.get_best_hypothesis(0), state)
        return words if _are_sure(words, self._config.least_partial_confidence) else []

    def finish(self, state: BeamState) -> tuple[list[Word], BeamState]:
        """End the segment: return its words, and the state after them."""
        words = []
        if state.spoken:
            search = self._search_of(state)
            if self._tokens.space is not None:
                # A word ends with a space, which nobody says at the end: give it away.
                end = torch.full((1, len(self._tokens)), NEVER)
                end[0, [self._tokens.blank, self._tokens.space]] = math.log(0.5)
                search.feed(self._emissions(end))
            search.decoder.decode_end()
            readings = self._readings(search.decoder.get_all_final_hypothesis(), state.read)
            words = self._words(readings[0].hypothesis, state) if readings else []
            if _are_sure(words, self._config.least_confidence):
                state = self._remember(readings, state)
            else:
                words = []
        return words, BeamState(
            before=state.before + state.steps, alternatives=state.alternatives, read=state.read
        )

    def _readings(self, found: Sequence[Any], read: ReadState | None) -> list[_Reading]:
        """Return what a segment may have been, the best first, each text once."""
        readings: dict[tuple[str, ...], _Reading] = {}
        most = max(self._nbest, self._config.readings if self._reader else 1)
        for hypothesis in found:
            entries = (entry for entry in hypothesis.words if entry >= 0)
            text = tuple(word for entry in entries for word, _ in self._lexicon.words_of(entry))
            readings.setdefault(text, _Reading(hypothesis.score, text, hypothesis))
            if len(readings) == most:
                break
        if self._reader is None or read is None:
            return [*readings.values()]
        spoken = self._reader.score([*readings], read)
        judged = [
            replace(reading, score=self._judged(reading, scores))
            for reading, scores in zip(readings.values(), spoken, strict=True)
        ]
        return sorted(judged, key=lambda reading: -reading.score)

    def _judged(self, reading: _Reading, scores: Sequence[float]) -> float:
        """Return a reading's score when its words' ``scores`` by the reader count, too.

        A hotword is at least a rare word to the reader, as it is to the search.
        """
        config, rare = self._config, RARE * math.log(10)
        total = sum(
            max(score, rare) if word in self._lexicon.hotwords else score
            for word, score in zip(reading.text, scores, strict=True)
        )
        score: float = reading.score + config.reading_weight * total
        if config.reading_lm_weight is not None:
            lm_score = reading.hypothesis.lmScore
            score += (config.reading_lm_weight - config.lm_weight) * lm_score
        if config.reading_word_score is not None:
            score += (config.reading_word_score - config.word_score) * len(reading.text)
        return score

    def _remember(self, readings: Sequence[_Reading], state: BeamState) -> BeamState:
        """Return the state that knows of the segment's readings."""
        if self._reader and state.read is not None and readings:
            state = replace(state, read=self._reader.read(readings[0].text, state.read))
        if self._nbest > 1:
            state = replace(state, alternatives=self._join(state.alternatives, readings))
        return state

    @property
    def unusable_hotwords(self) -> Sequence[tuple[Hotword, str]]:
        """Hotwords that have no effect, each with the reason."""
        return self._lexicon.unusable

    def alternatives(self, state: BeamState) -> tuple[Alternative, ...]:
        """Return the best readings of all finished segments, if more than one is kept."""
        return state.alternatives if self._nbest > 1 else ()

    def _join(
        self, before: tuple[Alternative, ...], readings: Sequence[_Reading]
    ) -> tuple[Alternative, ...]:
        """Return the best pairs of what came before and the readings of a segment."""
        pairs = [
            Alternative(" ".join([old.text, *reading.text]).strip(), old.score + reading.score)
            for old in before
            for reading in readings[: self._nbest]
        ]
        return tuple(nlargest(self._nbest, pairs, key=lambda pair: pair.score)) or before

    def _hear(self, log_probs: Tensor, state: BeamState) -> BeamState:
        if not len(log_probs):
            return state
        search = self._search_of(state)
        search.feed(self._emissions(log_probs))
        return replace(
            state,
            heard=(*state.heard, log_probs),
            steps=state.steps + len(log_probs),
            search=search,
        )

    def _search_of(self, state: BeamState) -> _Search:
        """Return a search that has heard just what ``state`` has."""
        if state.search is not None and state.search.steps == state.steps:
            return state.search
        search = _Search(self._options, self._lexicon, self._tokens.blank)
        if state.heard:
            search.feed(self._emissions(torch.cat(state.heard)))
        return search

    def _emissions(self, log_probs: Tensor) -> Tensor:
        return self._lexicon.emissions(log_probs, self._config.lm_weight)

    def _words(self, hypothesis: Any, state: BeamState) -> list[Word]:
        """Read words off a path; each is noted at the timestep of its closing space."""
        log_probs = torch.cat(state.heard)
        found: list[Word] = []
        letters: list[tuple[int, int]] = []
        # The path has a place before the first timestep.
        path = zip(hypothesis.tokens, hypothesis.words, strict=True)
        for step, (token, entry) in enumerate(path, start=-1):
            letter = self._lexicon.token_of(token)
            if 0 <= step < state.steps and letter not in (None, self._tokens.blank):
                letters.append((step, letter))
            if entry >= 0:
                for word, size in self._lexicon.words_of(entry):
                    said, letters = _first(letters, size)
                    if not said:
                        continue
                    posteriors = [float(log_probs[at, letter].exp()) for at, letter in said]
                    found.append(
                        Word(
                            word,
                            start=(state.before + said[0][0]) * self._step_seconds,
                            end=(state.before + said[-1][0] + 1) * self._step_seconds,
                            confidence=self._config.confidence(sum(posteriors) / len(posteriors)),
                        )
                    )
                letters = []
        return found


def _are_sure(words: Sequence[Word], least: float) -> bool:
    """Whether words have this mean confidence; those that noise resembles have little."""
    return sum(word.confidence for word in words) >= least * len(words)


def _first(
    letters: list[tuple[int, int]], size: int | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Split ``letters``, each with its timestep, behind the first ``size`` tokens; None: all.

    A token lasts for as long as it follows itself in the next timestep, as CTC has it.
    """
    if size is None:
        return letters, []
    tokens = 0
    for place, (step, letter) in enumerate(letters):
        if not place or letters[place - 1] != (step - 1, letter):
            tokens += 1
        if tokens > size:
            return letters[:place], letters[place:]
    return letters, []


def has_beam(folder: Path) -> bool:
    """Whether a model folder has what a beam search needs."""
    return (folder / SETTINGS).is_file()


def load_beam(
    folder: Path,
    tokens: Tokens,
    step_seconds: float,
    *,
    hotwords: Sequence[Hotword] = (),
    nbest: int = 1,
) -> BeamDecoder:
    """Return the beam search of a model folder; raises ModelError if it has none that works."""
    if find_spec("flashlight") is None:
        raise BeamMissing(f"the beam search needs flashlight-text: {INSTALL}; or decode greedy")
    path = folder / SETTINGS
    try:
        config = BeamConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): decode greedy") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    lexicon = Lexicon(folder, tokens, hotwords)
    reader = load_reader(folder) if config.reading_weight else None
    if config.reading_weight and not reader:
        raise ModelError(f"{folder / WEIGHTS}: missing, but {SETTINGS} has reading_weight for it")
    return BeamDecoder(tokens, step_seconds, lexicon, config, nbest=nbest, reader=reader)
