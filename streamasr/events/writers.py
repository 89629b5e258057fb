"""Transcripts as files: plain text, JSON, SubRip, WebVTT, tab-separated values and CTM.

A writer renders a transcript to a string and touches no file; ``write_transcript`` puts a string
into a file, whole or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import OutputError
from ..transcript import Token, Transcript, Word, word_forms
from .cues import layout_cues, milliseconds, one_line, split_at_pauses

__all__ = [
    "FORMATS",
    "TEMPORARY",
    "WRITERS",
    "CtmWriter",
    "JsonWriter",
    "JsonlWriter",
    "SrtWriter",
    "TranscriptWriter",
    "TsvWriter",
    "TxtWriter",
    "VttWriter",
    "write_transcript",
]


TEMPORARY = ".streamasr-{}.tmp"
"""What a file is called while it is being written."""


class TranscriptWriter(ABC):
    """One output format.

    ``format`` is its name on the command line, ``extension`` that of its files, with the dot.
    """

    format: ClassVar[str]
    extension: ClassVar[str]

    @abstractmethod
    def render(
        self, transcript: Transcript, *, source: str, about: Mapping[str, object] | None = None
    ) -> str:
        """Return ``transcript`` in this format, ready to be written as UTF-8.

        ``source`` names the recording, usually by its path. Words are expected in time order.
        ``about`` says how it was made, for formats that have room for it.
        """


class TxtWriter(TranscriptWriter):
    """The text on one line; several hypotheses on as many lines, each behind its score and a tab.

    A recording in which nothing was said gives an empty line: one line a recording, so the lines
    of several recordings on stdout stay in step with the command's arguments.
    """

    format = "txt"
    extension = ".txt"

    def render(
        self,
        transcript: Transcript,
        *,
        source: str,  # noqa: ARG002
        about: Mapping[str, object] | None = None,  # noqa: ARG002
    ) -> str:
        """Return the text and a newline."""
        if transcript.alternatives:
            lines = (f"{a.score:.2f}\t{one_line(a.text)}\n" for a in transcript.alternatives)
            return "".join(lines)
        return one_line(transcript.text) + "\n"


class JsonWriter(TranscriptWriter):
    """One JSON object on one line, so that several recordings on stdout are JSON Lines.

    - ``text``: all that was said, as it is written; the segments' texts joined by spaces
    - ``duration``: of the recording, in seconds
    - ``language``: ``"en"``
    - ``source``: the recording's name; bytes that are not UTF-8 become ``?``, here and in the
      name of the model
    - ``made_by``: the model, its hash, the decoder that was used and the settings, where known
    - ``alternatives``: the best hypotheses, if more than one was asked for, each with ``text`` and
      ``score``
    - ``segments``: the runs of words with no pause over ``cues.MAX_GAP`` seconds, each with

      - ``id``: its index, from 0
      - ``start``, ``end``: seconds from the start of the audio
      - ``text``: its words as they are written
      - ``words``: each with ``word``, as recognised, ``start`` and ``end`` (seconds),
        ``confidence`` in [0, 1], and, unless the text is plain, ``text``: how it is written. The
        first word of a number has all of it, the others, and words that are left out, have "".

    Times and confidences are rounded to 3 decimals.
    """

    format = "json"
    extension = ".json"

    def render(
        self, transcript: Transcript, *, source: str, about: Mapping[str, object] | None = None
    ) -> str:
        """Return the object and a newline; raises ``ValueError`` if a number is not finite."""
        segments = [
            {
                "id": index,
                "start": round(segment[0].start, 3),
                "end": round(_end(segment), 3),
                "text": _text(segment),
                "words": words,
            }
            for index, (segment, words) in enumerate(_segments(transcript))
        ]
        document: dict[str, object] = {
            "text": one_line(transcript.text),
            "duration": round(transcript.duration, 3),
            "language": "en",
            "source": source,
            "segments": segments,
        }
        if about:
            document["made_by"] = dict(about)
        if transcript.alternatives:
            document["alternatives"] = [
                {"text": one_line(a.text), "score": round(a.score, 3)}
                for a in transcript.alternatives
            ]
        return _storable(json.dumps(document, ensure_ascii=False, allow_nan=False)) + "\n"


class SrtWriter(TranscriptWriter):
    """SubRip subtitles, numbered from 1; nothing at all when nothing was said."""

    format = "srt"
    extension = ".srt"

    def render(
        self,
        transcript: Transcript,
        *,
        source: str,  # noqa: ARG002
        about: Mapping[str, object] | None = None,  # noqa: ARG002
    ) -> str:
        """Return the cues, with a blank line between them."""
        return "\n".join(
            f"{number}\n{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}\n"
            + "".join(f"{line}\n" for line in cue.lines)
            for number, cue in enumerate(layout_cues(transcript.as_tokens()), start=1)
        )


class VttWriter(TranscriptWriter):
    """WebVTT subtitles (https://www.w3.org/TR/webvtt1/); only the header when nothing was said."""

    format = "vtt"
    extension = ".vtt"

    def render(
        self,
        transcript: Transcript,
        *,
        source: str,  # noqa: ARG002
        about: Mapping[str, object] | None = None,  # noqa: ARG002
    ) -> str:
        """Return the header and the cues, with a blank line before each."""
        return "WEBVTT\n" + "".join(
            f"\n{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n"
            + "".join(f"{_escape(line)}\n" for line in cue.lines)
            for cue in layout_cues(transcript.as_tokens())
        )


class TsvWriter(TranscriptWriter):
    """Columns ``start``, ``end`` (whole milliseconds) and ``text``, as whisper writes them.

    A row is a run of words with no pause over ``cues.MAX_GAP`` seconds.
    """

    format = "tsv"
    extension = ".tsv"

    def render(
        self,
        transcript: Transcript,
        *,
        source: str,  # noqa: ARG002
        about: Mapping[str, object] | None = None,  # noqa: ARG002
    ) -> str:
        """Return the header and one row a segment."""
        return "start\tend\ttext\n" + "".join(
            f"{milliseconds(segment[0].start)}\t{milliseconds(_end(segment))}\t{_text(segment)}\n"
            for segment in split_at_pauses(transcript.as_tokens())
        )


class CtmWriter(TranscriptWriter):
    """NIST's CTM, which scoring tools such as sclite read: a line a word.

    Columns are the recording's name without folders and extension, channel ``1``, start and
    duration in seconds, the word, and its confidence.
    """

    format = "ctm"
    extension = ".ctm"

    def render(
        self,
        transcript: Transcript,
        *,
        source: str,
        about: Mapping[str, object] | None = None,  # noqa: ARG002
    ) -> str:
        """Return a line for each word; nothing at all when nothing was said."""
        name = "_".join(_storable(Path(source).stem).split()) or "unnamed"
        # Two semicolons begin a comment.
        name = name.replace(";;", "__")
        return "".join(
            f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} "
            f"{'_'.join(word.text.split())} {word.confidence:.3f}\n"
            for word in transcript.words
            if one_line(word.text)
        )


class JsonlWriter(JsonWriter):
    """JSON Lines: what ``json`` writes, in a file that says by its name that it can be joined."""

    format = "jsonl"
    extension = ".jsonl"


WRITERS: Mapping[str, TranscriptWriter] = MappingProxyType(
    {
        writer.format: writer
        for writer in (
            TxtWriter(),
            JsonWriter(),
            JsonlWriter(),
            SrtWriter(),
            VttWriter(),
            TsvWriter(),
            CtmWriter(),
        )
    }
)
"""The writers by format name."""

FORMATS: tuple[str, ...] = tuple(WRITERS)
"""The format names, in the order in which help shows them."""


def write_transcript(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8: a reader sees the old file or the whole new one.

    A file that is replaced keeps its permissions, and a link keeps pointing to it. What is not a
    regular file, such as ``/dev/stdout`` or a named pipe, is written to directly.

    Raises ``OutputError`` if the file cannot be written; ``path`` is then as it was.
    """
    data = text.encode("utf-8")
    given = Path(path)
    try:
        # Asked of the name as given: /dev/stdout resolves to a pipe, which no path leads to.
        if given.exists() and not given.is_file():
            given.write_bytes(data)
        else:
            _replace(given.resolve(), data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {os.fspath(path)}: {reason}; choose a folder that exists, is writable "
            "and has space"
        ) from error


def _replace(target: Path, data: bytes) -> None:
    # Made with open() and not tempfile, whose files only their owner may read.
    temporary = target.with_name(TEMPORARY.format(secrets.token_hex(8)))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _storable(text: str) -> str:
    """Replace lone surrogates, as which bytes of a name that are not UTF-8 reach Python, by ?."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _segments(transcript: Transcript) -> Iterator[tuple[tuple[Token, ...], list[dict[str, Any]]]]:
    """Yield the segments of a transcript, each with its recognised words as JSON has them."""
    words = iter(_described(transcript))
    for run in split_at_pauses(transcript.as_tokens()):
        own: list[dict[str, Any]] = []
        missing = [word for token in run for word in token.words]
        while missing and (following := next(words, None)) is not None:
            word, described = following
            own.append(described)
            if word == missing[0]:
                del missing[0]
        yield run, own


def _described(transcript: Transcript) -> Iterator[tuple[Word, dict[str, Any]]]:
    """Yield the words that can be seen, each with what JSON says of it."""
    plain = transcript.tokens is None
    forms = word_forms(transcript.words, transcript.tokens or ())
    for word, form in zip(transcript.words, forms, strict=True):
        if one_line(word.text):
            described = {
                "word": one_line(word.text),
                "text": form,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 3),
            }
            if plain:
                del described["text"]
            yield word, described


def _text(segment: Iterable[Token]) -> str:
    return " ".join(one_line(str(token)) for token in segment)


def _end(segment: Iterable[Token]) -> float:
    return max(token.end for token in segment)


def _timestamp(seconds: float, point: str) -> str:
    """``HH:MM:SS`` and milliseconds after ``point``; from 100 hours on, ``HH`` grows."""
    # Rounded first and taken apart as integers: 59.9996 s is 00:01:00.000, never 00:00:60.000.
    minutes, rest = divmod(milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escape(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
