"""What a job of transcription is asked to do; light, so that a command starts quickly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..fingerprint import fingerprint
from ..options import DecoderName, RecognizerOptions
from ..pretrained import PRETRAINED

__all__ = ["InTurn", "Request"]


@dataclass(frozen=True, slots=True)
class InTurn:
    """Recordings are done one after the other in this process, ``chunk_ms`` at a time.

    With ``raw_rate`` they are headerless 16-bit mono PCM at so many Hz.
    """

    chunk_ms: int = 320
    raw_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A job: which recordings, how they are recognised, and where their transcripts go.

    Attributes:
        names: files, folders, patterns and manifests; ``-`` is stdin.
        options: of the recognizer.
        format: of the transcripts, one of ``WRITERS``.
        output_dir: None is stdout, in the order of the inputs.
        track: which of several audio tracks: a number or a language.
        in_turn: one after the other; None is many at once.
        engine: where many at once are done: ``local`` or ``ray``.
        workers: how many do them; as many as there is room for when None.
        retry_failed: whether to try again what failed in an earlier run.
    """

    names: Sequence[str]
    options: RecognizerOptions = field(default_factory=RecognizerOptions)
    format: str = "txt"
    output_dir: Path | None = None
    track: str | None = None
    in_turn: InTurn | None = None
    engine: str = "local"
    workers: int | None = None
    retry_failed: bool = False

    def settings(self) -> dict[str, object]:
        """Return all that decides a transcript beside its recording; raises ModelError.

        The backend changes no text, and what runs the job does not either.
        """
        hotwords = [str(hotword) for hotword in self.options.hotwords]
        raw = self.in_turn.raw_rate if self.in_turn else None
        own: dict[str, object] = {
            "hotwords": hotwords,
            "text_style": self.options.text_style,
            "remove_fillers": self.options.remove_fillers,
            "mask_profanity": self.options.mask_profanity,
            **({} if raw is None else {"raw_rate": raw}),
        }
        if self.options.text is not None:
            own["text"] = hashlib.sha256(Path(self.options.text).read_bytes()).hexdigest()[:12]
        return {**self._about(None, self.options.decoder), **own}

    def about(self, model_hash: str, decoder: DecoderName) -> Mapping[str, object]:
        """Return what a transcript says of how it was made: ``decoder`` is what decoded it."""
        return self._about(model_hash, decoder)

    def _about(self, model_hash: str | None, decoder: DecoderName) -> dict[str, object]:
        folder = PRETRAINED if self.options.model is None else Path(self.options.model)
        return {
            **({} if self.track is None else {"track": self.track}),
            "model": folder.name,
            "model_hash": model_hash or fingerprint(folder),
            "decoder": decoder,
            "nbest": self.options.nbest,
        }
