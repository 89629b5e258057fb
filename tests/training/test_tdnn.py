"""A time-delay network for the second pass, trained beside a finished model that stays as it is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from streamasr.acoustic.model import load_bundle
from streamasr.acoustic.model.tdnn import TDNNConfig, middle_frames
from streamasr.errors import ConfigError
from streamasr.training import load_config, train
from streamasr.training.averaging import average_runs
from streamasr.training.config import NetworkConfig
from streamasr.training.network import TrainingNetwork

from ..conftest import relative_error
from .test_phones import words_of, write_lexicon

TDNN = (
    "tdnn = { frames = 4, hidden_size = 24, bottleneck = 8, dilations = [1, 2], channels = [2, 4], "
    "front_size = 12, gate_size = 4, gate_every = 2, head_size = 12 }"
)
BINS = 10
SMALL = TDNNConfig(
    hidden_size=16,
    bottleneck=6,
    dilations=(1, 2, 1),
    channels=(2, 3),
    front_size=8,
    gate_size=4,
    gate_every=2,
    head_size=7,
)
SIZES = NetworkConfig(hidden_size=20, num_layers=2, dropout=0, tdnn=SMALL)
LENGTHS = torch.tensor([9, 4, 7])


def a_network(seed: int = 0) -> TrainingNetwork:
    """Statistics, gains and biases away from where they start."""
    torch.manual_seed(seed)
    network = TrainingNetwork(SIZES, 5 * BINS, 7, 5, BINS).eval()
    assert network.tdnn is not None
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for norm in network.tdnn.norms:
            norm.get_buffer("running_mean").normal_()
            norm.get_buffer("running_var").uniform_(0.1, 3)
    return network


def test_what_is_exported_is_what_was_trained():
    network, frames = a_network(), torch.randn(9, 3, 5 * BINS)
    with torch.no_grad():
        expected = network(frames, LENGTHS)
        model = network.export()
        assert model.tdnn is not None
        phones = model.tdnn(middle_frames(frames, SMALL.frames, BINS), LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert relative_error(phones[:length, row], expected[:length, row, 7:12]) < 1e-6


def test_gradients_of_a_padded_batch_are_those_of_its_rows():
    network, frames = a_network(), torch.randn(9, 3, 5 * BINS)
    weights = torch.randn(9, 3, 17)
    inside = (torch.arange(9)[:, None] < LENGTHS)[..., None]
    (network(frames, LENGTHS) * weights * inside).sum().backward()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    rows = [
        (network(frames[:n, row : row + 1]) * weights[:n, row : row + 1]).sum()
        for row, n in enumerate(LENGTHS.tolist())
    ]
    expected = torch.autograd.grad(torch.stack(rows).sum(), [*trained.values()])
    for (name, parameter), gradient in zip(trained.items(), expected, strict=True):
        assert parameter.grad is not None, name
        assert relative_error(parameter.grad, gradient) < 1e-5, name


def test_it_goes_on_from_an_exported_model():
    frames = torch.randn(9, 3, 5 * BINS)
    again = TrainingNetwork(SIZES, 5 * BINS, 7, 5, BINS).eval()
    again.load_exported(a_network().export())
    with torch.no_grad():
        found, expected = again(frames, LENGTHS), a_network()(frames, LENGTHS)
    for row, length in enumerate(LENGTHS):
        assert relative_error(found[:length, row, :12], expected[:length, row, :12]) < 1e-6


def test_only_the_network_of_the_second_pass_is_trained():
    network = a_network()
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name in trained} == {"tdnn"}
    network(torch.randn(9, 3, 5 * BINS), LENGTHS).sum().backward()
    without = [name for name in trained if network.get_parameter(name).grad is None]
    assert without == []


def test_what_fills_up_a_batch_reaches_no_row_once_statistics_stand():
    network, frames = a_network(), torch.randn(9, 3, 5 * BINS)
    other = torch.where((torch.arange(9)[:, None] < LENGTHS)[..., None], frames, 1e3)
    with torch.no_grad():
        found, expected = network(other, LENGTHS), network(frames, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            own = frames[:length, row : row + 1]
            alone = network(own, LENGTHS[row : row + 1])
            assert relative_error(found[:length, row], alone[:, 0]) < 1e-6
            assert torch.equal(found[:length, row], expected[:length, row])


def test_dropout_weighs_a_unit_alike_in_all_timesteps_of_a_row():
    network = a_network()
    tdnn = network.tdnn
    assert tdnn is not None
    tdnn._dropout = 0.5
    x = torch.randn(1, 2, 5 * BINS).expand(40, -1, -1)  # each timestep the same
    tdnn.train()
    for norm in tdnn.norms:
        norm.eval()
    with torch.no_grad():
        torch.manual_seed(1)
        first, _ = tdnn(x, torch.tensor([40, 40]))
        torch.manual_seed(2)
        second, _ = tdnn(x, torch.tensor([40, 40]))
        tdnn.eval()
        plain, _ = tdnn(x, torch.tensor([40, 40]))
    middle = slice(15, 25)  # away from both ends all timesteps are the same
    assert relative_error(first[middle], first[15:16].expand(10, -1, -1)) < 1e-5
    assert relative_error(first[middle], second[middle]) > 0.01
    assert relative_error(first[middle], plain[middle]) > 0.01


def test_orthogonalising_leaves_rows_orthogonal_and_of_one_length():
    tdnn = a_network().tdnn
    assert tdnn is not None
    weights = [layer.down.weight.detach() for layer in tdnn.layers]

    def farthest() -> float:
        found = []
        for weight in weights:
            product = weight @ weight.t()
            apart = product / product.diagonal().mean() - torch.eye(len(weight))
            found.append(float(apart.norm()))
        return max(found)

    before = farthest()
    for _ in range(200):
        tdnn.orthogonalise()
    assert before > 0.5
    assert farthest() < 1e-3


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

    def write(name: str = "second", network: str = TDNN, **values: int) -> Path:
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


def test_it_learns_and_the_model_beside_it_stays(second_recipe, finished: Path, tmp_path: Path):
    folder = train(load_config(second_recipe("tdnn", updates=60, save_every=60, decay=20)))
    found = losses(tmp_path / "tdnn")
    assert sum(found[-5:]) < sum(found[:5]) - 2.5
    below, model = load_bundle(finished).model, load_bundle(folder).model
    assert model.tdnn is not None
    frames = torch.randn(20, 1, model.config.input_size)
    assert relative_error(model(frames)[0], below(frames)[0]) < 1e-4
    average_runs([tmp_path / "tdnn"] * 2, tmp_path / "mean")
    mean = load_bundle(tmp_path / "mean").model
    encoded = model.second_input(frames)
    assert relative_error(mean.second_pass(encoded), model.second_pass(encoded)) < 1e-4


def test_a_run_stopped_while_its_rate_was_constant_can_be_cooled_down(second_recipe, tmp_path):
    whole = train(load_config(second_recipe("whole", updates=10, decay=4, save_every=5)))
    train(load_config(second_recipe("broken", updates=6, decay=0, save_every=3)))
    again = load_config(second_recipe("broken", updates=10, decay=4, save_every=5))
    broken = train(again)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert load_bundle(broken).fingerprint == load_bundle(whole).fingerprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("init =", "#", r"network\.tdnn needs init"),
        ('lexicon = "lexicon.txt"', "", "needs phones.lexicon|need phones.lexicon"),
        ("characters = 0\n", "characters = 0.5\n", "loss.characters must be 0"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(second_recipe, old, new, message):
    path = second_recipe()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_frames_that_timesteps_do_not_advance_by_are_refused_at_once(second_recipe, tmp_path):
    path = second_recipe("unfit", TDNN.replace("frames = 4", "frames = 3"), updates=1)
    with pytest.raises(ConfigError, match="frames is 3, but timesteps advance by 4"):
        train(load_config(path))
    assert not (tmp_path / "unfit" / "checkpoint.pt").exists()


def test_a_model_that_does_not_fit_is_refused(second_recipe, recipe, tmp_path: Path):
    folder = train(load_config(second_recipe(updates=1)))
    path = second_recipe("other", TDNN.replace("hidden_size = 24", "hidden_size = 16"))
    text = path.read_text().replace(str(tmp_path / "finished" / "model"), str(folder))
    path.write_text(text)
    with pytest.raises(ConfigError, match="time-delay network of other sizes"):
        train(load_config(path))
    characters = train(load_config(recipe("characters", updates=1)))
    path.write_text(text.replace(str(folder), str(characters)))
    with pytest.raises(ConfigError, match="no head for phones"):
        train(load_config(path))
