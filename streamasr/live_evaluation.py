"""Latency and stability of live recognition: recordings replayed at the pace they were spoken.

A thread puts a recording into the queue that a microphone fills, 10 ms at a time; what reads it is
the path of ``streamasr mic``. Silence before and after each recording lets its last segment end.

Latencies are measured against the recording, not against what was recognised of it: a word's end is
where the acoustic model ends it, given all of the recording; speech ends where its energy
does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .api import LISTEN_CHUNK_MS, Listener, Recognizer
from .audio import SAMPLE_RATE, open_audio
from .audio.live import BlockQueue, blocks_of
from .failures import Failure, attempt
from .manifest import Utterance
from .segment import EndpointConfig

__all__ = ["LiveEvaluation", "LiveResult", "changed_words", "evaluate_live", "speech_end"]

BEFORE_SECONDS, AFTER_SECONDS = 0.5, 2.0
BLOCK_SECONDS = 0.01
SPEECH_DB = 30.0
"""A frame this far below the loudest is no longer speech."""


@dataclass
class LiveResult:
    """What one recording came to; latencies in ms.

    ``first_partial`` runs from the end of the first word to its being shown, ``words`` from each
    word's end to its first being shown as it stays, ``final`` from the end of speech to the last
    final. None or empty where nothing was recognised.
    """

    utterance: Utterance
    text: str = ""
    first_partial: float | None = None
    words: list[float] = field(default_factory=list)
    final: float | None = None
    partial_words: int = 0
    changed_words: int = 0
    lost_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class LiveEvaluation:
    """The results of a manifest; ``silence_ms`` is what ends a segment.

    Recordings that ``failed`` are in none of the figures.
    """

    results: tuple[LiveResult, ...]
    silence_ms: float
    failed: tuple[Failure, ...] = ()

    def figures(self) -> dict[str, list[float]]:
        """Return the latencies of all recordings, in ms, by what they are latencies of."""
        return {
            "first_partial": [r.first_partial for r in self.results if r.first_partial is not None],
            "word": [latency for r in self.results for latency in r.words],
            "final": [r.final for r in self.results if r.final is not None],
        }

    @property
    def cpu(self) -> float:
        """CPU time of all cores over time, while recordings were replayed."""
        seconds = sum(r.seconds for r in self.results)
        return sum(r.cpu_seconds for r in self.results) / seconds if seconds else 0.0

    @property
    def changed_share(self) -> float:
        """The share of words in partials that later changed."""
        shown = sum(r.partial_words for r in self.results)
        return sum(r.changed_words for r in self.results) / shown if shown else 0.0


def evaluate_live(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    endpoint: EndpointConfig | None = None,
    chunk_ms: int = LISTEN_CHUNK_MS,
    report: Callable[[LiveResult | Failure], None] = lambda _: None,
) -> LiveEvaluation:
    """Replay every recording in real time.

    A recording that breaks off or cannot be read is among the ``failed``.
    """
    endpoint = endpoint or EndpointConfig()
    results: list[LiveResult] = []
    failed: list[Failure] = []
    for utterance in utterances:
        replay = partial(_replay, recognizer, utterance, endpoint, chunk_ms)
        outcome = attempt(utterance.path, replay)
        if isinstance(outcome, Failure):
            failed.append(outcome)
        else:
            results.append(outcome)
        report(outcome)
    return LiveEvaluation(tuple(results), 1000 * endpoint.silence_seconds, tuple(failed))


def _replay(
    recognizer: Recognizer, utterance: Utterance, endpoint: EndpointConfig, chunk_ms: int
) -> LiveResult:
    audio = _read(utterance.path)
    ends = _word_ends(recognizer, audio)
    speech_ends = BEFORE_SECONDS + speech_end(audio)
    padded = np.concatenate(
        [_silence(BEFORE_SECONDS), audio, _silence(endpoint.silence_seconds + AFTER_SECONDS)]
    )
    queue = BlockQueue(SAMPLE_RATE)
    player = threading.Thread(target=_play, args=(padded, queue), daemon=True)
    listener = Listener(recognizer, endpoint, chunk_ms=chunk_ms)
    result = LiveResult(utterance)
    shown: dict[int, list[tuple[float, list[str]]]] = {}
    finals: dict[int, tuple[float, list[str]]] = {}
    began, cpu_began = time.monotonic(), time.process_time()
    player.start()
    for block in blocks_of(queue, lambda: not player.is_alive()):
        result.lost_seconds += block.lost_seconds
        for event in listener.accept(block):
            at = time.monotonic() - began
            texts = [word.text for word in event.words]
            if event.type == "partial":
                shown.setdefault(event.segment, []).append((at, texts))
            elif event.type == "final":
                finals[event.segment] = (at, texts)
    # What only the end of the replay would bring out was not final in time.
    for event in listener.finish():
        if event.type == "final":
            finals[event.segment] = (time.monotonic() - began, [w.text for w in event.words])
    result.seconds = time.monotonic() - began
    result.cpu_seconds = time.process_time() - cpu_began
    _measure(result, shown, finals, ends, speech_ends)
    return result


def _measure(
    result: LiveResult,
    shown: dict[int, list[tuple[float, list[str]]]],
    finals: dict[int, tuple[float, list[str]]],
    ends: list[tuple[str, float]],
    speech_ends: float,
) -> None:
    emitted: list[tuple[str, float]] = []
    for segment in sorted(finals):
        at, texts = finals[segment]
        updates = shown.get(segment, [])
        for index, text in enumerate(texts):
            stands = at
            for when, words in reversed(updates):
                if words[: index + 1] != texts[: index + 1]:
                    break
                stands = when
            emitted.append((text, stands))
        total, changed = changed_words([words for _, words in updates], texts)
        result.partial_words += total
        result.changed_words += changed
    if not emitted:
        return
    result.text = " ".join(text for text, _ in emitted)
    result.final = 1000 * (max(at for at, texts in finals.values() if texts) - speech_ends)
    first = min(
        (at for updates in shown.values() for at, words in updates if words), default=emitted[0][1]
    )
    if ends:
        result.first_partial = 1000 * (first - BEFORE_SECONDS - ends[0][1])
    # Words that the live and the whole recording agree on, in order.
    position = 0
    for text, at in emitted:
        rest = [word for word, _ in ends[position:]]
        if text in rest[:3]:
            position += rest.index(text) + 1
            result.words.append(1000 * (at - BEFORE_SECONDS - ends[position - 1][1]))


def changed_words(updates: Sequence[Sequence[str]], final: Sequence[str]) -> tuple[int, int]:
    """Count the words that partials added, and those of them that did not stay as they were.

    A word is added where an update has a word in a place in which the one before had none or
    another. An update's last word may still grow: it stays if the final word begins with it.
    """
    added = changed = 0
    before: Sequence[str] = ()
    for words in updates:
        for index, word in enumerate(words):
            if index < len(before) and before[index] == word:
                continue
            added += 1
            said = final[index] if index < len(final) else ""
            grows = index == len(words) - 1 and said.startswith(word)
            changed += not (said == word or grows)
        before = words
    return added, changed


def speech_end(audio: NDArray[np.float32]) -> float:
    """Return the seconds at which ``audio (n,)`` last is within 30 dB of its loud parts."""
    hop = SAMPLE_RATE // 100
    frames = audio[: len(audio) // hop * hop].reshape(-1, hop)
    if not len(frames):
        return 0.0
    level = 10 * np.log10((frames.astype(np.float64) ** 2).mean(axis=1) + 1e-12)
    loud = np.flatnonzero(level > np.percentile(level, 95) - SPEECH_DB)
    return float(loud[-1] + 1) / 100


def _word_ends(recognizer: Recognizer, audio: NDArray[np.float32]) -> list[tuple[str, float]]:
    stream = recognizer.stream(partials=False)
    stream.accept(audio)
    return [(word.text, word.end) for word in stream.finish().words]


def _play(audio: NDArray[np.float32], queue: BlockQueue) -> None:
    size = round(BLOCK_SECONDS * SAMPLE_RATE)
    began = time.monotonic()
    for start in range(0, len(audio), size):
        block = audio[start : start + size]
        due = began + (start + len(block)) / SAMPLE_RATE
        time.sleep(max(0.0, due - time.monotonic()))
        queue.put(block[:, None], due)


def _read(path: Path) -> NDArray[np.float32]:
    with open_audio(path) as audio:
        return np.concatenate(list(audio.blocks()))


def _silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)
