"""Recognizer and Stream: samples in, words out, chunk by chunk."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from persistent_lstm import LSTMError, LSTMState, choose_backend

from .audio import open_audio
from .batching import step
from .decoding import BeamDecoder, BeamState, GreedyState, Hotword, choose_decoder
from .decoding.beam import has_beam
from .errors import AudioError, DegradedWarning, ModelError
from .frontend import Frontend, FrontendState
from .model import AcousticModel, Bundle, load_bundle
from .pretrained import PRETRAINED
from .samples import as_samples, rechunk
from .transcript import Alternative, Transcript, Word

if TYPE_CHECKING:
    from .audio.live import Block
    from .endpoint import EndpointConfig
    from .events import Event

__all__ = [
    "DEFAULT_CHUNK_MS",
    "LISTEN_CHUNK_MS",
    "Recognizer",
    "Stream",
    "StreamState",
    "Timings",
]

DEFAULT_CHUNK_MS = 320
LISTEN_CHUNK_MS = 80


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that is remembered of one listener. A value: keep it, copy it, go on from it twice.

    ``samples`` counts what was heard so far.
    """

    frontend: FrontendState
    lstm: LSTMState
    decoder: GreedyState | BeamState
    samples: int = 0


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


def degraded_message(reason: str) -> str:
    """Return what a person is told of a recognizer that is ``degraded`` for this ``reason``."""
    return f"decoding is greedy, with far more errors than the model makes otherwise: {reason}"


def _placed(model: AcousticModel, device: torch.device, backend: str) -> AcousticModel:
    """Return the model on ``device``; for the kernels with 16-bit LSTM weights if none is lost.

    Bundles store float16, so none usually is, and the whole stack then fits one launch.
    """
    if device.type == "cpu":
        return model
    model = copy.deepcopy(model).to(device)
    exact = all(torch.equal(w.half().float(), w.float()) for w in model.lstm.parameters())
    if backend != "torch" and exact:
        model.lstm.half()
    return model


class Recognizer:
    """A loaded model. Immutable, so threads may share one; each caller has a ``Stream``.

    ``degraded`` says that the model folder has a language model that cannot be used here, so that
    decoding is greedy although nobody asked for that: ``decoder_reason`` says why, and a
    DegradedWarning does as it is made.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str = "auto",
        decoder: str = "auto",
        hotwords: Sequence[Hotword] = (),
        nbest: int = 1,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = _placed(bundle.model, self.device, backend)
        weights = self._model.lstm.weights
        try:
            self.backend, self.backend_reason = choose_backend(backend, weights, residual=True)
        except LSTMError as error:
            raise ModelError(str(error)) from error
        self.bundle = bundle
        self.config = bundle.config
        self.sample_rate = bundle.config.frontend.sample_rate
        self.fingerprint = bundle.fingerprint
        self._frontend = Frontend(bundle.config.frontend)
        chosen = choose_decoder(bundle, decoder, hotwords, nbest)
        self.decoder, self.decoder_reason = chosen.name, chosen.reason
        # Whether decoding is worse than the model allows, and nobody asked for that.
        asked_for = decoder != "auto"
        self.degraded = has_beam(bundle.folder) and chosen.name != "beam" and not asked_for
        self._decoder, self._part = chosen.decoder, chosen.part
        self.unusable_hotwords: Sequence[tuple[Hotword, str]] = (
            chosen.decoder.unusable_hotwords if isinstance(chosen.decoder, BeamDecoder) else ()
        )
        if self.degraded:
            warnings.warn(degraded_message(self.decoder_reason), DegradedWarning, stacklevel=3)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        decoder: str = "auto",
        hotwords: Sequence[Hotword] = (),
        nbest: int = 1,
        device: str | torch.device | None = None,
    ) -> Recognizer:
        """Load a model folder, or the bundled English model; raises ModelError.

        Args:
            backend: what runs the LSTM, one of ``persistent_lstm.BACKENDS``.
            decoder: ``beam`` (with the model folder's language model), ``greedy``, or ``auto``:
                beam where there is one.
            hotwords: phrases that the beam search shall prefer; those that cannot be used are in
                ``unusable_hotwords``, each with the reason.
            nbest: how many readings a transcript shall offer.
            device: where the model runs; a GPU, if there is one, when None.
        """
        bundle = load_bundle(PRETRAINED if folder is None else Path(folder))
        return cls(
            bundle,
            backend=backend,
            decoder=decoder,
            hotwords=hotwords,
            nbest=nbest,
            device=device,
        )

    def initial_state(self) -> StreamState:
        """Return the state of a listener who has heard nothing."""
        return StreamState(
            self._frontend.initial_state(),
            self._model.initial_state(),
            self._decoder.initial_state(),
        )

    def log_probs(
        self, samples: torch.Tensor, state: StreamState, timings: Timings | None = None
    ) -> tuple[torch.Tensor, StreamState]:
        """Return ``(T, V + P)`` log-posteriors of the timesteps that ``samples (n,)`` complete."""
        ((log_probs, after),) = self.log_probs_of([samples], [state], timings)
        return log_probs, after

    @torch.inference_mode()
    def log_probs_of(
        self,
        samples: Sequence[torch.Tensor],
        states: Sequence[StreamState],
        timings: Timings | None = None,
    ) -> list[tuple[torch.Tensor, StreamState]]:
        """Do as ``log_probs`` for several streams, in one pass through the model.

        Each stream gets what it would get alone, up to the rounding of float32.
        """
        timings = timings or Timings()
        with timings.stage("frontend"):
            heard = [
                self._frontend(piece, state.frontend)
                for piece, state in zip(samples, states, strict=True)
            ]
        with timings.stage("lstm"):
            found = step(
                self._model,
                [frames for frames, _ in heard],
                [state.lstm for state in states],
                backend=self.backend,
            )
        return [
            (log_probs, StreamState(after, lstm, state.decoder, state.samples + len(piece)))
            for (log_probs, lstm), (_, after), state, piece in zip(
                found, heard, states, samples, strict=True
            )
        ]

    def advance(
        self, samples: torch.Tensor, state: StreamState, timings: Timings | None = None
    ) -> tuple[list[Word], StreamState]:
        """Hear ``samples (n,)``, 16 kHz float32; return the words now complete, and the state."""
        timings = timings or Timings()
        log_probs, state = self.log_probs(samples, state, timings)
        with timings.stage("decoder"):
            return self.decode(log_probs, state)

    def decode(self, log_probs: torch.Tensor, state: StreamState) -> tuple[list[Word], StreamState]:
        """Decode ``log_probs (T, V + P)``; return the words now complete, and the state."""
        words, decoder = self._decoder(log_probs[:, self._part], state.decoder)
        return self._as_said(words), replace(state, decoder=decoder)

    def close(self, state: StreamState) -> tuple[list[Word], StreamState]:
        """Return the words still open when nothing of what follows belongs to them."""
        words, decoder = self._decoder.finish(state.decoder)
        return self._as_said(words), replace(state, decoder=decoder)

    def finish(
        self, state: StreamState, timings: Timings | None = None
    ) -> tuple[list[Word], StreamState]:
        """Hear the end: return the words that were still open, and the state after them."""
        if state.samples == 0:
            return [], state
        heard = state.samples
        words, state = self.advance(self.closing_silence(), state, timings)
        last, decoder = self._decoder.finish(state.decoder)
        after = StreamState(state.frontend, state.lstm, decoder, heard)
        return [*words, *self._as_said(last)], after

    def transcript_of(self, log_probs: torch.Tensor, duration: float) -> Transcript:
        """Return the transcript of a whole stream's ``log_probs (T, V + P)``.

        They include those of the closing silence, which ``duration``, in seconds, does not.
        """
        words, state = self._decoder(log_probs[:, self._part], self._decoder.initial_state())
        last, state = self._decoder.finish(state)
        said = (_within(word, duration) for word in self._as_said([*words, *last]))
        return Transcript(tuple(said), duration, self._readings(state))

    def closing_silence(self) -> torch.Tensor:
        """Return the samples after the last one that let the model finish its last word."""
        return self._frontend.tail()

    def partial(self, state: StreamState) -> list[Word]:
        """Return the words that have begun and may still change."""
        return self._as_said(self._decoder.partial(state.decoder))

    def _as_said(self, words: list[Word]) -> list[Word]:
        """Put words where they were said: the model answers a little later."""
        delay = self.config.delay_seconds
        if not delay:
            return words
        return [
            replace(word, start=max(0.0, word.start - delay), end=max(0.0, word.end - delay))
            for word in words
        ]

    def alternatives(self, state: StreamState) -> tuple[Alternative, ...]:
        """Return the best readings of what is final, if more than one was asked for."""
        return self._readings(state.decoder)

    def _readings(self, state: GreedyState | BeamState) -> tuple[Alternative, ...]:
        if isinstance(self._decoder, BeamDecoder) and isinstance(state, BeamState):
            return self._decoder.alternatives(state)
        return ()

    def stream(self, timings: Timings | None = None) -> Stream:
        """Return a new listener."""
        return Stream(self, timings)

    def transcribe(
        self,
        source: str | os.PathLike[str],
        *,
        chunk_ms: int = DEFAULT_CHUNK_MS,
        timings: Timings | None = None,
    ) -> Transcript:
        """Transcribe a recording, streamed through the model in chunks; raises AudioError."""
        stream = self.stream(timings)
        with open_audio(source) as audio:
            for chunk in rechunk(audio.blocks(), self.chunk_samples(chunk_ms)):
                stream.accept(chunk)
        return stream.finish()

    def listen(
        self,
        blocks: Iterable[Block | ArrayLike] | None = None,
        *,
        device: int | str | None = None,
        endpoint: EndpointConfig | None = None,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> Iterator[Event]:
        """Yield partial and final text as it is said, for ever or until ``blocks`` end.

        Args:
            blocks: 16 kHz mono samples, floats or int16; the microphone when None.
            device: which microphone: an index, a unique part of its name, or the default one.
            endpoint: when a segment ends.
            chunk_ms: audio handed to the model at a time.

        Raises:
            AudioError: there is no such microphone, or it cannot be opened.
        """
        from .listening import listen

        return listen(self, blocks, device=device, endpoint=endpoint, chunk_ms=chunk_ms)

    def chunk_samples(self, chunk_ms: int) -> int:
        """Samples in ``chunk_ms`` milliseconds, at least one."""
        return max(1, self.sample_rate * chunk_ms // 1000)


class Stream:
    """One listener: ``accept`` samples as they come, read ``partial`` any time, then ``finish``."""

    def __init__(self, recognizer: Recognizer, timings: Timings | None = None) -> None:
        self._recognizer = recognizer
        self._timings = timings
        self.reset()

    def reset(self) -> None:
        """Forget everything, as if new."""
        self.state = self._recognizer.initial_state()
        self._words: list[Word] = []
        self._finished = False

    def accept(self, samples: ArrayLike) -> list[Word]:
        """Hear ``samples (n,)``: 16 kHz mono, floats in [-1, 1] or int16, any number of them.

        Returns the words completed by them. Raises AudioError for NaN, infinity and other shapes;
        the stream then stands where it stood before the call.
        """
        if self._finished:
            raise AudioError("the stream is finished: call reset() or begin a new stream")
        values = as_samples(samples, self.state.samples, self._recognizer.sample_rate)
        words, self.state = self._recognizer.advance(values, self.state, self._timings)
        self._words += words
        return words

    def partial(self) -> Transcript:
        """Return all words so far; those that ``accept`` has not returned may still change."""
        return self._transcript([] if self._finished else self._recognizer.partial(self.state))

    def finish(self) -> Transcript:
        """Return the whole transcript; a second call returns it again."""
        if not self._finished:
            words, self.state = self._recognizer.finish(self.state, self._timings)
            self._words += words
            self._finished = True
        return self._transcript([], self._recognizer.alternatives(self.state))

    def _transcript(
        self, more: list[Word], alternatives: tuple[Alternative, ...] = ()
    ) -> Transcript:
        duration = self.state.samples / self._recognizer.sample_rate
        words = (_within(word, duration) for word in [*self._words, *more])
        return Transcript(tuple(words), duration, alternatives)


def _within(word: Word, duration: float) -> Word:
    """Clip a word that the closing silence carried past the end of the audio."""
    if word.end <= duration:
        return word
    return Word(word.text, min(word.start, duration), duration, word.confidence)
