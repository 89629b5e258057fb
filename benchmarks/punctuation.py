"""Score punctuation and capitals of recognised speech against the books that were read.

    python -m benchmarks.punctuation find MANIFEST BOOKS… > references.jsonl
    python -m benchmarks.punctuation score references.jsonl transcripts.jsonl
    python -m benchmarks.punctuation cost RECORDING…

``find`` looks an utterance's transcript up in BOOKS, text files whose prose keeps its marks; one
that is found word for word is a line of JSON: its path, and its words with marks and capitals.
``transcripts.jsonl`` is what ``streamasr transcribe MANIFEST -f jsonl --stdout`` printed. ``score``
prints, as JSON, F1 by mark and of capitals, and the expected calibration error of the marks:

- ``true``: the tagger reads what was said, with the times that the recogniser gave its words;
- ``recognised``: it reads the recognised words. A mark behind a word that was missed counts at the
  word before it, if that has none; what stands at an additional word is wrong;
- ``pauses``: a full stop at each pause of half a second, on the words of ``true``;
- ``truecase``: capitals by the package of that name, on the words of ``true``, if it is installed
  (``pip install truecase``): nothing else with weights of its own was found on PyPI.

Each utterance is read by itself, so most full stops stand at its end.

``cost`` listens to recordings as a live session does, and prints what formatting its events takes
beside that, medians of ``--repeats``; a first run warms up.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamasr import Recognizer
from streamasr.audio import open_audio
from streamasr.audio.resample import SAMPLE_RATE
from streamasr.books import book_files, book_text, marked_words, prose_of_book
from streamasr.books.marked import MarkedWord
from streamasr.manifest import read_manifest
from streamasr.pretrained import PRETRAINED
from streamasr.samples import rechunk
from streamasr.text.features import WordTable, pause_class
from streamasr.text.labels import ENDS, MARKS, UNKNOWN
from streamasr.text.live import EventFormatter
from streamasr.text.network import Tagger
from streamasr.text.storage import load_tagger
from streamasr.training.punctuation_scores import (
    Predicted,
    calibration_error,
    f1_scores,
    predict,
)
from streamasr.training.punctuation_text import rows_of
from streamasr.wer import aligned_words, normalise

GRAM = 6
"""Words in a row by which a paragraph is seen to hold an utterance."""
PAUSE_SECONDS = 0.5

Timed = tuple[str, float, float]
"""A word, its start and its end in seconds."""


_PLAIN = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalpha() or chr(code) == "'") else 32
    for code in range(256)
)


def plain_words(text: bytes) -> list[str]:
    """Return the words of a text without anything else: quickly, for there are many books."""
    return text.replace("\u2019".encode(), b"'").translate(_PLAIN).decode("ascii").split()


def grams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield each ``GRAM`` words in a row."""
    return zip(*(words[k:] for k in range(GRAM)), strict=False)


def find(manifest: Path, books: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the utterances that stand in a book, each with what a reader would write."""
    missing: dict[str, list[str]] = {}
    wanted: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for utterance in read_manifest(manifest):
        words = normalise(utterance.transcript).split()
        missing[utterance.path.name] = words
        for offset, gram in enumerate(grams(words)):
            wanted.setdefault(gram, []).append((utterance.path.name, offset))
    for book in book_files(books):
        hits = sum(gram in wanted for gram in grams(plain_words(book.read_bytes())))
        if hits < 2 * GRAM:  # less is a quotation, or a common phrase
            continue
        for paragraph in prose_of_book(book_text(book)):
            if not any(gram in wanted for gram in grams(plain_words(paragraph.encode()))):
                continue
            marked = marked_words(paragraph)
            said = [word.word for word in marked]
            for place, gram in enumerate(grams(said)):
                for name, offset in wanted.get(gram, ()):
                    start = place - offset
                    words = missing.get(name, [""])
                    if start >= 0 and said[start : start + len(words)] == words:
                        del missing[name]
                        found = marked[start : start + len(words)]
                        yield {"path": name, "words": found, "book": book.name}


def words_of(transcript: dict[str, Any]) -> list[Timed]:
    """Return the words of a line of ``transcribe -f jsonl``."""
    return [
        (word["word"], word["start"], word["end"])
        for segment in transcript["segments"]
        for word in segment["words"]
    ]


def timed_as(said: Sequence[str], words: Sequence[Timed]) -> list[Timed]:
    """Return what was said at the times of the recognised words; between them, evenly spread."""
    known = {
        i: words[j][1:] for _, i, j in aligned_words(" ".join(said), [word for word, _, _ in words])
    }
    end = max((end for _, _, end in words), default=1.0)
    timed: list[Timed] = []
    for place, word in enumerate(said):
        if place in known:
            timed.append((word, *known[place]))
            continue
        before = timed[-1][2] if timed else 0.0
        later = [k for k in known if k > place]
        after = known[min(later)][0] if later else end
        step = max(0.0, after - before) / ((min(later) if later else len(said)) - place)
        timed.append((word, before, before + step))
    return timed


def labels_of(marked: Sequence[MarkedWord]) -> tuple[list[int], list[int]]:
    """Return the labels of marks and of capitals."""
    marks = [UNKNOWN if w.mark is None else MARKS.index(w.mark) for w in marked]
    return marks, [UNKNOWN if w.capital is None else int(w.capital) for w in marked]


def labels_at(marked: Sequence[MarkedWord], words: Sequence[Timed]) -> tuple[list[int], list[int]]:
    """Return the labels that recognised words should have."""
    true_marks, true_capitals = labels_of(marked)
    said = " ".join(word.word for word in marked)
    pairs = {i: j for _, i, j in aligned_words(said, [word for word, _, _ in words])}
    marks, capitals = [0] * len(words), [UNKNOWN] * len(words)
    last = -1
    for i, (mark, capital) in enumerate(zip(true_marks, true_capitals, strict=True)):
        last = pairs.get(i, last)
        if i in pairs:
            marks[last], capitals[last] = mark, capital
        elif last >= 0 and marks[last] == 0:
            marks[last] = mark
    return marks, capitals


class Scores:
    """Predictions and labels of utterances, one behind the other."""

    def __init__(self) -> None:
        self._parts: list[tuple[Predicted, list[int], list[int]]] = []

    def add(self, said: Predicted, marks: list[int], capitals: list[int]) -> None:
        """Add an utterance."""
        self._parts.append((said, marks, capitals))

    def summary(self) -> dict[str, object]:
        """Return F1 by mark and of capitals, and the calibration of the marks."""
        said = Predicted(
            np.concatenate([part.marks for part, _, _ in self._parts]),
            np.concatenate([part.capitals for part, _, _ in self._parts]),
        )
        marks = np.array([mark for _, own, _ in self._parts for mark in own], np.int8)
        capitals = np.array([capital for _, _, own in self._parts for capital in own], np.int8)
        found = f1_scores(said, marks, capitals)
        return {
            "words": len(marks),
            "ece": round(calibration_error(said, marks), 4),
            **{name: round(score.f1, 3) for name, score in found.items()},
            "true": {name: score.true for name, score in found.items()},
        }


def tagged(tagger: Tagger, table: WordTable, words: Sequence[Timed]) -> Predicted:
    """Return what the tagger says of an utterance; a sentence begins with it."""
    ahead = tagger.config.look_ahead + 1
    pauses = [0] + [
        pause_class(max(0.0, start - end)) for (_, _, end), (_, start, _) in pairwise(words)
    ]
    rows = rows_of(table, [word for word, _, _ in words])
    rows = np.concatenate([rows, np.repeat(rows[-1:], ahead - 1, axis=0)])
    said = predict(tagger, rows, np.array([*pauses, *[0] * ahead], np.int8))
    # Behind a mark that ends a sentence is a capital, and "I" always is one, as in the text.
    ends = [True, *(MARKS[label] in ENDS for label in said.marks.argmax(-1)[:-1])]
    first_person = [word == "i" or word.startswith("i'") for word, _, _ in words]
    capitals = np.where(np.array(ends) | np.array(first_person), 1.0, said.capitals)
    return Predicted(said.marks, capitals.astype(np.float32))


def by_pauses(words: Sequence[Timed]) -> Predicted:
    """Return a full stop at each pause and at the end."""
    marks = np.zeros((len(words), len(MARKS)), np.float32)
    capitals = np.zeros(len(words), np.float32)
    capitals[0] = 1
    for place, (_, _, end) in enumerate(words):
        stop = place + 1 == len(words) or words[place + 1][1] - end >= PAUSE_SECONDS
        marks[place, MARKS.index(".") if stop else 0] = 1
        if stop and place + 1 < len(words):
            capitals[place + 1] = 1
    return Predicted(marks, capitals)


def by_truecase() -> Callable[[Sequence[Timed]], Predicted] | None:
    """Return what predicts capitals by ``truecase``, None where it is not installed."""
    try:
        caser = importlib.import_module("truecase.TrueCaser").TrueCaser()
    except ImportError:
        return None

    def predicted(words: Sequence[Timed]) -> Predicted:
        cased = caser.get_true_case_from_tokens([word for word, _, _ in words])
        marks = np.zeros((len(words), len(MARKS)), np.float32)
        marks[:, 0] = 1
        return Predicted(marks, np.array([word[0].isupper() for word in cased], np.float32))

    return predicted


def score(references: Path, transcripts: Path, model: Path) -> dict[str, object]:
    """Return the scores of all utterances that are in both files."""
    loaded = load_tagger(model)
    if loaded is None:
        sys.exit(f"{model}: has no tagger")
    said = {
        Path(found["source"]).name: words_of(found)
        for found in map(json.loads, transcripts.read_text("utf-8").splitlines())
    }
    truecased = by_truecase()
    names = ["true", "recognised", "pauses", *(["truecase"] if truecased else [])]
    scores = {name: Scores() for name in names}
    count = 0
    for reference in map(json.loads, references.read_text("utf-8").splitlines()):
        words = said.get(reference["path"])
        marked = [MarkedWord(*word) for word in reference["words"]]
        if not words:
            continue
        count += 1
        timed = timed_as([word.word for word in marked], words)
        scores["true"].add(tagged(*loaded, timed), *labels_of(marked))
        scores["pauses"].add(by_pauses(timed), *labels_of(marked))
        if truecased:
            scores["truecase"].add(truecased(timed), *labels_of(marked))
        scores["recognised"].add(tagged(*loaded, words), *labels_at(marked, words))
    return {"utterances": count, **{name: found.summary() for name, found in scores.items()}}


def cost(recordings: Sequence[Path], repeats: int) -> dict[str, object]:
    """Return the CPU seconds of a live session without formatting, and of formatting its events."""
    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(text_style="plain")
    formatter = Recognizer.from_pretrained(text_style="formatted").formatter
    assert formatter is not None
    blocks: list[NDArray[np.float32]] = []
    for path in recordings:
        with open_audio(path) as audio:
            blocks += [*audio.blocks(), np.zeros(SAMPLE_RATE, np.float32)]
    stage = EventFormatter(formatter)
    plain, text, finals = [], [], []
    for _ in range(repeats + 1):
        began = time.process_time()
        events = [*recognizer.listen(rechunk(blocks, SAMPLE_RATE * 80 // 1000))]
        plain.append(time.process_time() - began)
        state, own = stage.initial_state(), 0.0
        for event in events:
            began = time.process_time()
            _, state = stage(event, state)
            took = time.process_time() - began
            own += took
            if event.type == "final":
                finals.append(1000 * took)
        text.append(own)
    session, formatting = statistics.median(plain[1:]), statistics.median(text[1:])
    return {
        "audio_seconds": round(sum(map(len, blocks)) / SAMPLE_RATE, 1),
        "events": len(events),
        "session_cpu_seconds": round(session, 3),
        "formatting_cpu_seconds": round(formatting, 4),
        "share": round(formatting / session, 4),
        "milliseconds_of_a_final": round(statistics.median(finals), 2),
    }


def main() -> None:
    """Find references, or score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    finding = commands.add_parser("find")
    finding.add_argument("manifest", type=Path)
    finding.add_argument("books", type=Path, nargs="+")
    scoring = commands.add_parser("score")
    scoring.add_argument("references", type=Path)
    scoring.add_argument("transcripts", type=Path)
    scoring.add_argument("--model", type=Path, default=PRETRAINED)
    costing = commands.add_parser("cost")
    costing.add_argument("recordings", type=Path, nargs="+")
    costing.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.command == "cost":
        print(json.dumps(cost(given.recordings, given.repeats)))
    elif given.command == "find":
        for line in find(given.manifest, given.books):
            print(json.dumps(line), flush=True)
    else:
        print(json.dumps(score(given.references, given.transcripts, given.model), indent=1))


if __name__ == "__main__":
    main()
