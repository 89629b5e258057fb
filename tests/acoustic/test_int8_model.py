"""The model in int8 on a CPU: what the float64 model answers, in the same bits however cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from persistent_lstm import LSTMState, PersistentLSTM, cpu_unavailable
from safetensors.torch import load_file

from streamasr.acoustic.model import AcousticModel, load_bundle, save_bundle
from streamasr.acoustic.model.convolutions import Convolutions
from streamasr.acoustic.model.matrices import SCALE
from streamasr.api import Recognizer
from streamasr.errors import ModelError

from ..conftest import relative_error, save_tiny


def timesteps(T: int, B: int, stack: int, step: int, n_mels: int) -> torch.Tensor:
    """Return ``(T, B, stack * n_mels)`` of random frames, which timesteps share."""
    frames = torch.randn(B, step * (T - 1) + stack, n_mels)
    seen = [frames[:, step * t : step * t + stack].reshape(B, -1) for t in range(T)]
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("stack", "step", "n_mels", "channels"),
    [(13, 3, 80, 16), (9, 3, 20, 2), (9, 1, 21, 3), (10, 2, 7, 17), (11, 4, 80, 5), (9, 9, 20, 2)],
)
@pytest.mark.parametrize(("T", "B"), [(1, 1), (2, 3), (3, 1), (8, 2)])
def test_shared_convolutions_are_those_of_each_timestep_alone(T, B, stack, step, n_mels, channels):
    assert not cpu_unavailable()
    torch.manual_seed(T)
    found = Convolutions(stack * n_mels, 6, channels, n_mels)
    frames = timesteps(T, B, stack, step, n_mels)
    expected = found.double()(frames.double())  # without a step: each timestep alone, in torch
    found.float().step = step
    with torch.no_grad():
        shared = found(frames)
        alone = torch.cat([found(one) for one in frames.split(1)])
    assert relative_error(shared, expected) < 1e-6
    seen, apart = found._shared(frames), [found._shared(one) for one in frames.split(1)]
    assert torch.equal(seen, torch.cat(apart))
    assert relative_error(shared, alone) < 1e-6


def test_convolutions_learn():
    found = Convolutions(9 * 20, 6, channels=2, n_mels=20)
    found.step = 3
    found(timesteps(2, 1, 9, 3, 20)).sum().backward()
    assert found.layers[0].weight.grad is not None


@pytest.fixture(scope="module")
def convolving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convolving")
    return save_tiny(folder, stack=9, stride=3, channels=2)


def in_float64(folder: Path) -> AcousticModel:
    """Return the model that a folder's int8 matrices and scales stand for, exactly."""
    stored = load_file(folder / "model.safetensors")
    exact = {
        name: value.double() * stored[name + SCALE].double() if name + SCALE in stored else value
        for name, value in stored.items()
        if not name.endswith(SCALE)
    }
    model = AcousticModel(load_bundle(folder).config.model).double()
    model.load_state_dict(exact)
    return model


@pytest.mark.parametrize("backend", ["auto", "cpu", "torch", "reference"])
def test_it_is_the_model_that_was_stored(convolving: Path, backend: str):
    model = load_bundle(convolving, int8=True).model
    frames = timesteps(7, 3, 9, 3, 80)
    with torch.inference_mode():
        found, state = model(frames, backend=backend)
        expected, last = in_float64(convolving)(frames.double(), backend="reference")
    assert found.dtype == torch.float32
    assert relative_error(found, expected) < 1e-6
    assert relative_error(state.C, last.C) < 1e-6


def test_without_numba_it_is_the_same_model_in_torch(convolving: Path, monkeypatch):
    model = load_bundle(convolving, int8=True).model
    for module in ("_cpu", "layers"):
        monkeypatch.setattr(f"persistent_lstm.{module}.numba_missing", lambda: "Numba is missing")
    assert cpu_unavailable() == "Numba is missing"
    frames = timesteps(7, 3, 9, 3, 80)
    with torch.inference_mode():
        found, _ = model(frames)
        expected, _ = in_float64(convolving)(frames.double(), backend="reference")
    assert relative_error(found, expected) < 1e-6
    recognizer = Recognizer.from_pretrained(convolving)
    assert recognizer.backend == "torch"
    assert recognizer.backend_reason == "no GPU; in float32, as Numba is missing"


@given(
    cuts=st.lists(st.integers(0, 12), max_size=5).map(sorted),
    rows=st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_any_chunking_and_any_batch_give_the_same_bits(convolving: Path, cuts, rows):
    model = load_bundle(convolving, int8=True).model
    torch.manual_seed(0)
    frames = timesteps(12, 6, 9, 3, 80)
    with torch.inference_mode():
        whole, last = model(frames)
        state = model.initial_state(len(rows))
        parts = []
        for start, end in zip([0, *cuts], [*cuts, 12], strict=True):
            if end > start:
                part, state = model(frames[start:end, rows], state)
                parts.append(part)
    assert torch.equal(torch.cat(parts), whole[:, rows])
    assert torch.equal(state.C, last.C[:, rows])


def test_rows_of_different_lengths_have_the_bits_that_they_have_alone(convolving: Path):
    model = load_bundle(convolving, int8=True).model
    frames = timesteps(6, 4, 9, 3, 80)
    lengths = [6, 0, 2, 5]
    for row, length in enumerate(lengths):
        frames[length:, row] = float("nan") if row == 2 else 0
    with torch.inference_mode():
        found, last = model(frames, lengths=torch.tensor(lengths))
        for row, length in enumerate(lengths):
            own = slice(row, row + 1)
            state = model.initial_state()
            if length:
                alone, state = model(frames[:length, own], state)
                assert torch.equal(found[:length, own], alone)
            assert torch.equal(last.C[:, own], state.C)


def test_a_nan_stays_in_its_row(convolving: Path):
    model = load_bundle(convolving, int8=True).model
    frames = timesteps(4, 3, 9, 3, 80)
    with torch.inference_mode():
        clean, _ = model(frames)
        frames[1, 1, 100] = float("nan")
        found, _ = model(frames)
    assert torch.equal(found[:, [0, 2]], clean[:, [0, 2]])
    assert torch.equal(found[0, 1], clean[0, 1])
    assert found[1:, 1].isnan().all()


def test_a_folder_of_float16_is_loaded_in_floating_point(tmp_path: Path, tiny_folder: Path):
    bundle = load_bundle(tiny_folder)
    save_bundle(tmp_path, bundle.config, bundle.model, bundle.tokens, dtype=torch.float16)
    model = load_bundle(tmp_path, int8=True).model
    assert isinstance(model.lstm, PersistentLSTM)
    recognizer = Recognizer.from_pretrained(tmp_path)
    assert (recognizer.backend, recognizer.backend_reason) == ("cpu", "float16 weights, no GPU")


def test_a_recognizer_on_a_cpu_computes_in_int8(tiny: Recognizer, recognizer: Recognizer):
    for one in (tiny, recognizer):
        assert (one.backend, one.backend_reason) == ("cpu", "int8 weights, no GPU")


def test_state_of_one_chunk_is_left_as_it_was(convolving: Path):
    model = load_bundle(convolving, int8=True).model
    state = LSTMState(*(torch.randn(2, 1, 24) for _ in range(2)))
    before = state.h.clone(), state.C.clone()
    with torch.inference_mode():
        model(timesteps(2, 1, 9, 3, 80), state)
    assert torch.equal(state.h, before[0])
    assert torch.equal(state.C, before[1])


def test_a_model_in_int8_is_not_saved(tmp_path: Path, convolving: Path):
    bundle = load_bundle(convolving, int8=True)
    with pytest.raises(ModelError, match="cannot be saved: load it without"):
        save_bundle(tmp_path, bundle.config, bundle.model, bundle.tokens)
    assert not list(tmp_path.iterdir())
