"""Everything that changes from update to update, as one value to save and to load."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .config import OptimizerConfig, TrainingConfig
from .network import TrainingNetwork

__all__ = ["TrainingState", "autocast", "backward"]

_COUNTERS = ("update", "epoch", "position", "hours", "seconds")

_LOSS_SCALE = 1024.0


def autocast(
    config: TrainingConfig, device: torch.device, *, keep_rounded: bool = True
) -> AbstractContextManager[object]:
    """Return the context in which the network runs in the configured precision.

    ``keep_rounded``: within it, a weight is rounded only once.
    """
    half = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    if not half:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=keep_rounded)


def backward(loss: Tensor, network: nn.Module) -> None:
    """Compute the gradient of ``loss`` by the network's parameters.

    On GPUs autocast runs cuDNN's LSTM in float16, whatever dtype is set, and float16 knows little
    below 6e-5; so it is the gradient of a multiple, divided again. A power of two changes nothing
    elsewhere.
    """
    (_LOSS_SCALE * loss).backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    torch._foreach_mul_(grads, 1 / _LOSS_SCALE)


class TrainingState:
    """Network, averaged network, optimizers, and how far the run has come.

    ``position`` counts the batches of the current epoch that are done, by all processes; ``hours``
    are of audio, ``seconds`` of the clock. No generator's state is kept: whatever is random in an
    update is drawn from the seed and the update's, or the utterance's, number.
    """

    def __init__(self, config: TrainingConfig, network: TrainingNetwork) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimizers = _optimizers(config.optimizer, self.network)
        self.update = 0
        self.epoch = 0
        self.position = 0
        self.hours = 0.0
        self.seconds = 0.0
        self._identity = _identity(config)

    def save(self, path: Path) -> None:
        """Write a checkpoint; a reader sees the old file or the whole new one."""
        state = {
            "identity": self._identity,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Read a checkpoint; raises ConfigError for one made with other settings."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self._identity:
            raise ConfigError(
                f"{path}: made with other data, network or frontend settings; "
                "give the configuration a new output folder"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name in _COUNTERS:
            setattr(self, name, state[name])

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the averaged weights towards the current ones, quickly at first."""
        weight = 1 - min(decay, (1 + self.update) / (10 + self.update))
        averaged, current = (_numbers(network) for network in (self.average, self.network))
        torch._foreach_lerp_(averaged, current, weight)


def _numbers(network: nn.Module) -> list[Tensor]:
    """Return what can be averaged of a network's state."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]


def _optimizers(config: OptimizerConfig, network: TrainingNetwork) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices between hidden units, and AdamW for all else that is trained."""
    if network.tdnn is not None:
        hidden = network.tdnn.matrices
    else:
        hidden = [p for p in network.blocks.parameters() if p.dim() == 2]
    hidden = hidden if config.muon else []
    chosen = {id(p) for p in hidden}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {
                    "params": [p for p in rest if p.dim() > 1],
                    "weight_decay": config.weight_decay,
                },
                {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
    ]
    if hidden:
        # Its steps are as large as AdamW's, so that one learning rate serves both.
        muon = torch.optim.Muon(
            hidden, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    return optimizers


def _identity(config: TrainingConfig) -> str:
    """Digest of the settings that a checkpoint cannot outlive."""
    parts = config.model_dump(include={"seed", "frontend", "network", "data"}, mode="json")
    for name in ("root", "workers", "dev", "cut_seconds", "whole"):
        del parts["data"][name]
    if not config.network.tdnn:
        del parts["network"]["tdnn"]  # as in checkpoints from before there was one
    parts |= {"phones": bool(config.phones.lexicon), "muon": config.optimizer.muon}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
