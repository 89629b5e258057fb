"""Recognizer: samples in, words out, chunk by chunk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticStage
from .acoustic.stage import usable_device
from .decoding import Hotword, WordDecoder, choose_decoder
from .decoding.beam import has_beam
from .errors import ConfigError, DegradedWarning
from .model import Bundle, load_bundle
from .options import BackendName, DecoderName, RecognizerOptions, as_hotwords
from .pretrained import PRETRAINED
from .samples import rechunk
from .sources import Source, blocks_of
from .stream import Stream, StreamState
from .timings import Timings
from .transcript import Transcript

if TYPE_CHECKING:
    from .audio.live import Block
    from .events import Event
    from .segment import EndpointConfig

__all__ = ["DEFAULT_CHUNK_MS", "LISTEN_CHUNK_MS", "Recognizer", "degraded_message"]

DEFAULT_CHUNK_MS = 320
LISTEN_CHUNK_MS = 80


def degraded_message(reason: str) -> str:
    """Return what a person is told of a recognizer that is ``degraded`` for this ``reason``."""
    return f"decoding is greedy, with far more errors than the model makes otherwise: {reason}"


class Recognizer:
    """A loaded model. Immutable, so threads may share one; each caller has a ``Stream``.

    Its stages are ``acoustic``, from samples to log-posteriors, and ``words``, from these to words.

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
        )
        self.decoder, self.decoder_reason = chosen.name, chosen.reason
        # Whether decoding is worse than the model allows, and nobody asked for that.
        asked_for = options.decoder != "auto"
        self.degraded = has_beam(bundle.folder) and chosen.name != "beam" and not asked_for
        self.words = WordDecoder(chosen.decoder, chosen.part, bundle.config.delay_seconds)
        self.unusable_hotwords = self.words.unusable_hotwords
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
        on_cpu = usable_device(options.device).type == "cpu"
        return cls(load_bundle(folder, int8=on_cpu), options)

    def __reduce__(self) -> tuple[Callable[[RecognizerOptions], Recognizer], tuple[Any, ...]]:
        return Recognizer.from_options, (self.options,)

    def initial_state(
        self, hotwords: Iterable[Hotword | str] = (), *, partials: bool = True
    ) -> StreamState:
        """Return the state of a listener who has heard nothing.

        ``hotwords`` are the listener's own, in place of the recognizer's. Raises ConfigError for
        those that cannot be used, and where the decoder is not the beam search. Without
        ``partials`` words are found for less; asked for nevertheless, they take long.
        """
        decoder = self.words.initial_state(hotwords, partials=partials)
        return StreamState(self.acoustic.initial_state(), decoder)

    def stream(
        self,
        timings: Timings | None = None,
        *,
        state: StreamState | None = None,
        hotwords: Iterable[Hotword | str] = (),
        partials: bool = True,
    ) -> Stream:
        """Return a new listener, or one that goes on from the ``state`` of another.

        ``hotwords`` are a new listener's own, and whether ``partials`` will be asked for; see
        ``initial_state``.
        """
        if state is None:
            state = self.initial_state(hotwords, partials=partials)
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
        stream = self.stream(timings, partials=False)
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
