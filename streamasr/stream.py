"""Stream: one listener of a recognizer, and the value that is all it remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticState
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, heard_at
from .decoding import DecoderState
from .errors import AudioError
from .samples import as_samples
from .timings import Timings
from .transcript import Alternative, Transcript, Word, clipped

if TYPE_CHECKING:
    from .recognizer import Recognizer

__all__ = ["Stream", "StreamState"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that is remembered of one listener. A value: copy it, pickle it, go on from it twice.

    ``resampling`` holds back what is yet to be converted to the model's rate. ``words`` are those
    that a ``Stream`` has completed, and ``finished`` says that it takes no more.
    """

    acoustic: AcousticState
    decoder: DecoderState
    resampling: ResamplingState | None = None
    words: tuple[Word, ...] = ()
    finished: bool = False

    @property
    def samples(self) -> int:
        """Samples that the model has heard, the closing silence left out."""
        return self.acoustic.samples


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
        self._timings = timings or Timings()
        self.state = recognizer.initial_state() if state is None else state

    def reset(self) -> None:
        """Forget everything that was heard, as if new."""
        decoder = self._recognizer.words.renewed(self.state.decoder)
        self.state = replace(self._recognizer.initial_state(), decoder=decoder)

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
        output, acoustic = self._recognizer.acoustic(values, state.acoustic, self._timings)
        with self._timings.stage("decoder"):
            words, decoder = self._recognizer.words(output, state.decoder)
        self.state = replace(
            state, acoustic=acoustic, decoder=decoder, words=(*state.words, *words)
        )
        return words

    def partial(self) -> Transcript:
        """Return all words so far; those that ``accept`` has not returned may still change."""
        if self.state.finished:
            return self._transcript([])
        return self._transcript(self._recognizer.words.partial(self.state.decoder))

    def finish(self) -> Transcript:
        """Return the whole transcript; a second call returns it again."""
        if not self.state.finished:
            if self.state.resampling is not None:
                rest = torch.from_numpy(flush(self.state.resampling))
                self._advance(rest, replace(self.state, resampling=None))
            if self.state.samples:
                self._end()
            self.state = replace(self.state, finished=True)
        return self._transcript([], self._recognizer.words.alternatives(self.state.decoder))

    def _end(self) -> None:
        """Hear the closing silence, and take the words that were still open."""
        before = self.state.acoustic
        self._advance(self._recognizer.acoustic.closing_silence(), self.state)
        with self._timings.stage("decoder"):
            last, decoder = self._recognizer.words.finish(self.state.decoder)
        words = (*self.state.words, *last)
        self.state = replace(self.state, acoustic=before, decoder=decoder, words=words)

    def _transcript(
        self, more: list[Word], alternatives: tuple[Alternative, ...] = ()
    ) -> Transcript:
        duration = self.state.samples / self._recognizer.sample_rate
        words = (clipped(word, duration) for word in [*self.state.words, *more])
        return Transcript(tuple(words), duration, alternatives)
