"""Segments of live audio: as a plain loop over timesteps cuts them, however the audio comes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamasr.acoustic.frontend import FrontendConfig
from streamasr.segment import (
    WINDOW_SAMPLES,
    EndpointConfig,
    Endpointer,
    Part,
    Segmenter,
    VoiceDetector,
)

QUICK = EndpointConfig(silence_seconds=0.4, no_speech_seconds=0.8, longest_seconds=2)
PLAIN = FrontendConfig()
OVERLAPPING = FrontendConfig(stack=9, stride=3)


@pytest.fixture(scope="module")
def talk(speech) -> torch.Tensor:
    """Two seconds of speech, pauses and speech again."""
    silence = np.zeros(24_000, np.float32)
    return torch.tensor(np.concatenate([silence, speech[:40_000], silence, speech[40_000:]]))


def reference(audio: torch.Tensor, frontend: FrontendConfig) -> list[tuple[int, int, bool]]:
    """Return (origin, end, ended) of each segment, found a timestep at a time."""
    detector, endpointer = VoiceDetector(), Endpointer(QUICK, frontend.step_seconds)
    speech, _ = detector(audio, detector.initial_state())
    step, window = frontend.step_samples, frontend.window_samples
    found, origin, position, state = [], 0, 0, endpointer.initial_state()
    while origin + position * step + window <= len(audio):
        seen = origin + position * step + window
        end, state = endpointer([speech[seen // WINDOW_SAMPLES - 1]], state)
        position += 1
        if end is not None:
            found.append((origin, seen, True))
            origin += (position - end.lead) * step
            position, state = 0, endpointer.initial_state()
    return [*found, (origin, len(audio), False)]


def joined(parts: list[Part]) -> list[tuple[int, int, bool, torch.Tensor]]:
    """Join the parts of each segment: (origin, end, ended, samples)."""
    found: list[tuple[int, int, bool, torch.Tensor]] = []
    begins = True
    for part in parts:
        if begins:
            found.append((part.origin, part.origin, False, torch.zeros(0)))
        origin, _, _, before = found[-1]
        assert part.origin == origin
        found[-1] = (origin, part.end, part.ended, torch.cat([before, part.samples]))
        begins = part.ended
    return found


def cut(segmenter: Segmenter, chunks: list[torch.Tensor]) -> list[Part]:
    state, parts = segmenter.initial_state(), []
    for chunk in chunks:
        found, state = segmenter(chunk, state)
        parts += found
    return parts


@given(sizes=st.lists(st.integers(1, 60_000), min_size=1, max_size=30))
@pytest.mark.parametrize("frontend", [PLAIN, OVERLAPPING], ids=["plain", "overlapping"])
def test_any_chunking_gives_the_segments_of_a_plain_loop(talk, frontend, sizes):
    bounds = [b for b in np.cumsum(sizes).tolist() if b < len(talk)]
    found = joined(cut(Segmenter(frontend, QUICK), [*torch.tensor_split(talk, bounds)]))
    expected = reference(talk, frontend)
    assert [(origin, end, ended) for origin, end, ended, _ in found] == expected
    assert len(expected) > 3
    for origin, end, _, samples in found:
        assert torch.equal(samples, talk[origin:end])


def test_many_sessions_are_cut_as_each_by_itself(talk):
    segmenter = Segmenter(PLAIN, QUICK)
    rows = [talk[n * 9_001 :] for n in range(4)]
    chunks = [[*row.split(3_000 + 1_000 * n)] for n, row in enumerate(rows)]
    states = [segmenter.initial_state() for _ in rows]
    together: list[list[Part]] = [[] for _ in rows]
    for turn in range(max(map(len, chunks))):
        now = [own[turn] if turn < len(own) else torch.zeros(0) for own in chunks]
        found = segmenter.many(now, states)
        states = [state for _, state in found]
        for row, (parts, _) in zip(together, found, strict=True):
            row.extend(parts)
    for row, own in zip(together, chunks, strict=True):
        alone = joined(cut(segmenter, own))
        for one, other in zip(joined(row), alone, strict=True):
            assert one[:3] == other[:3]
            assert torch.equal(one[3], other[3])


def test_the_end_is_the_closing_silence_and_a_session_that_begins_afresh(talk):
    segmenter = Segmenter(PLAIN)
    _, state = segmenter(talk[24_000:50_000], segmenter.initial_state())
    part, after = segmenter.end(state, lost_samples=7_000)
    assert torch.equal(part.samples, torch.zeros(PLAIN.closing_samples))
    assert (part.origin, part.end, part.ended, part.speech) == (0, 26_000, True, True)
    assert (after.origin, after.received) == (33_000, 33_000)
    following, _ = segmenter(talk[24_000:50_000], after)
    again, _ = segmenter(talk[24_000:50_000], segmenter.initial_state(33_000))
    assert [(p.origin, p.end) for p in following] == [(p.origin, p.end) for p in again]


def test_a_segment_without_samples_has_no_closing_silence():
    segmenter = Segmenter(PLAIN)
    part, _ = segmenter.end(segmenter.initial_state())
    assert (len(part.samples), part.ended, part.speech) == (0, True, False)


def test_silence_has_no_speech_and_a_recording_is_one_segment(talk):
    segmenter = Segmenter(PLAIN, QUICK)
    parts, state = segmenter(torch.zeros(40_000), segmenter.initial_state())
    assert len(parts) > 1
    assert not any(part.speech for part in parts)
    part, after = segmenter.whole(talk, segmenter.initial_state())
    assert torch.equal(part.samples, talk)
    assert (part.origin, part.end, part.ended, after.received) == (0, len(talk), False, len(talk))
    assert len(pickle.dumps(state)) < 100_000  # of 40,000 samples, those of a lead


def test_a_pickled_state_goes_on(talk):
    segmenter = Segmenter(PLAIN, QUICK)
    _, state = segmenter(talk[:50_000], segmenter.initial_state())
    for begun in (state, pickle.loads(pickle.dumps(state))):
        rest, _ = segmenter(talk[50_000:], begun)
        whole = joined(cut(segmenter, [talk]))
        assert (rest[-1].origin, rest[-1].end) == whole[-1][:2]
