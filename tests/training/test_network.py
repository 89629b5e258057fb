"""The trained network and the model that it becomes."""

from __future__ import annotations

import pytest
import torch

from streamasr.training.config import NetworkConfig
from streamasr.training.network import TrainingNetwork
from streamasr.training.state import backward

from ..conftest import relative_error


@pytest.mark.parametrize(("layers", "frames", "channels"), [(1, 1, 0), (3, 1, 0), (2, 9, 3)])
def test_export_folds_the_normalisations_away(layers, frames, channels):
    torch.manual_seed(0)
    config = NetworkConfig(hidden_size=20, num_layers=layers, channels=channels)
    network = TrainingNetwork(config, 80 * frames, 7).eval()
    with torch.no_grad():  # gains and biases away from where they start
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        frames = torch.randn(30, 4, 80 * frames)
        expected = network(frames)
    actual, _ = network.export()(frames)
    assert relative_error(actual, expected) < 1e-6


def test_the_scaled_loss_leaves_the_very_gradient():
    torch.manual_seed(0)
    network = TrainingNetwork(NetworkConfig(hidden_size=20, dropout=0), 12, 7)
    loss = network(torch.randn(9, 4, 12)).square().mean()
    expected = torch.autograd.grad(loss, [*network.parameters()], retain_graph=True)
    backward(loss, network)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_a_finished_model_can_be_trained_on():
    torch.manual_seed(0)
    config = NetworkConfig(hidden_size=20, num_layers=2)
    finished = TrainingNetwork(config, 12, 7).export()
    network = TrainingNetwork(config, 12, 7).eval()
    network.load_exported(finished)
    frames = torch.randn(9, 4, 12)
    assert relative_error(network(frames), finished(frames)[0]) < 1e-6


@pytest.mark.parametrize("channels", [0, 3])
def test_a_network_that_sees_more_begins_as_the_model_that_saw_less(channels):
    torch.manual_seed(0)
    finished = TrainingNetwork(NetworkConfig(hidden_size=20, num_layers=2), 4 * 80, 7).export()
    config = NetworkConfig(hidden_size=20, num_layers=2, channels=channels)
    network = TrainingNetwork(config, 13 * 80, 7).eval()
    network.load_exported(finished)
    frames = torch.randn(9, 2, 13 * 80)
    expected = finished(frames[..., 3 * 80 : 7 * 80])[0]
    assert relative_error(network(frames), expected) < 1e-6
    again = TrainingNetwork(config, 13 * 80, 7).eval()
    again.load_exported(network.export())
    assert relative_error(again(frames), expected) < 1e-6


def test_padding_does_not_reach_what_stands_before_it():
    torch.manual_seed(0)
    network = TrainingNetwork(NetworkConfig(hidden_size=20, num_layers=2), 12, 7).eval()
    frames = torch.randn(30, 2, 12)
    longer = torch.cat([frames, torch.full((10, 2, 12), 9.0)])
    with torch.no_grad():
        assert relative_error(network(longer)[:30], network(frames)) < 1e-6
