"""Stream: one listener of a recognizer, and the value that is all it remembers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from persistent_lstm import LSTMState

from .audio.polyphase import ResamplingState, checked_rate, convert, flush, heard_at
from .decoding import BeamState, GreedyState
from .errors import AudioError
from .frontend import FrontendState
from .samples import as_samples
from .transcript import Alternative, Transcript, Word

if TYPE_CHECKING:
    from .recognizer import Recognizer

__all__ = ["Stream", "StreamState", "Timings", "clipped"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that is remembered of one listener. A value: copy it, pickle it, go on from it twice.

    ``samples`` counts what the model has heard, ``resampling`` holds back what is yet to be
    converted to its rate. ``words`` are those that a ``Stream`` has completed, and ``finished``
    says that it takes no more.
    """

    frontend: FrontendState
    lstm: LSTMState
    decoder: GreedyState | BeamState
    samples: int = 0
    resampling: ResamplingState | None = None
    words: tuple[Word, ...] = ()
    finished: bool = False


@dataclass
class Timings:
    """Seconds spent in each stage, added up over calls."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time inside the block to stage ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class Stream:
    """One listener: ``accept`` samples as they come, read ``partial`` any time, then ``finish``.

    ``state`` is all that it remembers: kept, it can be gone on from by ``Recognizer.stream``.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        timings: Timings | None = None,
        *,
        state: StreamState | None = None,
    ) -> None:
        self._recognizer = recognizer
        self._timings = timings
        self.state = recognizer.initial_state() if state is None else state

    def reset(self) -> None:
        """Forget everything that was heard, as if new."""
        self.state = self._recognizer.renewed(self.state)

    def accept(self, samples: ArrayLike, sample_rate: int | None = None) -> list[Word]:
        """Hear ``samples (n,)``: mono, floats in [-1, 1] or int16, any number of them.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Returns the words completed by them. Raises AudioError for NaN, infinity, other shapes and
        rates; the stream then stands where it stood before the call.
        """
        state, model_rate = self.state, self._recognizer.sample_rate
        if state.finished:
            raise AudioError("the stream is finished: call reset() or begin a new stream")
        rate = model_rate if sample_rate is None else checked_rate(sample_rate)
        heard = heard_at(rate, model_rate, state.samples, state.resampling)
        values = as_samples(samples, heard, rate)
        if rate != model_rate or state.resampling is not None:
            ready, resampling = convert(values.numpy(), rate, model_rate, state.resampling)
            values, state = torch.from_numpy(ready), replace(state, resampling=resampling)
        return self._advance(values, state)

    def _advance(self, values: torch.Tensor, state: StreamState) -> list[Word]:
        words, state = self._recognizer.advance(values, state, self._timings)
        self.state = replace(state, words=(*state.words, *words)) if words else state
        return words

    def partial(self) -> Transcript:
        """Return all words so far; those that ``accept`` has not returned may still change."""
        return self._transcript([] if self.state.finished else self._recognizer.partial(self.state))

    def finish(self) -> Transcript:
        """Return the whole transcript; a second call returns it again."""
        if not self.state.finished:
            if self.state.resampling is not None:
                rest = torch.from_numpy(flush(self.state.resampling))
                self._advance(rest, replace(self.state, resampling=None))
            words, state = self._recognizer.finish(self.state, self._timings)
            self.state = replace(state, words=(*state.words, *words), finished=True)
        return self._transcript([], self._recognizer.alternatives(self.state))

    def _transcript(
        self, more: list[Word], alternatives: tuple[Alternative, ...] = ()
    ) -> Transcript:
        duration = self.state.samples / self._recognizer.sample_rate
        words = (clipped(word, duration) for word in [*self.state.words, *more])
        return Transcript(tuple(words), duration, alternatives)


def clipped(word: Word, duration: float) -> Word:
    """Clip a word that the closing silence carried past the end of the audio."""
    if word.end <= duration:
        return word
    return Word(word.text, min(word.start, duration), duration, word.confidence)
