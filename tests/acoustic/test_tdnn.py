"""The time-delay network of the second pass, beside a plain loop over timesteps in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from streamasr.acoustic import AcousticStage
from streamasr.acoustic.frontend import Frontend
from streamasr.acoustic.model import AcousticModel, ModelConfig, load_bundle, save_bundle
from streamasr.acoustic.model.tdnn import (
    BYPASS,
    FactoredTDNN,
    TDNNConfig,
    TDNNLayer,
    middle_frames,
)
from streamasr.errors import ConfigError
from streamasr.tokens import Tokens

from ..conftest import relative_error

BINS = 10
SIZES = TDNNConfig(
    hidden_size=14,
    bottleneck=5,
    dilations=(1, 2, 1, 3),
    channels=(2, 3),
    front_size=6,
    gate_size=4,
    gate_every=2,
    head_size=7,
    delay=2,
)


def a_network(sizes: TDNNConfig = SIZES, bins: int = BINS, seed: int = 0) -> FactoredTDNN:
    torch.manual_seed(seed)
    network = FactoredTDNN(sizes, bins, 6)
    with torch.no_grad():
        for offset in network.offsets:
            offset.normal_(0, 0.3)
    return network.requires_grad_(False).eval()


def reference(
    x: Tensor, network: FactoredTDNN, known: Callable[[int, int], int] | None = None
) -> Tensor:
    """``log_probs (T, P)`` of one segment ``x (T, I)``: one timestep after the other.

    ``known`` says how many of a layer's inputs its gates for a timestep may read; else they read
    to both sides.
    """
    weights = {name: value.double() for name, value in network.state_dict().items()}
    c, steps = network.config, len(x)

    def linear(name: str, value: Tensor) -> Tensor:
        bias = weights.get(f"{name}.bias", torch.zeros((), dtype=torch.float64))
        return weights[f"{name}.weight"] @ value + bias

    def convolved(name: str, image: Tensor, at: int) -> Tensor:
        """One row of a convolution's output, whose rows of ``image`` begin with ``at``."""
        rows = [
            image[:, at + k] if 0 <= at + k < image.shape[1] else torch.zeros_like(image[:, 0])
            for k in range(3)
        ]
        patch = torch.nn.functional.pad(torch.stack(rows, 1), (1, 1))
        w, b = weights[f"{name}.weight"], weights[f"{name}.bias"]
        places = range(0, patch.shape[2] - 2, 2)
        values = [(w * patch[None, :, :, p : p + 3]).sum((1, 2, 3)) + b for p in places]
        return torch.stack(values, 1).clamp(min=0)

    mel = torch.cat([torch.zeros(c.delay * c.frames, BINS), x.reshape(steps * c.frames, BINS)])
    image = mel.double()[None]
    first = torch.stack([convolved("front.conv1", image, t - 1) for t in range(len(mel))], 1)
    r = []
    for t in range(steps + c.delay):
        seen = convolved("front.conv2", first, t * c.frames)
        y = linear("front.up", linear("front.down", seen.t().flatten()))
        r.append(y.clamp(min=0) + weights["offsets.0"])
    silence = torch.zeros(c.hidden_size, dtype=torch.float64)

    def at(values: list[Tensor], t: int) -> Tensor:
        return values[t] if 0 <= t < len(values) else silence

    for number, d in enumerate(c.dilations):
        name = f"layers.{number}"
        gates = [torch.ones(c.hidden_size, dtype=torch.float64)] * len(r)
        if number % c.gate_every == c.gate_every - 1:
            reach = c.gate_reach or len(r)
            parts = [
                slice(known(number, t)) if known else slice(max(0, t - reach), t + reach + 1)
                for t in range(len(r))
            ]
            means = [torch.stack(r[part]).mean(0) for part in parts]
            squeezed = [linear(f"{name}.squeeze", mean).clamp(min=0) for mean in means]
            gates = [2 * linear(f"{name}.excite", one).sigmoid() for one in squeezed]
        narrow = {
            t: linear(f"{name}.down", torch.cat([at(r, t - d), at(r, t)]))
            for t in range(len(r) + d)
        }
        r = [
            BYPASS * r[t]
            + gates[t]
            * (
                linear(f"{name}.up", torch.cat([narrow[t], narrow[t + d]])).clamp(min=0)
                + weights[f"offsets.{number + 1}"]
            )
            for t in range(len(r))
        ]
    found = []
    for t in range(steps):
        z = linear("before_head", r[t])
        z = (z - z.mean()) / (z.var(correction=0) + 1e-5).sqrt()
        found.append(linear("head", z).log_softmax(0))
    return torch.stack(found)


@pytest.mark.smoke
@pytest.mark.parametrize("lengths", [[9], [11, 1, 4], [3, 3]])
@pytest.mark.parametrize("reach", [0, 1, 3, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_a_plain_loop_computes(lengths, seed, reach):
    network = a_network(SIZES.model_copy(update={"gate_reach": reach}), seed=seed)
    x = torch.randn(max(lengths), len(lengths), network.input_size)
    found = network(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        expected = reference(x[:length, row], network)
        assert relative_error(found[:length, row], expected) < 1e-6


def test_without_lengths_all_rows_are_whole():
    network, x = a_network(), torch.randn(9, 2, 3 * BINS)
    assert relative_error(network(x), network(x, torch.tensor([9, 9]))) < 1e-6
    assert network(x[:0]).shape == (0, 2, 6)


def test_what_stands_behind_a_row_means_nothing():
    network, x = a_network(), torch.randn(9, 2, 3 * BINS)
    lengths = torch.tensor([9, 5])
    other = x.clone()
    other[5:, 1] = 1e6
    assert torch.equal(network(x, lengths)[:5, 1], network(other, lengths)[:5, 1])


def test_it_reads_the_frames_in_the_middle_each_once():
    stacked = torch.arange(40).unfold(0, 13, 3)[..., None].expand(-1, -1, BINS).flatten(1)
    own = middle_frames(stacked, 3, BINS).reshape(-1, BINS)[:, 0]
    assert own.tolist() == [*range(5, 5 + len(own))]


def with_tdnn(folder: Path, tiny_folder: Path) -> AcousticModel:
    """Write a model folder with phones and a time-delay network; return its model."""
    torch.manual_seed(0)
    tiny, phones = load_bundle(tiny_folder), Tokens.phones()
    frames = tiny.config.frontend.stride or tiny.config.frontend.stack
    changed = {
        "phone_size": len(phones),
        "tdnn": SIZES.model_copy(update={"frames": frames}),
    }
    sizes = ModelConfig(**{**tiny.config.model.model_dump(), **changed})
    model = AcousticModel(sizes).requires_grad_(False).eval()
    config = tiny.config.model_copy(update={"model": sizes})
    save_bundle(folder, config, model, tiny.tokens, phones=phones)
    return model


def kept_frames(model: AcousticModel) -> tuple[int, int]:
    assert model.config.tdnn is not None
    return model.config.tdnn.frames, model.config.n_mels


def test_a_model_folder_keeps_it_as_int8(tiny_folder: Path, tmp_path: Path):
    model = with_tdnn(tmp_path, tiny_folder)
    stored = load_file(tmp_path / "model.safetensors")
    matrices = [t for name, t in stored.items() if name.startswith("tdnn.") and t.dim() == 2]
    assert {t.dtype for t in matrices if t.shape[1] > 1} == {torch.int8}
    encoded = torch.randn(12, 2, model.config.encoded_size)
    expected = model.second_pass(encoded)
    for int8 in (False, True):
        again = load_bundle(tmp_path, int8=int8).model
        assert relative_error(again.second_pass(encoded), expected) < 0.02


def test_what_it_reads_comes_out_of_the_stage_in_any_chunks(
    tiny_folder: Path, tmp_path: Path, speech
):
    model = with_tdnn(tmp_path, tiny_folder)
    bundle = load_bundle(tmp_path)
    stage, samples = AcousticStage(bundle, torch.device("cpu")), torch.tensor(speech[:40_000])
    features, _ = Frontend(bundle.config.frontend)(samples, stage.initial_state().frontend)
    assert model.tdnn is not None
    state, found = stage.initial_state(), []
    for chunk in samples.split(7_000):
        output, state = stage(chunk, state)
        found.append(output.encoded)
    encoded = torch.cat(found)
    assert torch.equal(encoded, middle_frames(features, *kept_frames(model)))
    expected = bundle.model.second_pass(encoded[:, None])[:, 0]
    assert stage.second_pass is not None
    assert torch.equal(stage.second_pass.whole(encoded), expected)


def test_it_needs_phones_and_enough_frames():
    with pytest.raises(ConfigError, match="a second pass needs phone_size"):
        ModelConfig(input_size=240, vocab_size=5, tdnn=TDNNConfig())
    with pytest.raises(ConfigError, match=r"tdnn\.frames: a timestep of 2 frames"):
        ModelConfig(input_size=160, vocab_size=5, phone_size=6, tdnn=TDNNConfig())


def test_layers_without_gates_have_no_weights_for_them():
    kinds = [TDNNLayer(SIZES, number).squeeze is None for number in range(4)]
    assert kinds == [True, False, True, False]


@pytest.mark.parametrize("bins", [10, 23, 80])
def test_shapes_are_known_without_making_it(bins):
    made = {name: tuple(t.shape) for name, t in a_network(bins=bins).state_dict().items()}
    assert SIZES.tensor_shapes(bins, 6) == made
