"""CTC beam search with a lexicon and an n-gram language model, by flashlight-text and KenLM.

A lexicon beam search (Collobert et al. 2016, arXiv:1609.03193) over segments: a segment ends where
the model has heard nothing but blanks for a while, and its words become final. Where it ends
depends on the posteriors alone, never on how they were cut into chunks, and memory is bounded by
its longest length.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ..errors import ModelError
from ..model import Tokens
from ..transcript import Word

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamMissing",
    "BeamState",
    "Lexicon",
    "has_beam",
    "load_beam",
]

SETTINGS, LANGUAGE_MODEL, WORDS = "beam.json", "lm.bin", "lexicon.txt"
UNKNOWN = "<unk>"
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
    pause_seconds: float = Field(0.6, gt=0, description="of blanks that end a segment")
    longest_seconds: float = Field(20.0, gt=0, description="of a segment")
    blank_posterior: float = Field(0.5, gt=0, lt=1, description="above it nothing was said")


class Lexicon:
    """Words and how they are spelled in tokens, with the language model that scores them.

    Args:
        folder: holds ``lm.bin``, a KenLM model, and ``lexicon.txt``, a word a line.

    Raises:
        ModelError: a file is missing or damaged.
    """

    def __init__(self, folder: Path, tokens: Tokens) -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        model, words = folder / LANGUAGE_MODEL, folder / WORDS
        self.words = _read(words).split()
        _read(model, 0)
        self._dictionary = Dictionary()
        for word in (*self.words, UNKNOWN):
            self._dictionary.add_entry(word)
        self.unknown: int = self._dictionary.get_index(UNKNOWN)
        self._dictionary.set_default_index(self.unknown)
        try:
            self.lm = KenLM(str(model), self._dictionary)
        except RuntimeError as error:
            raise ModelError(f"{model}: not a KenLM model, or damaged") from error
        self.trie = Trie(len(tokens), tokens.space)
        start = self.lm.start(False)
        for index, word in enumerate(self.words):
            try:
                spelling = [*tokens.encode(word), tokens.space]
            except KeyError as error:
                raise ModelError(f"{words}: {word!r} has {error}, which is no token") from error
            _, score = self.lm.score(start, index)
            self.trie.insert(spelling, index, score)
        # A prefix is worth the best word it can become (Collobert et al.).
        self.trie.smear(SmearingMode.MAX)


def _read(path: Path, length: int = -1) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(length)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); a beam search needs {LANGUAGE_MODEL}, "
            f"{WORDS} and {SETTINGS} in the model folder"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text") from error


class _Search:
    """A running search of flashlight's, which cannot be copied."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.steps = 0
        decoder.decode_begin()

    def feed(self, log_probs: Tensor) -> None:
        log_probs = log_probs.to(torch.float32).contiguous()
        self.decoder.decode_step(log_probs.data_ptr(), *log_probs.shape)
        self.steps += len(log_probs)


@dataclass(frozen=True)
class BeamState:
    """Where a stream stands: timesteps before the segment, and the segment's posteriors so far.

    ``search`` has heard these posteriors and saves hearing them again; it is only ever a shortcut.
    A state that is kept while the stream goes on finds that the search has gone on, too, and makes
    a new one.
    """

    before: int = 0
    heard: tuple[Tensor, ...] = ()
    steps: int = 0
    blanks: int = 0
    spoken: bool = False
    search: _Search | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return replace(self, heard=copy.deepcopy(self.heard, memo), search=None)


class BeamDecoder:
    """Log-posteriors to words, chunk by chunk; any chunking gives the same words."""

    def __init__(
        self, tokens: Tokens, step_seconds: float, lexicon: Lexicon, config: BeamConfig
    ) -> None:
        from flashlight.lib.text.decoder import CriterionType, LexiconDecoderOptions

        self._tokens = tokens
        self._step_seconds = step_seconds
        self._lexicon = lexicon
        self._config = config
        self._pause = max(1, round(config.pause_seconds / step_seconds))
        self._longest = max(1, round(config.longest_seconds / step_seconds))
        self._options = LexiconDecoderOptions(
            beam_size=config.beam_size,
            beam_size_token=min(config.beam_size_token, len(tokens)),
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
        return BeamState()

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
        return self._words(search.decoder.get_best_hypothesis(0), state)

    def finish(self, state: BeamState) -> tuple[list[Word], BeamState]:
        """End the segment: return its words, and the state after them."""
        words = []
        if state.spoken:
            search = self._search_of(state)
            # A word ends with a space, which nobody says at the end: give it away.
            end = torch.full((1, len(self._tokens)), -1e4)
            end[0, [self._tokens.blank, self._tokens.space]] = math.log(0.5)
            search.feed(end)
            search.decoder.decode_end()
            found = search.decoder.get_all_final_hypothesis()
            words = self._words(found[0], state) if found else []
        return words, BeamState(before=state.before + state.steps)

    def _hear(self, log_probs: Tensor, state: BeamState) -> BeamState:
        if not len(log_probs):
            return state
        search = self._search_of(state)
        search.feed(log_probs)
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
        from flashlight.lib.text.decoder import LexiconDecoder

        lexicon = self._lexicon
        search = _Search(
            LexiconDecoder(
                *(self._options, lexicon.trie, lexicon.lm, self._tokens.space),
                *(self._tokens.blank, lexicon.unknown, [], False),
            )
        )
        if state.heard:
            search.feed(torch.cat(state.heard))
        return search

    def _words(self, hypothesis: Any, state: BeamState) -> list[Word]:
        """Read words off a path; each is noted at the timestep of its closing space."""
        log_probs = torch.cat(state.heard)
        silent = (self._tokens.blank, self._tokens.space)
        found: list[Word] = []
        letters: list[tuple[int, int]] = []
        # The path has a place before the first timestep.
        path = zip(hypothesis.tokens, hypothesis.words, strict=True)
        for step, (token, word) in enumerate(path, start=-1):
            if 0 <= step < state.steps and token not in silent:
                letters.append((step, token))
            if word >= 0 and letters:
                posteriors = [float(log_probs[at, letter].exp()) for at, letter in letters]
                found.append(
                    Word(
                        self._lexicon.words[word],
                        start=(state.before + letters[0][0]) * self._step_seconds,
                        end=(state.before + letters[-1][0] + 1) * self._step_seconds,
                        confidence=sum(posteriors) / len(posteriors),
                    )
                )
                letters = []
        return found


def has_beam(folder: Path) -> bool:
    """Whether a model folder has what a beam search needs."""
    return (folder / SETTINGS).is_file()


def load_beam(folder: Path, tokens: Tokens, step_seconds: float) -> BeamDecoder:
    """Return the beam search of a model folder; raises ModelError if it has none that works."""
    if find_spec("flashlight") is None:
        raise BeamMissing(f"the beam search needs flashlight-text: {INSTALL}; or decode greedy")
    path = folder / SETTINGS
    try:
        config = BeamConfig.model_validate_json(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    return BeamDecoder(tokens, step_seconds, Lexicon(folder, tokens), config)
