"""A data set small enough to train on within a test: tones for letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamasr.manifest import Utterance, write_manifest

TONES = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3000.0}


def tone_word(text: str, rng: np.random.Generator) -> np.ndarray:
    """Each letter 0.2 s of its own tone, each space 0.2 s of nothing."""
    time = np.arange(3_200) / 16_000
    silence = np.zeros(1_600)
    parts = [silence]
    for letter in text:
        tone = 0.3 * np.sin(2 * np.pi * TONES[letter] * time) if letter != " " else 0 * time
        parts += [tone, silence]
    audio = np.concatenate(parts)
    return audio + 0.001 * rng.standard_normal(len(audio))


@pytest.fixture(scope="session")
def tone_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.tsv (24 utterances), dev.tsv (6), noise/ and rir/."""
    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    for name, count in (("train", 24), ("dev", 6)):
        utterances = []
        for index in range(count):
            letters = rng.choice(list("abcd"), size=rng.integers(2, 5))
            text = " ".join("".join(part) for part in np.array_split(letters, 2) if len(part))
            path = root / "audio" / f"{name}{index}.wav"
            path.parent.mkdir(exist_ok=True)
            audio = tone_word(text, rng)
            soundfile.write(path, audio, 16_000)
            utterances.append(
                Utterance(path, len(audio) / 16_000, f"speaker{index % 2}", text.upper())
            )
        write_manifest(root / f"{name}.tsv", utterances)
    for folder, length in (("noise", 8_000), ("rir", 800)):
        (root / folder).mkdir()
        sound = 0.1 * rng.standard_normal(length) * np.exp(-np.arange(length) / 200)
        soundfile.write(root / folder / "one.wav", sound, 16_000)
    return root


RECIPE = """
output = "{output}"
precision = "float32"
save_every = {save_every}
evaluate_every = 10
evaluate_utterances = 6

[data]
root = "{root}"
train = [{{ manifest = "train.tsv" }}]
dev = ["dev.tsv"]
noise = "noise"
rooms = "rir"
batch_seconds = 8
workers = 0

[augment]
padding_seconds = 0.1

[network]
hidden_size = 32
num_layers = 2

[optimizer]
updates = {updates}
peak_lr = 0.005
warmup = 5
decay = {decay}
"""


@pytest.fixture
def recipe(tone_data: Path, tmp_path: Path):
    """Write a configuration; returns its path."""

    def write(name: str = "run", *, updates: int = 12, save_every: int = 4, decay: int = 4) -> Path:
        path = tmp_path / f"{name}.toml"
        text = RECIPE.format(
            output=tmp_path / name,
            root=tone_data,
            updates=updates,
            save_every=save_every,
            decay=decay,
        )
        path.write_text(text)
        return path

    return write
