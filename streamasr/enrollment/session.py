"""The folder of an enrolment: recordings and the manifest that says what was read in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE
from ..errors import OutputError
from ..manifest import Utterance, read_manifest, write_manifest

__all__ = ["MANIFEST", "Session"]

MANIFEST = "manifest.tsv"


class Session:
    """Recordings of one speaker in a folder; each is on disk, whole, before the manifest has it.

    So an enrolment can end at any time, and goes on with the sentences that are not read yet.
    Raises ConfigError for a manifest that cannot be read.
    """

    def __init__(self, folder: Path, speaker: str) -> None:
        self._folder = folder
        self._speaker = speaker
        self.manifest = folder / MANIFEST
        self._rows: list[Utterance] = []
        if self.manifest.exists():
            self._rows = read_manifest(self.manifest, labelled=False)

    @property
    def rows(self) -> Sequence[Utterance]:
        """What the manifest has."""
        return self._rows

    @property
    def seconds(self) -> float:
        """Of audio in it."""
        return sum(row.duration for row in self._rows)

    def missing(self, sentences: Sequence[str]) -> list[str]:
        """Return the sentences that have not been read."""
        read = {row.transcript for row in self._rows}
        return [sentence for sentence in sentences if sentence not in read]

    def has(self, path: Path) -> bool:
        """Whether the manifest lists this recording."""
        return any(row.path == path for row in self._rows)

    def save(self, samples: NDArray[np.float32], transcript: str, name: str = "") -> Path:
        """Write ``samples (n,)``, 16 kHz, as a recording of ``transcript``; return its path.

        Raises OutputError where nothing can be written.
        """
        path = self._folder / f"{name or self._next_name()}.wav"
        partial = path.with_suffix(".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            clipped = np.clip(samples, -1, 1)
            soundfile.write(partial, clipped, SAMPLE_RATE, subtype="PCM_16", format="WAV")
            partial.replace(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        self.add(path, len(samples) / SAMPLE_RATE, transcript)
        return path

    def add(self, path: Path, seconds: float, transcript: str) -> None:
        """Add a recording, wherever it is, to the manifest; raises OutputError."""
        text = " ".join(transcript.split())
        self._rows = [row for row in self._rows if row.path != path]
        self._rows.append(Utterance(path, seconds, self._speaker, text))
        partial = self.manifest.with_suffix(".partial")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_manifest(partial, self._rows)
            os.replace(partial, self.manifest)  # noqa: PTH105
        except OSError as error:
            raise OutputError(f"{self.manifest}: cannot be written ({error.strerror})") from error

    def _next_name(self) -> str:
        number = len(self._rows) + 1
        while (self._folder / f"{number:03d}.wav").exists():
            number += 1
        return f"{number:03d}"
