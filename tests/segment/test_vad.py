"""The voice detector: speech and silence, any chunking, any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamasr.segment import WINDOW_SAMPLES, VoiceDetector

SILENCE = np.zeros(32_000, np.float32)


def test_the_voice_detector_hears_speech_and_not_its_chunks(speech):
    detector = VoiceDetector()
    samples = torch.tensor(np.concatenate([SILENCE, speech]))
    whole, _ = detector(samples, detector.initial_state())
    state, parts = detector.initial_state(), []
    for piece in samples.split(333):
        found, state = detector(piece, state)
        parts += found
    assert parts == pytest.approx(whole, abs=1e-5)
    silent = len(SILENCE) // WINDOW_SAMPLES
    assert max(whole[:silent]) < 0.3
    assert sum(p > 0.5 for p in whole[silent:]) > 0.7 * len(whole[silent:])


def test_the_voice_detector_hears_many_as_it_hears_each(speech):
    detector = VoiceDetector()
    samples = torch.tensor(np.concatenate([SILENCE, speech]))
    rows = [samples[n * 7919 :] for n in range(5)]
    alone = [detector(row, detector.initial_state())[0] for row in rows]
    states = [detector.initial_state() for _ in rows]
    together: list[list[float]] = [[] for _ in rows]
    for turn in range(40):
        # Pieces of all lengths, some empty, some too short for a window.
        pieces = [row[turn * 1280 : turn * 1280 + 1280] for row in rows]
        parts = [piece.split(100 + (n + turn) % 3 * 600) for n, piece in enumerate(pieces)]
        for step in range(max(map(len, parts))):
            now = [part[step] if step < len(part) else torch.zeros(0) for part in parts]
            found = detector.many(now, states)
            states = [state for _, state in found]
            for row, (answers, _) in zip(together, found, strict=True):
                row.extend(answers)
    for row, whole in zip(together, alone, strict=True):
        assert len(row) == 40 * 1280 // WINDOW_SAMPLES
        assert row == pytest.approx(whole[: len(row)], abs=1e-5)
