"""One model from several runs: the mean of their weights (Wortsman et al. 2022, "model soups")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..acoustic.model import load_bundle, save_bundle
from ..errors import ConfigError
from .config import NetworkConfig
from .network import TrainingNetwork

__all__ = ["average_runs"]


def average_runs(runs: Sequence[Path], folder: Path) -> None:
    """Write the model of the runs' mean averaged weights into ``folder``.

    The runs' output folders must hold ``checkpoint.pt``, the last one's ``model``, too, which gives
    all but the weights. The mean has a meaning only where one run began with another's weights.

    Raises ConfigError for runs of other sizes, ModelError if the last one has no model.
    """
    last = load_bundle(runs[-1] / "model")
    sizes = last.config.model
    network = TrainingNetwork(
        NetworkConfig(
            hidden_size=sizes.hidden_size,
            num_layers=sizes.num_layers,
            channels=sizes.channels,
            tdnn=sizes.tdnn,
        ),
        sizes.input_size,
        sizes.vocab_size,
        sizes.phone_size,
        sizes.n_mels,
    )
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    mean = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for run in runs:
        path = run / "checkpoint.pt"
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)["average"]
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        if {name: value.shape for name, value in weights.items()} != shapes:
            raise ConfigError(f"{path}: its network has other sizes than that of {runs[-1]}")
        for name, value in weights.items():
            mean[name] += value / len(runs)  # counters, which nothing reads, are averaged, too
    network.load_state_dict(mean)
    model = network.export()
    config = last.config.model_copy(update={"model": model.config})
    save_bundle(folder, config, model, last.tokens, phones=last.phones)
