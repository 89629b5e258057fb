"""The second pass over a segment, beside a plain loop over its timesteps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from persistent_lstm import NORM_EPSILON, LayerWeights
from safetensors.torch import load_file
from torch import Tensor

from streamasr.acoustic import AcousticStage, ContinuousBatch
from streamasr.acoustic.frontend import Frontend
from streamasr.acoustic.model import (
    AcousticModel,
    ModelConfig,
    SecondStack,
    load_bundle,
    save_bundle,
)
from streamasr.acoustic.model.second import reverse_rows
from streamasr.errors import ConfigError, ModelError
from streamasr.tokens import Tokens

from ..conftest import relative_error


def one_layer(r: Tensor, weights: LayerWeights) -> Tensor:
    """``r (T, H)`` plus what an LSTM makes of it, normalised; gates in the order i, f, g, o."""
    w_ih, w_hh, b_ih, b_hh = weights
    h = C = torch.zeros(r.shape[1], dtype=r.dtype)
    rows = []
    for x in r:
        z = (x - x.mean()) / (x.var(correction=0) + NORM_EPSILON).sqrt()
        i, f, g, o = (w_ih @ z + b_ih + w_hh @ h + b_hh).chunk(4)
        C = f.sigmoid() * C + i.sigmoid() * g.tanh()
        h = o.sigmoid() * C.tanh()
        rows.append(x + h)
    return torch.stack(rows)


def reference(r: Tensor, stack: SecondStack) -> Tensor:
    """Backward, forward, backward, ...; then the head: one row, in float64."""
    r = r.double()
    for number, weights in enumerate(stack.weights):
        doubled = LayerWeights(*(t.double() for t in weights))
        r = one_layer(r.flip(0), doubled).flip(0) if number % 2 == 0 else one_layer(r, doubled)
    z = torch.nn.functional.layer_norm(r, r.shape[-1:], eps=NORM_EPSILON)
    head = stack.head
    return (z @ head.weight.double().T + head.bias.double()).log_softmax(-1)


@pytest.mark.smoke
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[7], [9, 1, 4], [5, 5]])
def test_it_reads_both_ways_as_a_plain_loop_does(layers, lengths):
    torch.manual_seed(layers)
    stack = SecondStack(11, layers, 6).requires_grad_(False)
    r = torch.randn(9, len(lengths), 11)
    found = stack(r, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected = reference(r[:length, row], stack)
        assert relative_error(found[:length, row], expected) < 1e-6


def test_without_lengths_all_rows_are_whole():
    torch.manual_seed(0)
    stack, r = SecondStack(11, 2, 6).requires_grad_(False), torch.randn(9, 2, 11)
    assert torch.equal(stack(r), stack(r, torch.tensor([9, 9])))
    assert stack(r[:0]).shape == (0, 2, 6)


@pytest.mark.parametrize("lengths", [[5, 0, 3], None])
def test_reversing_twice_changes_nothing(lengths):
    x = torch.arange(5 * 3 * 2).view(5, 3, 2)
    known = None if lengths is None else torch.tensor(lengths)
    once = reverse_rows(x, known)
    for row, length in enumerate(lengths or [5] * 3):
        assert torch.equal(once[:length, row], x[:length, row].flip(0))
        assert torch.equal(once[length:, row], x[length:, row])
    assert torch.equal(reverse_rows(once, known), x)


def with_second(folder: Path, tiny_folder: Path) -> AcousticModel:
    """Write a model folder with phones and a second stack of two layers; return its model."""
    tiny, phones = load_bundle(tiny_folder), Tokens.phones()
    changed = {"phone_size": len(phones), "second_layers": 2}
    sizes = ModelConfig(**{**tiny.config.model.model_dump(), **changed})
    model = AcousticModel(sizes)
    config = tiny.config.model_copy(update={"model": sizes})
    save_bundle(folder, config, model, tiny.tokens, phones=phones)
    return model


def test_a_model_folder_keeps_it_as_int8(tiny_folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    model = with_second(tmp_path, tiny_folder)
    stored = load_file(tmp_path / "model.safetensors")
    matrices = [t for name, t in stored.items() if name.startswith("second.") and t.dim() == 2]
    assert {t.dtype for t in matrices if t.shape[1] > 1} == {torch.int8}
    again = load_bundle(tmp_path).model
    frames = torch.randn(12, 2, model.config.input_size)
    with torch.no_grad():
        (r, _), (expected, _) = again.encode(frames), model.encode(frames)
        assert again.second is not None
        assert model.second is not None
        assert relative_error(again.second(r), model.second(expected)) < 0.01
        assert torch.equal(again.classify(r), again(frames)[0])
        # Where the rest is computed in int8, the second pass is that of the same weights in float.
        whole = load_bundle(tmp_path, int8=True).model
        assert whole.second is not None
        assert relative_error(whole.second(r), again.second(r)) < 1e-5


def test_a_folder_without_its_weights_is_refused(tiny_folder: Path, tmp_path: Path):
    with_second(tmp_path, tiny_folder)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"second_layers": 2', '"second_layers": 3')
    )
    with pytest.raises(ModelError, match=r"tensor second\.layers\.2\.bias_hh_l0 is missing"):
        load_bundle(tmp_path)


def test_it_needs_phones():
    with pytest.raises(ConfigError, match="a second pass needs phone_size"):
        ModelConfig(input_size=6, vocab_size=5, second_layers=1)


def test_what_it_reads_comes_out_of_the_stage_in_any_chunks_and_company(
    tiny, tiny_folder: Path, tmp_path: Path, speech
):
    torch.manual_seed(0)
    with_second(tmp_path, tiny_folder)
    bundle = load_bundle(tmp_path)
    stage, samples = AcousticStage(bundle, torch.device("cpu")), torch.tensor(speech[:40_000])
    features, _ = Frontend(bundle.config.frontend)(samples, stage.initial_state().frontend)
    expected, _ = bundle.model.encode(features[:, None])
    batch: ContinuousBatch[int] = ContinuousBatch(stage)
    batch.join(0, iter(samples.split(7_000)))
    batch.join(1, iter([samples[:500]]))
    ended = {}
    while len(batch):
        ended.update({row.key: row.output.encoded for row in batch.step()})
    assert relative_error(ended[0], expected[:, 0]) <= 1e-5
    assert ended[1].shape == (0, bundle.config.model.hidden_size)
    plain, _ = tiny.acoustic(samples, tiny.acoustic.initial_state())
    assert plain.encoded is None
