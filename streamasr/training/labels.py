"""Phones of the training set and when they were said, by the network's own alignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..acoustic.frontend import Frontend
from ..decoding.lexicon import read_lexicon
from ..errors import ConfigError
from ..tokens import Tokens
from .alignment import Graph, align, ctc_graph, pronunciation_graph
from .augment import Timing
from .cache import AudioCache
from .network import TrainingNetwork

__all__ = ["Head", "Labels", "Pronunciations", "align_corpus", "of_head"]

_BATCH_SECONDS = 200.0
# Seconds by which the characters of a CTC network were seen to lag behind the sound.
_CHARACTER_LAG = 0.04

Head = Literal["characters", "phones", "frames"]

IGNORED = -100  # label of an utterance without alignment: no loss
Timesteps = NDArray[np.int8]


class Pronunciations:
    """A lexicon: a word and its phones a line, several lines for several pronunciations."""

    def __init__(self, path: str | Path, phones: Tokens) -> None:
        self._path = path
        self._known: dict[str, list[tuple[int, ...]]] = {}
        try:
            lines = read_lexicon(Path(path)).splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as a lexicon ({error})") from error
        for number, line in enumerate(lines, start=1):
            word, *spelling = line.split() or [""]
            try:
                encoded = tuple(phones.encode(spelling))
            except KeyError as error:
                raise ConfigError(f"{path}:{number}: {error} is no phone") from error
            if encoded:
                self._known.setdefault(word, []).append(encoded)

    def __contains__(self, word: str) -> bool:
        return word in self._known

    def __getitem__(self, word: str) -> list[tuple[int, ...]]:
        """Return the pronunciations of ``word``, in phones' indices; raises ConfigError."""
        try:
            return self._known[word]
        except KeyError:
            raise ConfigError(
                f"{self._path}: no pronunciation of {word!r}, which a transcript has; "
                "scripts/build_lexicon writes a lexicon of all words"
            ) from None


@dataclass(frozen=True)
class Labels:
    """A phone, or blank for silence, for each timestep of each utterance as it was recorded.

    An utterance that could not be aligned has none.
    """

    rows: list[Timesteps]
    step_seconds: float
    delay_seconds: float

    def __contains__(self, index: int) -> bool:
        return len(self.rows[index]) > 0

    def phones(self, index: int) -> list[int]:
        """Return the phones that were said, in order."""
        row = self.rows[index]
        changed = np.flatnonzero(np.diff(row, prepend=0))
        return [int(phone) for phone in row[changed] if phone]

    def frames(self, index: int, timing: Timing, steps: int) -> NDArray[np.int64]:
        """Return the label of each of ``steps`` timesteps of an utterance augmented by ``timing``.

        The label of timestep ``t`` is the phone ``delay_seconds`` before its middle.
        """
        row = self.rows[index]
        if not len(row):
            return np.full(steps, IGNORED)
        now = (np.arange(steps) + 0.5) * self.step_seconds - self.delay_seconds - timing.lead
        place = np.floor(now * timing.speed / self.step_seconds).astype(int)
        inside = (place >= 0) & (place < len(row))
        return np.where(inside, row[np.clip(place, 0, len(row) - 1)], 0).astype(np.int64)

    def prior(self, phones: int) -> NDArray[np.float32]:
        """Return each phone's share of the timesteps, blank for silence among them."""
        counts = np.bincount(np.concatenate(self.rows), minlength=phones) + 1.0
        shares: NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
        return shares

    def save(self, path: Path) -> None:
        """Write to one file; a reader sees it whole or not at all."""
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            rows=np.concatenate(self.rows),
            lengths=[len(row) for row in self.rows],
            seconds=[self.step_seconds, self.delay_seconds],
        )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path) as file:
            rows = np.split(file["rows"], np.cumsum(file["lengths"])[:-1])
            step, delay = (float(value) for value in file["seconds"])
        return cls(rows, step, delay)


def align_corpus(
    network: TrainingNetwork,
    frontend: Frontend,
    cache: AudioCache,
    texts: Sequence[str],
    tokens: Tokens,
    pronunciations: Pronunciations,
    *,
    by: Head,
    before: Labels | None = None,
    delay_seconds: float,
) -> Labels:
    """Align every recording of ``cache`` with its text and return its phones.

    Args:
        by: the head that knows best. ``frames``: its posteriors over the phones' shares of the
            labels ``before``, as hybrid systems do (Bourlard and Morgan 1994). ``phones``, each of
            which lasts until the next. ``characters``, each word's time being shared out evenly
            among its phones.
    """
    by_phones = by != "characters"
    rows: list[Timesteps] = [np.zeros(0, np.int8)] * len(texts)
    step = frontend.config.step_seconds
    lag = delay_seconds if by_phones else _CHARACTER_LAG
    shift = round(lag / step)
    assert tokens.space is not None
    prior = np.log(before.prior(network.sizes.phone_size)) if before else np.float32(0)
    for batch in _batches(cache, frontend.config.sample_rate):
        graphs = []
        for index in batch:
            words = texts[index].split()
            if by_phones:
                graphs.append(pronunciation_graph([pronunciations[w] for w in words], 0))
            else:
                graphs.append(ctc_graph([tokens.encode(w) for w in words], tokens.space, 0))
        scores = [of_head(s, by, network) - prior for s in _scores(network, frontend, cache, batch)]
        for index, graph, path in zip(batch, graphs, align(scores, graphs), strict=True):
            if path is None:
                continue
            if by_phones:
                labels = np.array(graph.tokens)[path]
            else:
                words = texts[index].split()
                spoken = [pronunciations[word][0] for word in words]
                labels = _spread(graph, path, spoken)
            length = int(cache.length(index) / frontend.config.sample_rate / step) + 1
            rows[index] = labels[shift : shift + length].astype(np.int8)
    return Labels(rows, step, delay_seconds)


def _batches(cache: AudioCache, rate: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(range(len(cache)), key=cache.length):
        if batch and cache.length(index) / rate * (len(batch) + 1) > _BATCH_SECONDS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def _scores(
    network: TrainingNetwork, frontend: Frontend, cache: AudioCache, batch: list[int]
) -> list[NDArray[np.float32]]:
    items = [
        frontend.stack(frontend.log_mel(torch.cat([torch.from_numpy(cache[i]), frontend.tail()])))
        for i in batch
    ]
    device = next(network.parameters()).device
    lengths = torch.tensor([len(frames) for frames in items])
    log_probs = network(torch.nn.utils.rnn.pad_sequence(items).to(device), lengths).cpu()
    return [log_probs[: len(frames), row].numpy() for row, frames in enumerate(items)]


def of_head(
    log_probs: NDArray[np.float32], by: Head, network: TrainingNetwork
) -> NDArray[np.float32]:
    """Return the part ``by`` of ``log_probs (T, V + P + P)``, as scores of states that last."""
    sizes = network.sizes
    characters, phones, frames = np.split(log_probs, [sizes.vocab_size, sizes.output_size], axis=1)
    if by == "characters":
        return characters
    if by == "frames":
        return frames
    # CTC says a phone once and is silent while it lasts: a blank is as much part of it, but a
    # little less, so that long silence between words is silence.
    blank = phones[:, :1]
    lasting: NDArray[np.float32] = np.logaddexp(phones[:, 1:], blank - np.float32(0.7))
    return np.hstack([blank, lasting])


def _spread(
    graph: Graph, path: NDArray[np.int64], spoken: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """Share the time of each word, from its first to its last character, among its phones."""
    word = np.array(graph.words)[path]
    labels = np.zeros(len(path), np.int64)
    times = [np.flatnonzero(word == number)[[0, -1]] for number in range(len(spoken))]
    for number, (tokens, (first, last)) in enumerate(zip(spoken, times, strict=True)):
        # A character is a spike somewhere in its sound: reach half way to the neighbour, 80 ms
        # at most.
        left = (first - times[number - 1][1] - 1) // 2 if number else 2
        right = (times[number + 1][0] - last) // 2 if number + 1 < len(spoken) else 2
        begin, end = max(first - min(left, 2), 0), min(last + min(right, 2), len(path) - 1)
        span = np.arange(begin, end + 1)
        labels[span] = np.array(tokens)[(span - begin) * len(tokens) // len(span)]
    return labels
