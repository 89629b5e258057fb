"""What users import: a recognizer, its streams of recordings and its live sessions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike

from .acoustic import AcousticStage
from .acoustic.model import Bundle, load_bundle
from .acoustic.stage import usable_device
from .audio.live import Block
from .decoding import WordDecoder, choose_decoder
from .decoding.loading import has_beam
from .errors import ConfigError, DegradedWarning
from .events import Event
from .hotwords import Hotword, as_hotwords
from .listening import LISTEN_CHUNK_MS, Listener, listen
from .options import BackendName, DecoderName, RecognizerOptions, TextStyle
from .pretrained import PRETRAINED
from .samples import rechunk
from .segment import EndpointConfig
from .sources import AudioInput, blocks_of
from .streams import Stream, StreamState
from .text.choice import choose_formatter
from .timings import Timings
from .transcript import Transcript

__all__ = [
    "DEFAULT_CHUNK_MS",
    "LISTEN_CHUNK_MS",
    "Listener",
    "Recognizer",
    "Stream",
    "StreamState",
    "degraded_message",
]

DEFAULT_CHUNK_MS = 1280


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
            self.acoustic.second_pass,
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
        ``partials`` a second pass reads whole segments: fewer errors for less time.
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
        tokens, _ = self.formatter.end_segment(self.formatter.initial_state(), transcript.words)
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
        return listen(Listener(self, endpoint, chunk_ms=chunk_ms), blocks, sample_rate, device)

    def chunk_samples(self, chunk_ms: int) -> int:
        """Samples in ``chunk_ms`` milliseconds, at least one; raises ConfigError below 1 ms."""
        if not chunk_ms >= 1:
            raise ConfigError(f"chunk_ms must be 1 or more milliseconds, not {chunk_ms}")
        return max(1, self.sample_rate * chunk_ms // 1000)
