"""A second stack, trained on a finished model that stays as it is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from streamasr.acoustic.model import load_bundle
from streamasr.errors import ConfigError
from streamasr.training import load_config, train
from streamasr.training.averaging import average_runs
from streamasr.training.config import NetworkConfig
from streamasr.training.network import TrainingNetwork

from ..conftest import relative_error
from .test_phones import words_of, write_lexicon

SIZES = NetworkConfig(hidden_size=20, num_layers=2, dropout=0, second=2)
LENGTHS = torch.tensor([9, 4, 7])
SECOND = "second = 2"
TDNN = (
    "tdnn = { frames = 4, hidden_size = 24, bottleneck = 8, dilations = [1, 2], channels = [2, 4], "
    "front_size = 12, gate_size = 4, gate_every = 2, head_size = 12 }"
)


def a_network(seed: int = 0) -> TrainingNetwork:
    """Gains and biases away from where they start."""
    torch.manual_seed(seed)
    network = TrainingNetwork(SIZES, 12, 7, 5).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def test_what_is_exported_is_what_was_trained():
    network, frames = a_network(), torch.randn(9, 3, 12)
    with torch.no_grad():
        expected = network(frames, LENGTHS)
        model = network.export()
        r, _ = model.encode(frames)
        assert model.second is not None
        phones = model.second(r, LENGTHS)
        characters = model.classify(r)[..., :7]
    for row, length in enumerate(LENGTHS):
        said = expected[:length, row]
        assert relative_error(phones[:length, row], said[:, 7:12]) < 1e-6
        assert relative_error(characters[:length, row], said[:, :7]) < 1e-6


def test_gradients_of_a_padded_batch_are_those_of_its_rows():
    network, frames = a_network(), torch.randn(9, 3, 12)
    weights = torch.randn(9, 3, 17)
    inside = (torch.arange(9)[:, None] < LENGTHS)[..., None]
    (network(frames, LENGTHS) * weights * inside).sum().backward()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"second"}
    rows = [
        (network(frames[:n, row : row + 1]) * weights[:n, row : row + 1]).sum()
        for row, n in enumerate(LENGTHS.tolist())
    ]
    expected = torch.autograd.grad(torch.stack(rows).sum(), [*trained.values()])
    for (name, parameter), gradient in zip(trained.items(), expected, strict=True):
        assert parameter.grad is not None, name
        assert relative_error(parameter.grad, gradient) < 1e-5, name


def test_it_begins_with_the_head_below_it_and_goes_on_from_its_own():
    torch.manual_seed(0)
    plain = SIZES.model_copy(update={"second": 0})
    below = TrainingNetwork(plain, 12, 7, 5).export()
    network = TrainingNetwork(SIZES, 12, 7, 5).eval()
    network.load_exported(below)
    assert network.second is not None
    assert torch.equal(network.second.head.weight, below.head.weight[7:])
    frames = torch.randn(9, 3, 12)
    with torch.no_grad():
        expected = a_network()(frames, LENGTHS)
        again = TrainingNetwork(SIZES, 12, 7, 5).eval()
        again.load_exported(a_network().export())
        found = again(frames, LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert relative_error(found[:length, row, :12], expected[:length, row, :12]) < 1e-6


@pytest.fixture
def finished(recipe, tone_data: Path, tmp_path: Path) -> Path:
    """A model with heads for characters and phones, hardly trained."""
    write_lexicon(tmp_path / "lexicon.txt", words_of(tone_data))
    path = recipe("finished", updates=4)
    path.write_text(path.read_text() + '\n[phones]\nlexicon = "lexicon.txt"\n')
    return train(load_config(path))


@pytest.fixture
def second_recipe(recipe, finished: Path):
    """Write the configuration of a second pass for ``finished``; returns its path."""

    def write(name: str = "second", network: str = SECOND, **values: int) -> Path:
        path = recipe(name, **values)
        text = path.read_text().replace("num_layers = 2", f"num_layers = 2\n{network}")
        path.write_text(
            f'init = "{finished}"\n{text}muon = true\n\n[phones]\nlexicon = "lexicon.txt"\n'
            "delay_seconds = 0.08\n\n[loss]\ncharacters = 0\nframes = 0.3\nphones = 1.0\n"
            "denominator = true\n"
        )
        return path

    return write


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_it_learns_and_the_model_below_stays(second_recipe, finished: Path, tmp_path: Path):
    folder = train(load_config(second_recipe(updates=60, save_every=60, decay=20)))
    found = losses(tmp_path / "second")
    assert sum(found[-5:]) < sum(found[:5]) - 2.5
    below, model = load_bundle(finished).model, load_bundle(folder).model
    assert model.second is not None
    frames = torch.randn(20, 1, model.config.input_size)
    assert relative_error(model(frames)[0], below(frames)[0]) < 1e-4
    average_runs([tmp_path / "second"] * 2, tmp_path / "mean")
    mean = load_bundle(tmp_path / "mean").model
    r, _ = model.encode(frames)
    assert mean.second is not None
    assert relative_error(mean.second(r), model.second(r)) < 1e-4


@pytest.mark.parametrize("network", [SECOND, TDNN])
def test_a_run_stopped_while_its_rate_was_constant_can_be_cooled_down(
    second_recipe, tmp_path, network
):
    whole = train(load_config(second_recipe("whole", network, updates=10, decay=4, save_every=5)))
    train(load_config(second_recipe("broken", network, updates=6, decay=0, save_every=3)))
    again = load_config(second_recipe("broken", network, updates=10, decay=4, save_every=5))
    broken = train(again)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert load_bundle(broken).fingerprint == load_bundle(whole).fingerprint


@pytest.mark.parametrize("network", [SECOND, TDNN])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("init =", "#", r"network\.(second|tdnn) needs init"),
        ('lexicon = "lexicon.txt"', "", "needs phones.lexicon|need phones.lexicon"),
        ("characters = 0\n", "characters = 0.5\n", "loss.characters must be 0"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(second_recipe, network, old, new, message):
    path = second_recipe(network=network)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_model_that_does_not_fit_is_refused(second_recipe, recipe, tmp_path: Path):
    folder = train(load_config(second_recipe(updates=1)))
    path = second_recipe("other")
    text = path.read_text().replace(str(tmp_path / "finished" / "model"), str(folder))
    path.write_text(text.replace("second = 2", "second = 3"))
    with pytest.raises(ConfigError, match="second stack of 2 layers, network asks for 3"):
        train(load_config(path))
    characters = train(load_config(recipe("characters", updates=1)))
    path.write_text(text.replace(str(folder), str(characters)))
    with pytest.raises(ConfigError, match="no head for phones"):
        train(load_config(path))
