"""The acoustic model and its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamasr.acoustic.model import AcousticModel, ModelConfig, load_bundle, save_bundle
from streamasr.acoustic.model.acoustic import tensor_shapes
from streamasr.acoustic.model.convolutions import Convolutions
from streamasr.acoustic.model.matrices import from_int8, to_int8
from streamasr.acoustic.model.tdnn import TDNNConfig
from streamasr.errors import ConfigError, ModelError
from streamasr.tokens import Tokens

from ..conftest import relative_error


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_shapes_and_posteriors():
    model = AcousticModel(ModelConfig(input_size=6, hidden_size=10, num_layers=3, vocab_size=5))
    log_probs, state = model(torch.randn(7, 2, 6))
    assert log_probs.shape == (7, 2, 5)
    assert state.h.shape == state.C.shape == (3, 2, 10)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(7, 2))


@pytest.mark.smoke
def test_convolutions_are_those_of_a_plain_loop():
    """Three layers of 3 x 3, in float64, of each timestep by itself."""
    torch.manual_seed(0)
    found = Convolutions(9 * 20, 6, channels=2, n_mels=20).double()
    frames = torch.randn(4, 3, 9 * 20, dtype=torch.float64)
    maps = frames.reshape(12, 1, 9, 20)
    for layer, (down, across) in zip(found.layers[::2], [(1, 2), (2, 2), (1, 2)], strict=False):
        weight, bias = layer.weight, layer.bias
        maps = torch.nn.functional.pad(maps, (1, 1))
        rows = range(0, maps.shape[2] - 2, down)
        columns = range(0, maps.shape[3] - 2, across)
        out = torch.zeros(12, len(weight), len(rows), len(columns), dtype=torch.float64)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                seen = maps[:, None, :, row : row + 3, column : column + 3]
                out[:, :, i, j] = (seen * weight).sum((2, 3, 4)) + bias
        maps = out.clamp(min=0)
    expected = (maps.flatten(1) @ found.project.weight.T).view(4, 3, 6)
    assert relative_error(found(frames), expected) < 1e-12
    assert relative_error(found.float()(frames.float()), expected) < 1e-6


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize(("phone_size", "tdnn"), [(0, None), (7, None), (7, TDNNConfig())])
def test_shapes_are_known_without_the_model(channels, phone_size, tdnn):
    config = ModelConfig(
        input_size=9 * 20,
        hidden_size=11,
        num_layers=3,
        vocab_size=5,
        phone_size=phone_size,
        channels=channels,
        n_mels=20,
        tdnn=tdnn,
    )
    made = AcousticModel(config).state_dict()
    assert tensor_shapes(config) == {name: tuple(value.shape) for name, value in made.items()}


def test_convolutions_need_room():
    sizes = {"input_size": 8 * 80, "vocab_size": 5, "channels": 4}
    with pytest.raises(ConfigError, match="at least 9 frames of 80 bins"):
        ModelConfig(**sizes)
    assert ModelConfig(**{**sizes, "input_size": 9 * 80}).convolutions() is not None


@pytest.mark.smoke
def test_a_saved_model_loads_the_same(tmp_path: Path, tiny_folder: Path):
    bundle = load_bundle(tiny_folder)
    save_bundle(tmp_path, bundle.config, bundle.model, bundle.tokens, dtype=torch.float32)
    again = load_bundle(tmp_path)
    assert again.config == bundle.config
    assert again.tokens == bundle.tokens
    for name, tensor in bundle.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_int8_keeps_each_row_to_within_half_a_step(seed):
    torch.manual_seed(seed)
    rows = torch.randn(13, 29) * torch.logspace(-3, 2, 13)[:, None]
    rows[5] = 0
    tensors = {"w": rows, "w.bias": torch.randn(13)}
    again = from_int8(to_int8(tensors))
    steps = rows.double().abs().amax(dim=1, keepdim=True) / 127
    assert to_int8(tensors)["w"].dtype == torch.int8
    # Half a step, and float16's rounding of the result.
    assert ((again["w"].double() - rows).abs() <= 0.5 * steps + 2**-11 * rows.abs() + 1e-7).all()
    assert relative_error(again["w.bias"], tensors["w.bias"]) < 2**-11
    assert set(again) == set(tensors)


def test_int8_weights_lose_nothing_in_float16(tiny_folder: Path):
    weights = load_bundle(tiny_folder).model.state_dict()
    assert load_file(tiny_folder / "model.safetensors")["head.weight"].dtype == torch.int8
    assert all(torch.equal(w.half().float(), w) for w in weights.values())


def test_a_scale_of_the_wrong_size_is_a_damaged_file(folder: Path):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["head.weight.scale"] = torch.ones(3, 1)
    save_file(tensors, path)
    with pytest.raises(ModelError, match="damaged"):
        load_bundle(folder)


def test_the_fingerprint_is_of_all_that_words_depend_on(folder: Path):
    first = load_bundle(folder).fingerprint
    (folder / "MODEL_CARD.md").write_text("what it is")
    assert load_bundle(folder).fingerprint == first
    (folder / "beam.json").write_text('{"beam_size": 50}')
    second = load_bundle(folder).fingerprint
    (folder / "beam.json").write_text('{"beam_size": 60}')
    assert len({first, second, load_bundle(folder).fingerprint}) == 3


def test_tokens_encode_text():
    tokens = Tokens.characters()
    assert [tokens.symbols[i] for i in tokens.encode("it's a")] == [*"it's", "<space>", "a"]
    with pytest.raises(KeyError):
        tokens.encode("É")


def edit_config(folder: Path, change) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def edit_tensors(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_folder_that_says_it_has_no_second_stack_loads(folder: Path):
    """As those do that were written while there could be one."""
    before = load_bundle(folder).config
    edit_config(folder, lambda c: c["model"].update(second_layers=0))
    assert load_bundle(folder).config == before


DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: cannot be read"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"safetensors: cannot be read"),
    "no tokens": (lambda f: (f / "tokens.txt").unlink(), r"tokens\.txt: cannot be read"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: Invalid JSON"),
    "unknown key": (
        lambda f: edit_config(f, lambda c: c.update(colour="red")),
        "colour: Extra inputs",
    ),
    "a second stack": (
        lambda f: edit_config(f, lambda c: c["model"].update(second_layers=2)),
        r"model\.second_layers: Extra inputs are not permitted$",
    ),
    "other format": (lambda f: edit_config(f, lambda c: c.update(format=2)), "format: Input"),
    "sizes disagree": (
        lambda f: edit_config(f, lambda c: c["model"].update(input_size=80)),
        "input_size is 80, but the frontend gives 320",
    ),
    "no statistics": (
        lambda f: edit_config(f, lambda c: c["frontend"].update(mean=[])),
        "mean and frontend.std are missing",
    ),
    "more layers than weights": (
        lambda f: edit_config(f, lambda c: c["model"].update(num_layers=3)),
        r"tensor lstm\.bias_hh_l2 is missing",
    ),
    "other hidden size": (
        lambda f: edit_config(f, lambda c: c["model"].update(hidden_size=25)),
        r"has shape .* config\.json asks for",
    ),
    "truncated weights": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-5]
        ),
        "not a safetensors file, or damaged",
    ),
    "empty weights": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        "not a safetensors file, or damaged",
    ),
    "a NaN weight": (
        lambda f: edit_tensors(f, lambda t: t["head.bias"].fill_(float("nan"))),
        r"head\.bias has values that are not finite",
    ),
    "an extra tensor": (
        lambda f: edit_tensors(f, lambda t: t.update(extra=torch.zeros(1))),
        "tensor extra is unexpected",
    ),
    "a token too few": (
        lambda f: (f / "tokens.txt").write_text("<blank>\n<space>\na\n"),
        "3 tokens, but model.vocab_size is 29",
    ),
    "a token twice": (
        lambda f: (f / "tokens.txt").write_text("<blank>\n<space>\na\na\n"),
        "listed twice",
    ),
    "blank not first": (
        lambda f: (f / "tokens.txt").write_text("a\n<blank>\n<space>\n"),
        "first token must be <blank>",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, damage, message):
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="no such model folder"):
        load_bundle(tmp_path / "nowhere")
