"""Tones for letters, as somebody else plays them, for a model with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.manifest import Utterance, write_manifest

from ..training.conftest import tone_word

RATE = 16_000


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of ten recordings of a second each, with transcripts."""
    root = tmp_path_factory.mktemp("voice")
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(10):
        text = "".join(rng.choice(list("abcd"), size=3))
        path = root / f"{index}.wav"
        audio = tone_word(text, rng)
        soundfile.write(path, audio, RATE)
        utterances.append(Utterance(path, len(audio) / RATE, "me", text))
    write_manifest(root / "manifest.tsv", utterances)
    return root / "manifest.tsv"
