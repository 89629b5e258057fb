"""A stream of audio: samples in, words out, all of its state one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticStage, AcousticState
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, position_at
from .decoding import DecoderState, WordDecoder
from .errors import AudioError
from .hotwords import Hotword
from .samples import as_samples
from .text.format import FormatState, Formatter
from .timings import Timings
from .transcript import Alternative, Token, Transcript, Word, clipped

__all__ = ["Stages", "Stream", "StreamState"]


class Stages(Protocol):
    """A recognizer, as its streams use it: its stages, and the state before the first sample."""

    acoustic: AcousticStage
    words: WordDecoder
    formatter: Formatter | None
    sample_rate: int

    def initial_state(
        self, hotwords: Iterable[Hotword | str] = (), *, partials: bool = True
    ) -> StreamState:
        """Return the state of a new stream."""

    def chunk_samples(self, chunk_ms: int) -> int:
        """Return how many samples ``chunk_ms`` milliseconds have."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of a stream. A value: copy it, pickle it, continue from it twice.

    ``resampling`` holds back what is yet to be converted to the model's rate. ``words`` are those
    that a ``Stream`` has completed, ``tokens`` what of them is written for good, and ``finished``
    says that it accepts no more. ``text`` is the formatter's state; None where text is plain.
    """

    acoustic: AcousticState
    decoder: DecoderState
    resampling: ResamplingState | None = None
    words: tuple[Word, ...] = ()
    finished: bool = False
    text: FormatState | None = None
    tokens: tuple[Token, ...] = ()

    @property
    def samples(self) -> int:
        """Samples that the model has received, the closing silence left out."""
        return self.acoustic.samples


class Stream:
    """A stream of audio: ``accept`` samples, read ``partial`` any time, then ``finish``.

    ``state`` is all of its state: ``Recognizer.stream`` continues from a copy of it.
    """

    def __init__(
        self,
        recognizer: Stages,
        timings: Timings | None = None,
        *,
        state: StreamState | None = None,
    ) -> None:
        self._recognizer = recognizer
        self._timings = timings or Timings()
        self.state = recognizer.initial_state() if state is None else state

    def reset(self) -> None:
        """Reset the state, as if new; the stream's hotwords stay."""
        decoder = self._recognizer.words.renewed(self.state.decoder)
        self.state = replace(self._recognizer.initial_state(), decoder=decoder)

    def accept(self, samples: ArrayLike, sample_rate: int | None = None) -> list[Word]:
        """Accept ``samples (n,)``: mono, floats in [-1, 1] or int16, any number of them.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Returns the words completed by them. Raises AudioError for NaN, infinity, other shapes and
        rates; the stream then stands where it stood before the call.
        """
        state, model_rate = self.state, self._recognizer.sample_rate
        if state.finished:
            raise AudioError("the stream is finished: call reset() or begin a new stream")
        rate = model_rate if sample_rate is None else checked_rate(sample_rate)
        position = position_at(rate, model_rate, state.samples, state.resampling)
        values = as_samples(samples, position, rate)
        if rate != model_rate or state.resampling is not None:
            ready, resampling = convert(values.numpy(), rate, model_rate, state.resampling)
            values, state = torch.from_numpy(ready), replace(state, resampling=resampling)
        words = self._advance(values, state)
        self._format(words)
        return words

    def _advance(self, values: torch.Tensor, state: StreamState) -> list[Word]:
        output, acoustic = self._recognizer.acoustic(values, state.acoustic, self._timings)
        with self._timings.stage("decoder"):
            words, decoder = self._recognizer.words(output, state.decoder)
        self.state = replace(
            state, acoustic=acoustic, decoder=decoder, words=(*state.words, *words)
        )
        return words

    def _format(self, words: list[Word], *, last: bool = False) -> None:
        """Write words that are complete as far as what follows cannot change how."""
        formatter, text = self._recognizer.formatter, self.state.text
        if formatter is None or text is None or not (words or last):
            return
        with self._timings.stage("text"):
            if last:
                tokens, text = formatter.end_segment(text, words)
            else:
                tokens, text = formatter.read(words, text)
        self.state = replace(self.state, text=text, tokens=(*self.state.tokens, *tokens))

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
                self._format(self._advance(rest, replace(self.state, resampling=None)))
            if self.state.samples:
                self._end()
            self.state = replace(self.state, finished=True)
        return self._transcript([], self._recognizer.words.alternatives(self.state.decoder))

    def _end(self) -> None:
        """Flush: feed the closing silence, and take the words that were still open."""
        before = self.state.acoustic
        ending = self._advance(self._recognizer.acoustic.closing_silence(), self.state)
        with self._timings.stage("decoder"):
            last, decoder = self._recognizer.words.finish(self.state.decoder)
        words = (*self.state.words, *last)
        self.state = replace(self.state, acoustic=before, decoder=decoder, words=words)
        self._format([clipped(word, self._duration) for word in (*ending, *last)], last=True)

    @property
    def _duration(self) -> float:
        return self.state.samples / self._recognizer.sample_rate

    def _transcript(
        self, more: list[Word], alternatives: tuple[Alternative, ...] = ()
    ) -> Transcript:
        duration = self._duration
        words = tuple(clipped(word, duration) for word in self.state.words)
        following = [clipped(word, duration) for word in more]
        tokens = self._tokens(following)
        return Transcript((*words, *following), duration, alternatives, tokens)

    def _tokens(self, following: list[Word]) -> tuple[Token, ...] | None:
        """Return all tokens, as if nothing came behind the words ``following``."""
        formatter, text = self._recognizer.formatter, self.state.text
        if formatter is None or text is None:
            return None
        if self.state.finished:
            return self.state.tokens
        return (*self.state.tokens, *formatter.preview(following, text))
