"""The mean of several runs' weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamasr.acoustic.model import load_bundle, save_bundle
from streamasr.errors import ConfigError
from streamasr.tokens import Tokens
from streamasr.training.averaging import average_runs
from streamasr.training.config import NetworkConfig
from streamasr.training.network import TrainingNetwork

from ..conftest import relative_error

TOKENS = Tokens.characters()


def a_run(
    folder: Path, tiny_folder: Path, seed: int, size: int = 20, channels: int = 0
) -> TrainingNetwork:
    """Write what a run leaves, and return its averaged network."""
    torch.manual_seed(seed)
    tiny = load_bundle(tiny_folder).config
    frontend = tiny.frontend.model_copy(update={"stack": 9})
    config = NetworkConfig(hidden_size=size, num_layers=2, channels=channels)
    network = TrainingNetwork(config, frontend.feature_size, len(TOKENS)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir()
    torch.save({"average": network.state_dict()}, folder / "checkpoint.pt")
    model = network.export()
    changed = {"frontend": frontend, "model": model.config, "delay_seconds": 0.12}
    about = tiny.model_copy(update=changed)
    save_bundle(folder / "model", about, model, TOKENS, dtype=torch.float32)
    return network


@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.smoke
def test_the_mean_of_three_runs(tiny_folder, tmp_path, channels):
    runs = [tmp_path / name for name in "abc"]
    networks = [a_run(run, tiny_folder, seed, channels=channels) for seed, run in enumerate(runs)]
    expected = networks[0]
    with torch.no_grad():
        for name, value in expected.state_dict().items():
            value.copy_(
                torch.stack([n.state_dict()[name].double() for n in networks]).mean(0).float()
            )
        frames = torch.randn(9, 2, 9 * 80)
        wanted = expected(frames)
    average_runs(runs, tmp_path / "mean")
    mean = load_bundle(tmp_path / "mean")
    assert mean.config.delay_seconds == 0.12
    # Model folders hold float16.
    assert relative_error(mean.model(frames)[0], wanted) < 2e-3


def test_runs_of_other_sizes_are_refused(tiny_folder, tmp_path):
    a_run(tmp_path / "a", tiny_folder, 0)
    a_run(tmp_path / "b", tiny_folder, 0, size=24)
    with pytest.raises(ConfigError, match="other sizes than that of"):
        average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    (tmp_path / "a" / "checkpoint.pt").unlink()
    with pytest.raises(ConfigError, match="No such file"):
        average_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
