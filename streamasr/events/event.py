"""Events of live recognition: partial and final text, and gaps in the audio.

As JSON Lines an event is one object; ``event.schema.json`` beside this file describes it
(https://json-schema.org, draft 2020-12).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..transcript import Token, Word, joined, word_forms

__all__ = ["Event", "agreement", "event_schema"]


@dataclass(frozen=True, slots=True)
class Event:
    """A segment as it looks now (``partial``), as it stays (``final``), or missing audio (``gap``).

    Segments count up from 0. Each has any number of partials and then one final, which is empty if
    its partials turn out to have been noise; a gap lies between two segments and carries the number
    of the one to come.

    The first ``firm`` words of a partial can no longer change, nor can how they are written, but
    for the mark behind the last of them; all of a final's are firm. ``tokens`` are the words as
    they are written; None where the text is plain.

    ``start`` and ``end`` are those of the words, or of the gap, in seconds from the start of the
    session; lost audio counts. ``latency_ms`` is the time from the capture of the sound at ``end``
    to this event. ``reason`` says why audio is missing: ``overflow`` where recognition could not
    keep up, ``device`` where the microphone was gone.
    """

    type: Literal["partial", "final", "gap"]
    segment: int
    start: float
    end: float
    words: tuple[Word, ...] = ()
    latency_ms: float = 0.0
    reason: str = ""
    firm: int = 0
    tokens: tuple[Token, ...] | None = None

    @property
    def text(self) -> str:
        """The words as they are written."""
        return self.plain_text if self.tokens is None else joined(self.tokens)

    @property
    def plain_text(self) -> str:
        """The recognised words joined by single spaces, lower case and without marks."""
        return " ".join(word.text for word in self.words)

    @property
    def forms(self) -> list[str]:
        """How each word is written; "" within a number, behind its first word, and if left out."""
        if self.tokens is None:
            return [word.text for word in self.words]
        return word_forms(self.words, self.tokens)

    @property
    def description(self) -> str:
        """What stands in a transcript where a gap is."""
        why = "the microphone was gone" if self.reason == "device" else "too slow to keep up"
        return f"[{self.end - self.start:.1f} s of audio lost: {why}]"

    def as_dict(self) -> dict[str, Any]:
        """Return what ``to_json`` writes; times in seconds, to the millisecond."""
        values: dict[str, Any] = {
            "type": self.type,
            "segment": self.segment,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
        }
        if self.type == "gap":
            values["reason"] = self.reason
        else:
            values["text"] = self.text
            values["words"] = [
                {
                    "word": word.text,
                    **({} if self.tokens is None else {"text": form}),
                    "start": round(word.start, 3),
                    "end": round(word.end, 3),
                    "confidence": round(word.confidence, 3),
                }
                for word, form in zip(self.words, self.forms, strict=True)
            ]
        if self.type == "partial":
            values["firm"] = self.firm
        values["latency_ms"] = round(self.latency_ms)
        return values

    def to_json(self) -> str:
        """Return the event as one line of JSON, without a line feed."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False)


def agreement(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two texts have in common at their beginnings."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema that every event satisfies."""
    from importlib.resources import files

    text = (files(__package__) / "event.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
