"""Decode by a beam search with a lexicon and an n-gram model, rescored by a recurrent one.

The search runs over segments. A segment ends where the posteriors have been blank for a while, and
its words become final. Where it ends depends on the posteriors alone, never on their chunks, and
memory is bounded by its longest length. The best hypotheses of a segment are rescored by a
recurrent language model, if the model folder has one, whose state carries over segments.

Where the acoustic model has a second pass, what is searched are posteriors that know what follows
(the cascade of Narayanan et al. 2020, arXiv:2010.14606): with partials as soon as it is known, else
once a segment has ended. Partials go on from there by a narrower search of the first pass, which
only they see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import chain, repeat, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..acoustic import SecondPass, SecondPassInput, SecondPassState
from ..hotwords import Hotword
from ..language import OwnText, Rescorer, RescorerState
from ..tokens import Tokens
from ..transcript import Alternative, Word
from .bias import Bias, build_bias
from .candidates import (
    Candidate,
    confidences,
    is_confident,
    rescorer_score,
    with_own_text,
)
from .graph import SearchGraph
from .mixture import Mixture
from .pieces import Cutter
from .search import Search, SearchState, WordSpan
from .settings import BeamConfig

__all__ = ["BeamDecoder", "BeamState"]

_NEVER = np.float32(-1e4)


@dataclass(frozen=True)
class BeamState:
    """The state of a stream. A value: copy it, pickle it, continue from it twice.

    Attributes:
        search: the hypotheses of the segment, but for the timesteps that wait for a second pass.
        before, steps: timesteps before the segment, and its own.
        blanks: timesteps since the last one that was not blank.
        spoken: whether any timestep of the segment was not blank.
        alternatives: the best hypotheses for all segments before.
        rescorer: the recurrent language model's state after these.
        bias: the stream's hotwords.
        log_probs: those of the first pass, ``(T, V)`` each, that wait.
        encoded: ``(T, E)`` each, what the second pass will read of a whole segment.
        second: the state of the second pass that runs while the segment lasts.
        ahead: the hypotheses of partials, after the timesteps that wait, too.
        partials: whether these are wanted.
    """

    search: SearchState
    before: int = 0
    steps: int = 0
    blanks: int = 0
    spoken: bool = False
    alternatives: tuple[Alternative, ...] = (Alternative("", 0.0),)
    rescorer: RescorerState | None = None
    bias: Bias | None = None
    log_probs: tuple[NDArray[np.float32], ...] = ()
    encoded: tuple[Tensor, ...] = ()
    second: SecondPassState | None = None
    ahead: SearchState | None = None
    partials: bool = True


class BeamDecoder:
    """Decode log-posteriors to words, chunk by chunk; any chunking gives the same words.

    Immutable: threads share one. ``unusable_hotwords`` are those that have no effect, each with
    the reason. ``second`` is the second pass, run where ``encoded`` is given.
    ``own`` is somebody's text that the language models are mixed with.
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
        rescorer: Rescorer | None = None,
        units: NDArray[np.int32] | None = None,
        second: SecondPass | None = None,
        own: OwnText | None = None,
    ) -> None:
        self._second = second
        self._mixture = Mixture(own, graph) if own else None
        self._tokens = tokens
        self._step_seconds = step_seconds
        self._graph = graph
        self._rules = rules or {}
        self._config = config
        self._nbest = nbest
        self._rescorer = rescorer if config.rescoring_weight else None
        self._settle = round(config.partial_seconds / step_seconds)
        self._cut = Cutter(config, tokens.blank, step_seconds)
        # What a text helps stands in a tree of its own: beginnings take room in both.
        room = 1 if own is None else 2
        self._search, self._ahead = (
            Search(
                graph,
                beam=beam * room,
                threshold=threshold,
                tokens=config.beam_size_token,
                lm_weight=config.lm_weight,
                word_score=config.word_score,
                units=units,
                silence=tokens.space or 0,
            )
            for beam, threshold in (
                (config.beam_size, config.beam_threshold),
                (config.partial_beam_size, config.partial_beam_threshold),
            )
        )
        self._bias, self.unusable_hotwords = self.bias(hotwords)

    def bias(self, hotwords: Sequence[Hotword]) -> tuple[Bias | None, list[tuple[Hotword, str]]]:
        """Return hotwords as ``initial_state`` takes them, and those unusable, with the reason."""
        if not hotwords and self._mixture is None:
            return None, []
        return build_bias(hotwords, self._graph, self._tokens, self._rules, self._mixture)

    def initial_state(self, bias: Bias | None = None, *, partials: bool = True) -> BeamState:
        """Return the state before the first timestep, with the stream's own hotwords if given.

        Without ``partials`` a second pass runs once, as a segment ends, which takes less.
        """
        return BeamState(
            self._search.initial_state(),
            rescorer=self._rescorer.initial_state() if self._rescorer else None,
            bias=bias or self._bias,
            partials=partials,
        )

    def __call__(
        self,
        log_probs: Tensor,
        state: BeamState,
        encoded: Tensor | None = None,
        second: Sequence[tuple[Tensor, SecondPassState]] = (),
    ) -> tuple[list[Word], BeamState]:
        """Decode ``log_probs (T, V)``; return the words of the segments that ended.

        ``encoded (T, E)`` is what a second pass reads; without it there is none. ``second`` is what
        the second pass has made of ``second_inputs``, if that was done beforehand.
        """
        words: list[Word] = []
        pieces = self._cut(log_probs, state.blanks, state.spoken, state.steps)
        for piece, known in zip_longest(pieces, second):
            state = replace(state, blanks=piece.blanks, spoken=piece.spoken)
            state = self._advance(log_probs, encoded, piece.part, state, known)
            if piece.ended:
                ended, state = self.finish(state)
                words += ended
        return words, state

    def second_inputs(
        self, log_probs: Tensor, state: BeamState, encoded: Tensor | None, *, ended: bool
    ) -> list[SecondPassInput]:
        """Return what the second pass reads for a call: for many streams it is run in one.

        ``ended`` says that ``finish`` follows. Empty where the second pass waits for the end.
        """
        if self._second is None or encoded is None or not state.partials:
            return []
        fresh = self._second.initial_state()
        *pieces, last = self._cut(log_probs, state.blanks, state.spoken, state.steps)
        befores = chain([state.second or fresh], repeat(fresh))
        return [
            SecondPassInput(encoded[piece.part], before, piece.ended)
            for piece, before in zip([*pieces, replace(last, ended=ended)], befores, strict=False)
        ]

    def partial(self, state: BeamState) -> list[Word]:
        """Return the segment's words that are likely to stay, chosen as if it ended here.

        Those are the best hypothesis' first words: as far as hypotheses that agree with it have
        ``partial_share`` of the probability of those that agreed a word before. A state without
        ``partials`` has none.
        """
        if not state.spoken or not state.partials:
            return []
        words, firm = self._words(self._stable_prefix(state), state), self._firm(state)
        sure = is_confident(confidences(words), self._config.least_partial_confidence)
        return words if sure and len(words) > len(firm) else firm

    def firm(self, state: BeamState) -> int:
        """Return how many of the first words of ``partial`` can no longer change."""
        return len(self._firm(state)) if state.spoken and state.partials else 0

    def _firm(self, state: BeamState) -> list[Word]:
        """Return the words that all hypotheses share, at the same times."""
        words = self._words(self._search.firm(state.search), state)
        # A segment of unsure words is dropped as a whole, firm ones included.
        return words if is_confident(confidences(words), self._config.least_confidence) else []

    def _stable_prefix(self, state: BeamState) -> tuple[WordSpan, ...]:
        """Return the best hypothesis' first words: those that have ended and that others share."""
        search, config = state.ahead or state.search, self._config
        # In the search's own order: the recurrent model would take most of a live stream's time.
        paths = self._search.best_paths(search, config.partial_hypotheses, state.bias)
        scores: dict[tuple[str, ...], float] = {}
        for path in paths:
            text = tuple(self._text(word, state.bias) for word in path.words)
            scores.setdefault(text, config.partial_scale * (path.score - paths[0].score))
        if not scores:
            return ()
        rest = [(math.exp(score), text) for text, score in scores.items()]
        mass = sum(share for share, _ in rest)
        for count, (word, span) in enumerate(zip(rest[0][1], paths[0].spans, strict=True)):
            rest = [(share, text) for share, text in rest if text[count : count + 1] == (word,)]
            agreeing = sum(share for share, _ in rest)
            ended = search.steps - 1 - span.last_step
            if agreeing < config.partial_share * mass or ended < self._settle:
                return paths[0].spans[:count]
            mass = agreeing
        return paths[0].spans

    def finish(self, state: BeamState) -> tuple[list[Word], BeamState]:
        """End the segment: return its words, and the state after them."""
        words = []
        if state.spoken:
            search = self._closed(self._flush(state), state)
            candidates = self.candidates(search, state)
            words = self._words(candidates[0].spans, state) if candidates else []
            if is_confident(confidences(words), self._config.least_confidence):
                state = self._carry(candidates, state)
            else:
                words = []
        return words, BeamState(
            self._search.initial_state(),
            before=state.before + state.steps,
            alternatives=state.alternatives,
            rescorer=state.rescorer,
            bias=state.bias,
            partials=state.partials,
        )

    def _flush(self, state: BeamState) -> SearchState:
        """Search what waits for the second pass, as the segment ends."""
        if self._second is None or not state.log_probs:
            return state.search
        if state.second is None:
            known = self._second.whole(torch.cat(state.encoded))
        else:
            known = self._second.finish(state.second)
        return self._mix(known, np.concatenate(state.log_probs), state)

    def _mix(self, second: Tensor, first: NDArray[np.float32], state: BeamState) -> SearchState:
        """Search the mean of the posteriors of both passes."""
        share = self._config.second_share
        mixed: NDArray[np.float32] = np.logaddexp(
            second.numpy() + np.log(share), first + np.log(max(1 - share, 1e-30))
        )
        return self._search.advance(mixed, state.search, state.bias)

    def _closed(self, search: SearchState, state: BeamState) -> SearchState:
        """Return the search at a segment's end: feed the space that ends a spelled word."""
        if self._tokens.space is None:
            return search
        end = np.full((1, len(self._tokens)), _NEVER, np.float32)
        end[0, [self._tokens.blank, self._tokens.space]] = math.log(0.5)
        return self._search.advance(end, search, state.bias)

    def candidates(
        self, search: SearchState, state: BeamState, most: int | None = None
    ) -> list[Candidate]:
        """Return the hypotheses for a segment that ends here, the best first, each text once.

        They are the ``most`` best before rescoring within ``rescoring_margin``, by default as many
        as are rescored at a segment's end.
        """
        config, found = self._config, dict[tuple[str, ...], Candidate]()
        mixture, rescores = self._mixture, self._rescorer or self._mixture
        margin = config.rescoring_margin
        most = most or max(self._nbest, config.rescored_hypotheses if rescores else 1)
        paths = self._search.best_paths(search, most, state.bias)
        for path in paths:
            behind = paths[0].score - path.score
            if margin is not None and behind > margin and len(found) >= self._nbest:
                break
            text = tuple(self._text(word, state.bias) for word in path.words)
            known = config.lm_weight * path.lm_score + config.word_score * len(text)
            candidate = Candidate(text, path.spans, path.score - known, path.lm_score)
            if mixture is not None:
                candidate = with_own_text(candidate, mixture, config.lm_weight)
            found.setdefault(text, candidate)
        candidates = [*found.values()]
        if self._rescorer is None or state.rescorer is None:
            # Without a text the search has put them in order.
            return sorted(candidates, key=lambda c: -c.score(config.rescoring) if mixture else 0)
        scores, states = self._rescorer.score([*found], state.rescorer)
        hot = state.bias.words if state.bias else frozenset()
        rescored = [
            replace(
                candidate,
                rescorer=rescorer_score(candidate.text, own, hot, mixture),
                rescorer_state=after,
            )
            for candidate, own, after in zip(candidates, scores, states, strict=True)
        ]
        return sorted(rescored, key=lambda candidate: -candidate.score(config.rescoring))

    def _carry(self, candidates: Sequence[Candidate], state: BeamState) -> BeamState:
        """Carry the rescorer's state, and the alternatives, over the segment's end."""
        if candidates and candidates[0].rescorer_state is not None:
            state = replace(state, rescorer=candidates[0].rescorer_state)
        if self._nbest > 1:
            state = replace(state, alternatives=self._join(state.alternatives, candidates))
        return state

    def alternatives(self, state: BeamState) -> tuple[Alternative, ...]:
        """Return the best hypotheses for all finished segments, if more than one is kept."""
        return state.alternatives if self._nbest > 1 else ()

    def _join(
        self, before: tuple[Alternative, ...], candidates: Sequence[Candidate]
    ) -> tuple[Alternative, ...]:
        """Return the best pairs of what came before and a segment's hypotheses."""
        weights = self._config.rescoring
        pairs = [
            Alternative(" ".join([old.text, *new.text]).strip(), old.score + new.score(weights))
            for old in before
            for new in candidates[: self._nbest]
        ]
        return tuple(nlargest(self._nbest, pairs, key=lambda pair: pair.score)) or before

    def _advance(
        self,
        log_probs: Tensor,
        encoded: Tensor | None,
        part: slice,
        state: BeamState,
        found: tuple[Tensor, SecondPassState] | None,
    ) -> BeamState:
        """Advance the segment by the timesteps of ``part``; the second pass has ``found`` more."""
        own = log_probs[part].numpy()
        if not len(own) and found is None:
            return state
        state = replace(state, steps=state.steps + len(own))
        if encoded is None or self._second is None:
            search = self._search.advance(own, self._flush(state), state.bias)
            return replace(state, search=search, log_probs=(), encoded=(), second=None, ahead=None)
        waiting = (*state.log_probs, own) if len(own) else state.log_probs
        if not state.partials:
            read = (*state.encoded, encoded[part].clone())  # not the whole batch
            return replace(state, log_probs=waiting, encoded=read)
        known, second = found or self._second(
            encoded[part], state.second or self._second.initial_state()
        )
        state = replace(state, log_probs=waiting, second=second)
        if not len(known):
            ahead = self._ahead.advance(own, state.ahead or state.search, state.bias)
            return replace(state, ahead=ahead)
        first = np.concatenate(waiting)
        search, rest = self._mix(known, first[: len(known)], state), first[len(known) :].copy()
        if not len(rest):
            return replace(state, search=search, ahead=None, log_probs=())
        ahead = self._ahead.advance(rest, search, state.bias)
        return replace(state, search=search, ahead=ahead, log_probs=(rest,))

    def _text(self, word: int, bias: Bias | None) -> str:
        size = len(self._graph.text_ends)
        if word < size or bias is None:
            return self._graph.word(word)
        return bias.added[word - size]

    def _words(self, spans: Sequence[WordSpan], state: BeamState) -> list[Word]:
        return [
            Word(
                self._text(span.word, state.bias),
                start=(state.before + span.first_step) * self._step_seconds,
                end=(state.before + span.last_step + 1) * self._step_seconds,
                confidence=self._config.confidence(span.posterior),
            )
            for span in spans
        ]
