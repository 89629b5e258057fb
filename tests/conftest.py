"""Shared fixtures: the shipped recordings, the bundled model, and a tiny model to be quick with."""

from __future__ import annotations

import os

# Kernels run under Triton's interpreter here; it must know before anything imports it.
os.environ["TRITON_INTERPRET"] = "1"

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from persistent_lstm import Device, LayerWeights, Plan
from persistent_lstm.planning import PLANNERS

from streamasr.acoustic.frontend import FrontendConfig
from streamasr.acoustic.model import AcousticModel, ModelConfig, save_bundle
from streamasr.acoustic.model.bundle import BundleConfig
from streamasr.api import Recognizer
from streamasr.decoding.graph import SearchGraph, build_graph, load_graph, save_graph
from streamasr.tokens import Tokens

# The problems are small: more threads would only wait for each other.
torch.set_num_threads(1)

try:
    from hypothesis import settings
except ImportError:  # smoke tests run with the base package only
    pass
else:
    settings.register_profile("streamasr", deadline=None, max_examples=25)
    settings.load_profile("streamasr")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def samples_folder() -> Path:
    return REPOSITORY / "samples"


@pytest.fixture(scope="session")
def speech(samples_folder: Path) -> NDArray[np.float32]:
    """A real utterance, 16 kHz mono, 5.4 s."""
    audio, rate = soundfile.read(samples_folder / "waiting.flac", dtype="float32")
    assert rate == 16_000
    return audio


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """The bundled model."""
    return Recognizer.from_pretrained()


@pytest.fixture(scope="session")
def said(speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording to be played into a microphone, which may begin to listen at any sample.

    "Waiting" and the pause behind it are cut out: a file's segments end at shorter pauses than a
    microphone's, and with the word it depends on that whether "but" is heard. What is left is read
    alike in 20 of 20 places, and as a file.
    """
    path = tmp_path_factory.mktemp("said") / "said.wav"
    firm = np.concatenate([speech[: int(2.47 * 16_000)], speech[int(3.45 * 16_000) :]])
    soundfile.write(path, firm, 16_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights: 2 layers of 24."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def save_tiny(
    folder: Path, hidden_size: int = 24, *, stack: int = 4, stride: int = 0, channels: int = 0
) -> Path:
    """Write a model folder with random weights: 2 layers."""
    torch.manual_seed(0)
    frontend = FrontendConfig(stack=stack, stride=stride, mean=(-4.0,) * 80, std=(3.0,) * 80)
    tokens = Tokens.characters()
    sizes = ModelConfig(
        input_size=frontend.feature_size,
        hidden_size=hidden_size,
        num_layers=2,
        vocab_size=len(tokens),
        channels=channels,
    )
    model = AcousticModel(sizes)
    # Sharper than a fresh head and fond of spaces, so that many tokens come out and make words: one
    # that goes on and on would never be shown in a partial.
    assert tokens.space is not None
    with torch.no_grad():
        model.head.weight.mul_(40)
        model.head.bias[tokens.space] += 15
    save_bundle(folder, BundleConfig(frontend=frontend, model=sizes), model, tokens)
    return folder


def write_graph(folder: Path, arpa: str, lexicon: str, tokens: Tokens) -> SearchGraph:
    """Write a model folder's search graph and its lexicon; return the graph."""
    (folder / "lm.arpa").write_text(arpa, encoding="utf-8")
    (folder / "lexicon.txt").write_text(lexicon, encoding="utf-8")
    save_graph(folder, build_graph(folder / "lm.arpa", folder / "lexicon.txt", tokens))
    return load_graph(folder)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Recognizer:
    return Recognizer.from_pretrained(tiny_folder)


@pytest.fixture(scope="session")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """Timesteps that share frames, of which no chunk is a whole number, and convolutions."""
    folder = tmp_path_factory.mktemp("overlapping")
    return Recognizer.from_pretrained(save_tiny(folder, stack=9, stride=3, channels=2))


@pytest.fixture
def toy_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``lstm`` take this machine for a GPU of 4 multiprocessors; needs ``cogrid``."""

    def plan(
        weights: Sequence[LayerWeights],
        batch: int,
        *,
        residual: bool = False,
        split: bool = True,
        backend: str = "triton",
    ) -> Plan:
        first = weights[0]
        return PLANNERS[backend](
            len(weights),
            first.w_hh.shape[1],
            batch,
            first.w_hh.dtype,
            Device("toy", 90, 4, 227 * 1024),
            inputs=first.w_ih.shape[1],
            residual=residual,
            split=split,
        )

    monkeypatch.setattr("persistent_lstm.functional.plan_for", plan)
    monkeypatch.setattr(
        "persistent_lstm.functional.on_gpu", lambda tensor: tensor.device.type == "cpu"
    )


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return ``|actual - expected| / |expected|`` in float64."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm())
