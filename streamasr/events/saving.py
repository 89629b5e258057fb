"""A live session on disk, as it goes: whatever was final is in the file, even if the program dies.

Texts are appended and flushed segment by segment, a recording block by block with its header kept
right; JSON, which has an end, is replaced whole each time. What a format looks like is for
``streamasr.events.writers`` to say: here each segment is a short transcript of its own.
"""

from __future__ import annotations

import json
import os
import wave
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from ..transcript import Transcript, Word
from . import Event
from .writers import WRITERS, write_transcript

__all__ = ["SAVED", "Saver", "check_savable", "open_saver"]

SAVED = ("txt", "srt", "vtt", "tsv", "json", "wav")
"""The formats, by file name extension."""

_RATE = 16_000


class Saver(ABC):
    """A file that a session is saved to: a context manager.

    Its methods raise OutputError when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, event: Event) -> None:  # noqa: B027
        """Save a final or a gap; a partial is ignored."""

    def write_audio(  # noqa: B027
        self, samples: NDArray[np.float32], lost_seconds: float = 0.0
    ) -> None:
        """Save ``samples (n,)``, 16 kHz in ±1, behind ``lost_seconds`` of missing ones."""

    @abstractmethod
    def close(self) -> None:
        """End the file."""


def check_savable(path: Path) -> str:
    """Return the format of a file that may be begun; raises OutputError for one that may not."""
    form = path.suffix.lower().removeprefix(".")
    if form not in SAVED:
        raise OutputError(f"{path}: the name must end in one of .{', .'.join(SAVED)}")
    if os.path.lexists(path):
        raise OutputError(f"{path} exists: choose another name, or remove it")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    return form


def open_saver(path: Path) -> Saver:
    """Begin a file, whose extension says its format; raises OutputError, also if it exists.

    A recording session cannot be repeated, so none is ever overwritten.
    """
    form = check_savable(path)
    try:
        file = path.open("xb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    if form == "wav":
        return _WavSaver(path, file)
    if form == "json":
        file.close()
        return _JsonSaver(path)
    return _TextSaver(path, file, form)


def _words(event: Event) -> tuple[Word, ...]:
    """Return what stands in the transcript: a gap is a word in brackets."""
    if event.type == "gap":
        return (Word(event.description, event.start, event.end, 0.0),)
    return event.words


class _TextSaver(Saver):
    """Appends what the writer of a format makes of each segment."""

    def __init__(self, path: Path, file: BinaryIO, form: str) -> None:
        super().__init__(path)
        self._file = file
        self._writer = WRITERS[form]
        self._head = "" if form == "txt" else self._writer.render(Transcript(), source="")
        self._cues = 0
        self._append(self._head)

    def write(self, event: Event) -> None:
        words = _words(event)
        if event.type == "partial" or not words:
            return
        transcript = Transcript(words, event.end, tokens=event.tokens)
        text = self._writer.render(transcript, source="")
        text = text.removeprefix(self._head)
        self._append(self._renumbered(text) if self._writer.format == "srt" else text)

    def _renumbered(self, text: str) -> str:
        cues = text.removesuffix("\n").split("\n\n")
        lines = []
        for cue in cues:
            self._cues += 1
            lines.append(f"{self._cues}\n{cue.split(chr(10), 1)[1]}\n")
        before = "\n" if self._cues > len(cues) else ""
        return before + "\n".join(lines)

    def _append(self, text: str) -> None:
        try:
            self._file.write(text.encode("utf-8"))
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()


class _JsonSaver(Saver):
    """The object that ``transcribe --format json`` writes, with ``gaps`` if there were any."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._texts: list[str] = []
        self._segments: list[str] = []
        self._gaps: list[dict[str, Any]] = []
        self._end = 0.0
        self._replace()

    def write(self, event: Event) -> None:
        if event.type == "partial":
            return
        self._end = max(self._end, event.end)
        if event.type == "gap":
            values = event.as_dict()
            self._gaps.append({key: values[key] for key in ("start", "end", "reason")})
        else:
            document = self._render(Transcript(event.words, event.end, tokens=event.tokens))
            for segment in document["segments"]:
                segment["id"] = len(self._segments)
                self._segments.append(json.dumps(segment, ensure_ascii=False))
            self._texts.append(document["text"])
        self._replace()

    def _render(self, transcript: Transcript) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            WRITERS["json"].render(transcript, source=str(self.path))
        )
        return document

    def _replace(self) -> None:
        document = self._render(Transcript((), self._end))
        document["text"] = " ".join(text for text in self._texts if text)
        if self._gaps:
            document["gaps"] = self._gaps
        del document["segments"]
        # Segments that are done are kept as they were written: only joining them takes time.
        rest = json.dumps(document, ensure_ascii=False).removesuffix("}")
        text = f'{rest}, "segments": [{", ".join(self._segments)}]}}\n'
        write_transcript(self.path, text)

    def close(self) -> None:
        self._replace()


class _WavSaver(Saver):
    """16-bit PCM at 16 kHz; what was lost is silence, so that times stay right."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(path)
        self._file = file
        self._wave: wave.Wave_write = wave.open(file, "wb")  # noqa: SIM115
        self._wave.setnchannels(1)
        self._wave.setsampwidth(2)
        self._wave.setframerate(_RATE)
        self._append(b"")

    def write_audio(self, samples: NDArray[np.float32], lost_seconds: float = 0.0) -> None:
        missing = round(lost_seconds * _RATE)
        while missing > 0:
            self._append(bytes(2 * min(missing, _RATE)))
            missing -= _RATE
        if len(samples):
            pcm = np.clip(np.round(samples * np.float32(32768)), -32768, 32767)
            self._append(pcm.astype("<i2").tobytes())

    def _append(self, data: bytes) -> None:
        try:
            # Mends the header each time, behind the samples that it counts.
            self._wave.writeframes(data)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._wave.close()
        self._file.close()
