"""Recognizer: samples in, words out, chunk by chunk."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from persistent_lstm import Int8LSTM, LSTMError, choose_backend

from .batching import step
from .decoding import BeamDecoder, BeamState, GreedyState, Hotword, choose_decoder
from .decoding.beam import has_beam
from .errors import ConfigError, DegradedWarning, ModelError
from .frontend import Frontend
from .model import AcousticModel, Bundle, load_bundle
from .options import BackendName, DecoderName, RecognizerOptions, as_hotwords
from .pretrained import PRETRAINED
from .samples import rechunk
from .sources import Source, blocks_of
from .stream import Stream, StreamState, Timings, clipped
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


def _after_fork() -> None:
    # OpenMP's threads are not forked; a child that counts on them waits for ever.
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _usable_device(name: str | None) -> torch.device:
    """Return the device of this name, or the best there is; raises ConfigError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    # torch built without CUDA fails an assertion, others miss the driver or the device.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}): leave it out, or say 'cpu'"
        ) from error
    return device


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
    if isinstance(model.lstm, Int8LSTM):
        return model  # whoever loaded it so has it in float32 here
    exact = all(torch.equal(w.half().float(), w.float()) for w in model.lstm.parameters())
    if backend != "torch" and exact:
        model.lstm.half()
    return model


class Recognizer:
    """A loaded model. Immutable, so threads may share one; each caller has a ``Stream``.

    Processes may share one by fork where the model runs on the CPU; each of them then computes in
    one thread. Pickled, it is its ``options``: what unpickles it loads the model folder again.

    ``degraded`` says that the model folder has a language model that cannot be used here, so that
    decoding is greedy although nobody asked for that: ``decoder_reason`` says why, and a
    DegradedWarning does as it is made.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: RecognizerOptions | None = None,
    ) -> None:
        self.options = options = options or RecognizerOptions(os.fspath(bundle.folder))
        self.device = _usable_device(options.device)
        self._model = _placed(bundle.model, self.device, options.backend)
        weights = self._model.lstm.weights
        try:
            chosen_backend = choose_backend(options.backend, weights, residual=True)
        except LSTMError as error:
            raise ModelError(str(error)) from error
        self.backend, self.backend_reason = chosen_backend
        self._process = os.getpid()
        self.bundle = bundle
        self.config = bundle.config
        self.sample_rate = bundle.config.frontend.sample_rate
        self.fingerprint = bundle.fingerprint
        self._frontend = Frontend(bundle.config.frontend)
        chosen = choose_decoder(bundle, options.decoder, options.hotwords, options.nbest)
        self.decoder, self.decoder_reason = chosen.name, chosen.reason
        # Whether decoding is worse than the model allows, and nobody asked for that.
        asked_for = options.decoder != "auto"
        self.degraded = has_beam(bundle.folder) and chosen.name != "beam" and not asked_for
        self._decoder, self._part = chosen.decoder, chosen.part
        self.unusable_hotwords: Sequence[tuple[Hotword, str]] = (
            chosen.decoder.unusable_hotwords if isinstance(chosen.decoder, BeamDecoder) else ()
        )
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
    ) -> Recognizer:
        """Load a model folder, or the bundled English model.

        Args:
            backend: what runs the LSTM.
            decoder: ``beam`` (with the model folder's language model), ``greedy``, or ``auto``:
                beam where there is one.
            hotwords: phrases that the beam search shall prefer; those that cannot be used are in
                ``unusable_hotwords``, each with the reason.
            nbest: how many readings a transcript shall offer.
            device: where the model runs; a GPU, if there is one, when None.

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
            )
        )

    @classmethod
    def from_options(cls, options: RecognizerOptions) -> Recognizer:
        """Load what ``options`` describe; raises as ``from_pretrained``."""
        return cls._load(options)

    @classmethod
    def _load(cls, options: RecognizerOptions) -> Recognizer:
        folder = PRETRAINED if options.model is None else Path(options.model)
        on_cpu = _usable_device(options.device).type == "cpu"
        return cls(load_bundle(folder, int8=on_cpu), options)

    def __reduce__(self) -> tuple[Callable[[RecognizerOptions], Recognizer], tuple[Any, ...]]:
        return Recognizer.from_options, (self.options,)

    def initial_state(self, hotwords: Iterable[Hotword | str] = ()) -> StreamState:
        """Return the state of a listener who has heard nothing.

        ``hotwords`` are the listener's own, in place of the recognizer's. Raises ConfigError for
        those that cannot be used, and where the decoder is not the beam search.
        """
        return StreamState(
            self._frontend.initial_state(),
            self._model.initial_state(),
            self._decoder_state(as_hotwords(hotwords)),
        )

    def renewed(self, state: StreamState) -> StreamState:
        """Return the state of a listener who has heard nothing, with the hotwords of ``state``."""
        fresh = self.initial_state()
        if isinstance(self._decoder, BeamDecoder) and isinstance(state.decoder, BeamState):
            return replace(fresh, decoder=self._decoder.initial_state(state.decoder.bias))
        return fresh

    def _decoder_state(self, hotwords: Sequence[Hotword]) -> GreedyState | BeamState:
        if not hotwords:
            state: GreedyState | BeamState = self._decoder.initial_state()
            return state
        if not isinstance(self._decoder, BeamDecoder):
            raise ConfigError("hotwords need the beam search: decoder='beam'")
        bias, unusable = self._decoder.bias(hotwords)
        if unusable:
            hotword, reason = unusable[0]
            raise ConfigError(f"the hotword {hotword.text!r} cannot be used: {reason}")
        return self._decoder.initial_state(bias)

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
        if self.device.type != "cpu" and os.getpid() != self._process:
            raise ModelError(
                f"a recognizer on {self.device} does not survive a fork: load it in each process "
                "(Recognizer.from_options(recognizer.options)), or start processes by spawn"
            )
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
            (
                log_probs,
                replace(state, frontend=after, lstm=lstm, samples=state.samples + len(piece)),
            )
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
        return [*words, *self._as_said(last)], replace(state, decoder=decoder, samples=heard)

    def transcript_of(self, log_probs: torch.Tensor, duration: float) -> Transcript:
        """Return the transcript of a whole stream's ``log_probs (T, V + P)``.

        They include those of the closing silence, which ``duration``, in seconds, does not.
        """
        words, state = self._decoder(log_probs[:, self._part], self._decoder.initial_state())
        last, state = self._decoder.finish(state)
        said = (clipped(word, duration) for word in self._as_said([*words, *last]))
        return Transcript(tuple(said), duration, self._readings(state))

    def closing_silence(self) -> torch.Tensor:
        """Return the samples after the last one that let the model finish its last word."""
        return self._frontend.tail()

    def partial(self, state: StreamState) -> list[Word]:
        """Return the words that have begun and may still change."""
        return self._as_said(self._decoder.partial(state.decoder))

    def firm(self, state: StreamState) -> int:
        """Return how many of the first words of ``partial`` can no longer change."""
        return self._decoder.firm(state.decoder)

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

    def stream(
        self,
        timings: Timings | None = None,
        *,
        state: StreamState | None = None,
        hotwords: Iterable[Hotword | str] = (),
    ) -> Stream:
        """Return a new listener, or one that goes on from the ``state`` of another.

        ``hotwords`` are a new listener's own, see ``initial_state``.
        """
        if state is None and hotwords:
            state = self.initial_state(hotwords)
        return Stream(self, timings, state=state)

    def transcribe(
        self,
        source: Source,
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
        stream = self.stream(timings)
        with blocks_of(source, sample_rate, track) as blocks:
            for chunk in rechunk(blocks, size):
                stream.accept(chunk)
        return stream.finish()

    def listen(
        self,
        blocks: Iterable[Block | ArrayLike] | None = None,
        *,
        sample_rate: int | None = None,
        device: int | str | None = None,
        endpoint: EndpointConfig | None = None,
        chunk_ms: int = LISTEN_CHUNK_MS,
    ) -> Iterator[Event]:
        """Yield partial and final text as it is said, for ever or until ``blocks`` end.

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
        from .listening import Listener, listen

        listener = Listener(self, endpoint, chunk_ms=chunk_ms)
        return listen(listener, blocks, sample_rate=sample_rate, device=device)

    def chunk_samples(self, chunk_ms: int) -> int:
        """Samples in ``chunk_ms`` milliseconds, at least one; raises ConfigError below 1 ms."""
        if not chunk_ms >= 1:
            raise ConfigError(f"chunk_ms must be 1 or more milliseconds, not {chunk_ms}")
        return max(1, self.sample_rate * chunk_ms // 1000)
