"""What users import: a recognizer, its streams of recordings and its live sessions."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticStage, AcousticState
from .acoustic.model import Bundle, load_bundle
from .acoustic.stage import usable_device
from .audio.live import Block
from .audio.polyphase import ResamplingState, checked_rate, convert, flush, position_at
from .decoding import DecoderState, WordDecoder, choose_decoder
from .decoding.loading import has_beam
from .errors import AudioError, ConfigError, DegradedWarning
from .events import Event
from .hotwords import Hotword, as_hotwords
from .options import BackendName, DecoderName, RecognizerOptions, TextStyle
from .pipeline import LivePipeline
from .pretrained import PRETRAINED
from .samples import as_samples, rechunk
from .segment import EndpointConfig
from .sources import AudioInput, blocks_of
from .text.choice import choose_formatter
from .text.format import FormatState
from .timings import Timings
from .transcript import Alternative, Token, Transcript, Word, clipped

__all__ = [
    "DEFAULT_CHUNK_MS",
    "LISTEN_CHUNK_MS",
    "Listener",
    "Recognizer",
    "Stream",
    "StreamState",
    "degraded_message",
]

DEFAULT_CHUNK_MS = 320
LISTEN_CHUNK_MS = 80


def degraded_message(reason: str) -> str:
    """Return the warning for a recognizer that is ``degraded`` for this ``reason``."""
    return f"decoding is greedy, with far more errors than the model makes otherwise: {reason}"


class Recognizer:
    """A loaded model. Immutable, so threads may share one; each audio source has a ``Stream``.

    Its stages are ``acoustic``, from samples to log-posteriors, ``words``, from these to words, and
    ``formatter``, from these to text; None where it is plain.

    Processes may share one by fork where the model runs on the CPU; each of them then computes in
    one thread. Pickled, it is its ``options``: what unpickles it loads the model folder again.

    ``degraded`` is True where the model folder has a language model that cannot be used here, so
    that decoding falls back to greedy: ``decoder_reason`` has the reason, and so has a
    DegradedWarning that the constructor issues.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: RecognizerOptions | None = None,
    ) -> None:
        self.options = options = options or RecognizerOptions(os.fspath(bundle.folder))
        self.bundle = bundle
        self.config = bundle.config
        self.sample_rate = bundle.config.frontend.sample_rate
        self.fingerprint = bundle.fingerprint
        self.acoustic = AcousticStage(bundle, usable_device(options.device), options.backend)
        self.backend, self.backend_reason = self.acoustic.backend, self.acoustic.backend_reason
        chosen = choose_decoder(
            bundle,
            options.decoder,
            options.hotwords,
            options.nbest,
            self.acoustic.second_pass if bundle.model.second is not None else None,
            options.text,
        )
        self.decoder, self.decoder_reason = chosen.name, chosen.reason
        # Whether decoding has fallen back to something worse than the model allows.
        asked_for = options.decoder != "auto"
        self.degraded = has_beam(bundle.folder) and chosen.name != "beam" and not asked_for
        self.words = WordDecoder(chosen.decoder, chosen.part, bundle.config.delay_seconds)
        self.unusable_hotwords = self.words.unusable_hotwords
        self.formatter = choose_formatter(bundle.folder, options)
        if self.degraded:
            # Names the line that called ``from_pretrained`` or ``from_options``.
            warnings.warn(degraded_message(self.decoder_reason), DegradedWarning, stacklevel=4)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str] | None = None,
        *,
        backend: BackendName = "auto",
        decoder: DecoderName = "auto",
        hotwords: Iterable[Hotword | str] = (),
        nbest: int = 1,
        device: str | torch.device | None = None,
        text: str | os.PathLike[str] | None = None,
        text_style: TextStyle = "auto",
        remove_fillers: bool = False,
        mask_profanity: bool = False,
    ) -> Recognizer:
        """Load a model folder, or the bundled English model.

        Args:
            backend: what runs the LSTM.
            decoder: ``beam`` (with the model folder's language model), ``greedy``, or ``auto``:
                beam where there is one.
            hotwords: phrases that the beam search shall prefer; those that cannot be used are in
                ``unusable_hotwords``, each with the reason.
            nbest: how many hypotheses a transcript shall offer.
            device: where the model runs; a GPU, if there is one, when None.
            text: a file of text like what will be said: its words, new ones included, and what
                follows on what in it count for more.
            text_style: ``formatted`` (punctuation, capitals, numbers), ``plain`` (the recognised
                words), or ``auto``: formatted where the model folder has a tagger.
            remove_fillers: leave "uh", "um" and the like out of formatted text.
            mask_profanity: write only the first letter of swear words in formatted text.

        Raises:
            ModelError: the folder holds no usable model, or none that can do what is asked.
            ConfigError: an argument has a value that it cannot have.
        """
        return cls._load(
            RecognizerOptions(
                model=None if folder is None else os.fspath(folder),
                backend=backend,
                decoder=decoder,
                hotwords=as_hotwords(hotwords),
                nbest=nbest,
                device=None if device is None else str(device),
                text=None if text is None else os.fspath(text),
                text_style=text_style,
                remove_fillers=remove_fillers,
                mask_profanity=mask_profanity,
            )
        )

    @classmethod
    def from_options(cls, options: RecognizerOptions) -> Recognizer:
        """Load what ``options`` describe; raises as ``from_pretrained``."""
        return cls._load(options)

    @classmethod
    def _load(cls, options: RecognizerOptions) -> Recognizer:
        folder = PRETRAINED if options.model is None else Path(options.model)
        on_cpu = usable_device(options.device).type == "cpu"
        return cls(load_bundle(folder, int8=on_cpu), options)

    def __reduce__(self) -> tuple[Callable[[RecognizerOptions], Recognizer], tuple[Any, ...]]:
        return Recognizer.from_options, (self.options,)

    def initial_state(
        self, hotwords: Iterable[Hotword | str] = (), *, partials: bool = True
    ) -> StreamState:
        """Return the state of a new stream.

        ``hotwords`` are the stream's own, in place of the recognizer's. Raises ConfigError for
        those that cannot be used, and where the decoder is not the beam search. Without
        ``partials`` words are found for less; asked for nevertheless, they take long.
        """
        decoder = self.words.initial_state(hotwords, partials=partials)
        text = self.formatter.initial_state() if self.formatter else None
        return StreamState(self.acoustic.initial_state(), decoder, text=text)

    def stream(
        self,
        timings: Timings | None = None,
        *,
        state: StreamState | None = None,
        hotwords: Iterable[Hotword | str] = (),
        partials: bool = True,
    ) -> Stream:
        """Return a new stream, or one that continues from the ``state`` of another.

        ``hotwords`` are a new stream's own, and whether ``partials`` will be asked for; see
        ``initial_state``.
        """
        if state is None:
            state = self.initial_state(hotwords, partials=partials)
        return Stream(self, timings, state=state)

    def transcribe(
        self,
        source: AudioInput,
        *,
        sample_rate: int | None = None,
        track: int | str | None = None,
        chunk_ms: int = DEFAULT_CHUNK_MS,
        timings: Timings | None = None,
    ) -> Transcript:
        """Transcribe a recording, streamed through the model in chunks.

        Args:
            source: a path, a binary file, the ``bytes`` of one, or mono samples ``(n,)``, floats
                in [-1, 1] or int16.
            sample_rate: of samples, in Hz; recordings state their own.
            track: which of a recording's audio tracks: a number from 1, or a language. By default
                FFmpeg's choice, or the loudest one where that is silent.
            chunk_ms: audio handed to the model at a time.
            timings: what the time of each stage is added to.

        Raises:
            AudioError: no recording, a damaged one, or unusable samples.
            ConfigError: samples without a rate or with a track, a rate for anything else, or no
                such chunk.
        """
        size = self.chunk_samples(chunk_ms)
        stream = self.stream(timings, partials=False)
        with blocks_of(source, sample_rate, track) as blocks:
            for chunk in rechunk(blocks, size):
                stream.accept(chunk)
        return stream.finish()

    def formatted(self, transcript: Transcript) -> Transcript:
        """Return a transcript with tokens, made of its words, unless text is to be plain."""
        if self.formatter is None:
            return transcript
        tokens = self.formatter.preview(transcript.words, self.formatter.initial_state())
        return replace(transcript, tokens=tuple(tokens))

    def listen(
        self,
        blocks: Iterable[Block | ArrayLike] | None = None,
        *,
        sample_rate: int | None = None,
        device: int | str | None = None,
        endpoint: EndpointConfig | None = None,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> Iterator[Event]:
        """Yield partial and final events as audio comes, for ever or until ``blocks`` end.

        Args:
            blocks: mono samples, floats or int16; the microphone when None.
            sample_rate: of ``blocks``, in Hz; 16000 when None.
            device: which microphone: an index, a unique part of its name, or the default one.
            endpoint: when a segment ends.
            chunk_ms: audio handed to the model at a time.

        Raises:
            AudioError: there is no such microphone, or it cannot be opened; unusable samples.
            ConfigError: a chunk of less than a millisecond.
        """
        return _listen(Listener(self, endpoint, chunk_ms=chunk_ms), blocks, sample_rate, device)

    def chunk_samples(self, chunk_ms: int) -> int:
        """Samples in ``chunk_ms`` milliseconds, at least one; raises ConfigError below 1 ms."""
        if not chunk_ms >= 1:
            raise ConfigError(f"chunk_ms must be 1 or more milliseconds, not {chunk_ms}")
        return max(1, self.sample_rate * chunk_ms // 1000)


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
        recognizer: Recognizer,
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


class Listener:
    """One live session: ``accept`` blocks as they come, then ``finish``; both return events.

    Blocks are cut to ``chunk_ms`` for the model; how, changes no final.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        endpoint: EndpointConfig | None = None,
        *,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> None:
        self._pipeline = LivePipeline(
            recognizer.acoustic, recognizer.words, endpoint, recognizer.formatter
        )
        self._rate = recognizer.sample_rate
        self._chunk = recognizer.chunk_samples(chunk_ms)
        self._pending: list[torch.Tensor] = []
        self._pending_length = 0
        self._resampling: ResamplingState | None = None
        self._clock = 0.0
        self.state = self._pipeline.initial_state()

    @property
    def seconds(self) -> float:
        """Length of the session so far, lost audio included."""
        return (self.state.received + self._pending_length) / self._rate

    def accept(self, block: Block | ArrayLike, sample_rate: int | None = None) -> list[Event]:
        """Accept a block from a ``Microphone``, or samples ``(n,)``: mono, floats or int16.

        ``sample_rate`` is theirs, in Hz, the model's (16000) when None; it may change on the way.
        Raises AudioError for NaN, infinity, other shapes and rates, having changed nothing.
        """
        if not isinstance(block, Block):
            block = Block(np.asarray(block), time.monotonic())
        rate = self._rate if sample_rate is None else checked_rate(sample_rate)
        before = self.state.received + self._pending_length
        position = position_at(rate, self._rate, before, self._resampling)
        samples = as_samples(block.samples, position, rate)
        events: list[Event] = []
        if block.reason:
            events += self._end_segment(block.lost_seconds, block.reason)
        if rate != self._rate or self._resampling is not None:
            ready, self._resampling = convert(samples.numpy(), rate, self._rate, self._resampling)
            samples = torch.from_numpy(ready)
        if len(samples):
            self._pending.append(samples)
            self._pending_length += len(samples)
            self._clock = block.captured_at - self.seconds
        if self._pending_length >= self._chunk:
            waiting = torch.cat(self._pending)
            whole = len(waiting) - len(waiting) % self._chunk
            self._pending, self._pending_length = [waiting[whole:]], len(waiting) - whole
            for chunk in torch.split(waiting[:whole], self._chunk):
                found, self.state = self._pipeline.advance(chunk, self.state)
                events += self._stamped(found)
            partial, self.state = self._pipeline.partial(self.state)
            events += self._stamped(partial)
        return events

    def finish(self) -> list[Event]:
        """Flush: return the last final, if words are open."""
        return self._end_segment()

    def _end_segment(self, lost_seconds: float = 0.0, reason: str = "") -> list[Event]:
        events: list[Event] = []
        if self._resampling is not None:
            rest = torch.from_numpy(flush(self._resampling))
            self._pending.append(rest)
            self._pending_length += len(rest)
            self._resampling = None
        if self._pending_length:
            events, self.state = self._pipeline.advance(torch.cat(self._pending), self.state)
            self._pending, self._pending_length = [], 0
        last, self.state = self._pipeline.end_segment(self.state, lost_seconds, reason)
        return self._stamped([*events, *last])

    def _stamped(self, events: Sequence[Event]) -> list[Event]:
        now = time.monotonic() - self._clock
        return [replace(e, latency_ms=1000 * max(0.0, now - e.end)) for e in events]


def _listen(
    listener: Listener,
    blocks: Iterable[Block | ArrayLike] | None,
    sample_rate: int | None,
    device: int | str | None,
) -> Iterator[Event]:
    with ExitStack() as stack:
        if blocks is None:
            from .audio.microphone import Microphone

            blocks = stack.enter_context(Microphone(device)).blocks()
        for block in blocks:
            yield from listener.accept(block, sample_rate)
        yield from listener.finish()
