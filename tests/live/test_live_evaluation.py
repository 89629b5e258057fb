"""Latencies of a replay in real time, and what they are computed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamasr.live_evaluation import changed_words, evaluate_live, speech_end
from streamasr.manifest import read_manifest, write_manifest


@pytest.fixture
def manifest(samples_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "one.tsv"
    chosen = [u for u in read_manifest(samples_folder / "samples.tsv") if "belly" in u.path.name]
    write_manifest(path, chosen)
    return path


def test_a_replay_takes_its_time_and_measures_what_a_listener_waits(recognizer, manifest):
    evaluation = evaluate_live(recognizer, read_manifest(manifest))
    (result,) = evaluation.results
    figures = evaluation.figures()
    assert result.text
    assert result.lost_seconds == 0
    assert result.seconds == pytest.approx(0.5 + 3.275 + 0.8 + 2.0, abs=1.5)
    # Neither before the rule allows it, nor as late as the end of the replay.
    assert 600 < figures["final"][0] < 2000
    assert -500 < figures["first_partial"][0] < 2000
    assert figures["word"]
    assert 0 <= evaluation.changed_share <= 1
    assert 0 < evaluation.cpu < 2


@pytest.mark.parametrize(
    ("updates", "final", "expected"),
    [
        ([], [], (0, 0)),
        ([["a"], ["a", "b"]], ["a", "b"], (2, 0)),
        ([["a"], ["an"], ["an", "b"]], ["an", "b"], (3, 0)),
        ([["a", "x"], ["an", "x"]], ["an", "x"], (3, 1)),
        ([["a", "b"], ["b"]], ["b"], (3, 2)),
        ([["a"], []], [], (1, 1)),
    ],
)
def test_words_that_partials_took_back_are_counted(updates, final, expected):
    assert changed_words(updates, final) == expected


def test_speech_ends_where_its_energy_does():
    rng = np.random.default_rng(0)
    audio = (1e-4 * rng.standard_normal(32_000)).astype(np.float32)
    audio[4_000:20_000] += 0.1 * rng.standard_normal(16_000).astype(np.float32)
    assert speech_end(audio) == pytest.approx(20_000 / 16_000, abs=0.011)
    assert speech_end(audio[:0]) == 0
