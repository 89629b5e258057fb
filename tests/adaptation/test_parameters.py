"""Folded parameters compute what the same parameters do beside the weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamasr.acoustic.frontend import Frontend, FrontendConfig
from streamasr.acoustic.model import AcousticModel, ModelConfig
from streamasr.acoustic.model.matrices import from_int8, to_int8
from streamasr.acoustic.model.tdnn import TDNNConfig, middle_frames
from streamasr.adaptation.network import posteriors
from streamasr.adaptation.parameters import Adapter

from ..conftest import relative_error

BINS = 6
SIZES = ModelConfig(
    input_size=9 * BINS,
    hidden_size=20,
    num_layers=2,
    vocab_size=5,
    phone_size=7,
    channels=2,
    n_mels=BINS,
    tdnn=TDNNConfig(
        hidden_size=14,
        bottleneck=5,
        dilations=(1, 2),
        channels=(2, 3),
        front_size=6,
        gate_size=4,
        gate_every=2,
        head_size=7,
    ),
)
LENGTHS = torch.tensor([11, 4, 8])


def a_model(sizes: ModelConfig = SIZES) -> AcousticModel:
    torch.manual_seed(0)
    return AcousticModel(sizes).requires_grad_(False).eval()


def moved(method, model: AcousticModel, n_mels: int = BINS) -> Adapter:
    """An adapter whose parameters are away from 0."""
    adapter = Adapter(model, n_mels, method, rank=3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return adapter


def expected(model: AcousticModel, frames: Tensor, row: int) -> Tensor:
    """What the model answers for one row alone."""
    own = frames[: LENGTHS[row], row : row + 1]
    r, _ = model.encode(own, backend="torch")
    found = [model.classify(r)]
    if model.tdnn is not None:
        found.append(model.tdnn(middle_frames(own, 3, BINS)))
    return torch.cat(found, -1)[:, 0]


@pytest.mark.parametrize("method", ["scales", "low-rank", "full"])
def test_the_exported_model_is_the_function_that_was_trained(method):
    model = a_model()
    adapter = moved(method, model)
    frontend = FrontendConfig(n_mels=BINS, stack=9, mean=(-4.0,) * BINS, std=(3.0,) * BINS)
    samples = torch.randn(3, 20_000)
    before = Frontend(frontend)
    frames = before.stack(before.log_mel(samples)).transpose(0, 1)[:11]
    with torch.no_grad():
        found = torch.cat(posteriors(adapter(), SIZES, frames, LENGTHS).heads, -1)
        exported, changed = adapter.export(frontend)
    after = Frontend(changed)
    own = after.stack(after.log_mel(samples)).transpose(0, 1)[:11]
    for row, length in enumerate(LENGTHS.tolist()):
        assert relative_error(expected(exported, own, row), found[:length, row]) < 1e-5
        assert relative_error(expected(model, frames, row), found[:length, row]) > 0.01


def test_gains_beside_the_weights_are_those_in_them():
    """``scales`` against a plain loop in float64, in which gains act on what a matrix reads."""
    model = a_model().double()
    adapter = moved("scales", model).double()
    frames = torch.randn(7, 1, SIZES.input_size, dtype=torch.float64)
    with torch.no_grad():
        found = posteriors(adapter(), SIZES, frames, torch.tensor([7]))
        base, changes = adapter.original().tensors, adapter.changes

        def gain(name: str) -> Tensor:
            return 1 + changes[f"{name}:columns".replace(".", "/")]

        def bias(name: str) -> Tensor:
            added = changes.get(f"{name}:added".replace(".", "/"))
            return base[name] + (added if added is not None else 0)

        def normalised(r: Tensor) -> Tensor:
            return torch.nn.functional.layer_norm(r, r.shape[-1:], eps=1e-5)

        assert model.convolutions is not None
        seen = adapter().features(frames)
        r = seen @ base["input.weight"].T + bias("input.bias") + model.convolutions(seen)
        for layer in range(SIZES.num_layers):
            name = f"lstm.weight_%s_l{layer}"
            ih, hh = name % "ih", name % "hh"
            shift = bias(f"lstm.bias_ih_l{layer}") + bias(f"lstm.bias_hh_l{layer}")
            h = C = torch.zeros(1, SIZES.hidden_size, dtype=torch.float64)
            out = []
            for x in normalised(r):
                gates = (x * gain(ih)) @ base[ih].T + (h * gain(hh)) @ base[hh].T + shift
                i, f, g, o = gates.chunk(4, -1)
                C = f.sigmoid() * C + i.sigmoid() * g.tanh()
                h = o.sigmoid() * C.tanh()
                out.append(h)
            r = r + torch.stack(out)
        logits = (normalised(r) * gain("head.weight")) @ base["head.weight"].T + bias("head.bias")
    assert relative_error(found.characters, logits[..., :5].log_softmax(-1)) < 1e-9
    assert found.phones is not None
    assert relative_error(found.phones, logits[..., 5:].log_softmax(-1)) < 1e-9


@pytest.mark.parametrize("method", ["scales", "low-rank", "full"])
def test_an_adapter_begins_as_the_model(method):
    adapter = Adapter(a_model(), BINS, method)
    frames = torch.randn(5, 2, SIZES.input_size)
    lengths = torch.tensor([5, 3])
    with torch.no_grad():
        pairs = zip(
            posteriors(adapter(), SIZES, frames, lengths).heads,
            posteriors(adapter.original(), SIZES, frames, lengths).heads,
            strict=True,
        )
        assert all(torch.equal(one, other) for one, other in pairs)


def test_every_parameter_has_a_gradient_and_the_model_has_none():
    adapter = moved("scales", a_model())
    frames = torch.randn(5, 2, SIZES.input_size)
    found = posteriors(adapter(), SIZES, frames, torch.tensor([5, 3]))
    torch.stack([head.square().sum() for head in found.heads]).sum().backward()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert not any(tensor.requires_grad for tensor in adapter.original().tensors.values())


def test_int8_rounds_folded_gains_no_more_than_the_weights():
    """Columns that grow share the rows' scale with all others."""
    adapter = Adapter(a_model(), BINS, "scales")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for name, tensor in adapter().tensors.items():
        if tensor.dim() != 2:
            continue
        again = from_int8(to_int8({name: tensor.detach()}))[name]
        assert relative_error(again, tensor) < 0.01


@pytest.mark.parametrize("method", ["scales", "low-rank", "full"])
def test_half_the_change_is_half_way(method):
    adapter = moved(method, a_model())
    start = adapter.original()
    with torch.no_grad():
        whole, shift = adapter(), adapter.shift.clone()
        adapter.weaken(0.5)
        half = adapter()
    for name, tensor in start.tensors.items():
        expected = (whole.tensors[name] - tensor) / 2
        assert torch.allclose(half.tensors[name] - tensor, expected, atol=1e-6), name
    assert torch.allclose(half.gain - start.gain, (whole.gain - start.gain) / 2, atol=1e-6)
    assert torch.allclose(half.shift, shift / 2)
