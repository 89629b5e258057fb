"""A take begins with the first word, ends in the silence behind the last, and is judged."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from streamasr.audio.live import Block
from streamasr.enrollment import TakeConfig, record_take

RATE = 16_000


def silence(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (1e-4 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def blocks(audio: np.ndarray, size: int = 1600, lost: float = 0.0) -> Iterator[Block]:
    for start in range(0, len(audio), size):
        middle = start <= len(audio) // 3 < start + size
        yield Block(audio[start : start + size], time.monotonic(), lost if middle else 0.0)


@pytest.mark.parametrize("size", [160, 1600, 4801])
def test_a_take_is_what_was_said(speech, size):
    audio = np.concatenate([silence(2), 0.5 * speech, silence(3)])
    take = record_take(blocks(audio, size), "for a full hour he had paced up and down")
    assert take.problem == ""
    assert len(speech) / RATE - 1 < take.seconds < len(speech) / RATE + 1.2
    place = int(np.argmax(np.correlate(audio, take.samples[:RATE], "valid")))
    assert np.array_equal(audio[place : place + len(take.samples)], take.samples)


def test_no_more_is_taken_than_the_take_needs(speech):
    audio = np.concatenate([speech, silence(2), speech, silence(2)])
    source = blocks(audio)
    first = record_take(source, "a")
    second = record_take(source, "a")
    assert first.seconds == pytest.approx(second.seconds, abs=0.5)


def test_what_was_said_before_is_passed_over(speech):
    source = blocks(np.concatenate([speech, silence(3)]))
    take = record_take(source, "a", since=time.monotonic() + 1000)
    assert len(take.samples) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: np.clip(20 * s, -1, 1), "too loud, it clips"),
        (lambda s: 0.01 * s, "too quiet"),
        (lambda s: s[: RATE // 2], "too short for the sentence"),
        (lambda s: 0 * s, "there is no sound"),
    ],
)
def test_what_is_wrong_is_said(speech, change, problem):
    audio = np.concatenate([silence(1), change(speech), silence(3)])
    sentence = "for a full hour he had paced up and down"
    take = record_take(blocks(audio), sentence, TakeConfig(patience_seconds=4))
    assert take.problem.startswith(problem)


def test_noise_nearly_as_loud_is_told(speech):
    rng = np.random.default_rng(0)
    level = 0.5 * float(np.sqrt(np.mean(speech**2)))
    audio = np.concatenate([silence(1), speech, silence(3)])
    noisy = (audio + level * rng.standard_normal(len(audio))).astype(np.float32)
    take = record_take(blocks(0.3 * noisy), "for a full hour")
    assert take.problem.startswith("hardly louder than the noise")


def test_lost_sound_is_told(speech):
    audio = np.concatenate([speech, silence(3)])
    assert record_take(blocks(audio, lost=0.2), "a").problem.startswith("sound was lost")
