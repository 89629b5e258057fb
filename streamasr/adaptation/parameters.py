"""The few parameters that adaptation trains, and how they fold into the weights of the model.

Everything here has the form of the model that it began with: what is trained is a function from the
parameters to the tensors of a model folder, so that nothing is left to fold when training ends.

- ``scales``: a gain for each value that a matrix of the stacks reads (learning hidden unit
  contributions, Swietojanski and Renals 2014, where a residual stack allows it: in front of the
  matrices that read, because what a layer adds to the sum has no matrix of its own), a shift for
  each bias, and a gain and a shift for each mel bin, which fold into ``mean`` and ``std``.
- ``low-rank``: the same shifts, and a product of two thin matrices added to each matrix of the
  stacks (Hu et al. 2021, arXiv:2106.09685).
- ``full``: every tensor, for comparison.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..acoustic.frontend import FrontendConfig
from ..acoustic.model import AcousticModel

__all__ = ["AdaptedTensors", "Adapter", "Method"]

Method = Literal["scales", "low-rank", "full"]

_LEAST_GAIN = 0.05
"""Of a mel bin: its ``std`` must stay positive."""


class AdaptedTensors(NamedTuple):
    """A model's tensors by name, and what its features ``(..., n_mels)`` are first changed by."""

    tensors: dict[str, Tensor]
    gain: Tensor
    shift: Tensor

    def features(self, frames: Tensor) -> Tensor:
        """Return timesteps ``frames (..., stack * n_mels)`` with each bin's gain and shift."""
        bins = frames.reshape(*frames.shape[:-1], -1, len(self.gain))
        changed: Tensor = bins * self.gain + self.shift
        return changed.flatten(-2)


class Adapter(nn.Module):
    """A model as a function of its adaptation parameters, which are all 0 at the start.

    Args:
        model: the one to begin with, in float32; it is not changed.
        n_mels: bins of its frontend.
        method: see above.
        rank: of the products, with ``low-rank``.
    """

    def __init__(
        self, model: AcousticModel, n_mels: int, method: Method = "scales", rank: int = 4
    ) -> None:
        super().__init__()
        self.sizes = model.config
        self.method = method
        self._names = [*model.state_dict()]
        self.gain = nn.Parameter(torch.zeros(n_mels))
        self.shift = nn.Parameter(torch.zeros(n_mels))
        self.changes = nn.ParameterDict()
        for name, tensor in model.state_dict().items():
            # Not among the parameters that a checkpoint holds, but on the same device.
            self.register_buffer(_key(name, "base"), tensor.detach(), persistent=False)
            for part, shape in _changes_of(name, tensor, method, rank):
                values = torch.zeros(shape, dtype=tensor.dtype)
                if part == "in":  # one factor of a product must not be 0, or nothing would move
                    values.normal_(0, 1 / math.sqrt(shape[1]))
                self.changes[_key(name, part)] = nn.Parameter(values)

    def _base(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(_key(name, "base")) for name in self._names}

    def forward(self) -> AdaptedTensors:
        """Return the adapted tensors, differentiable by the parameters."""
        tensors = {name: self._changed(name, tensor) for name, tensor in self._base().items()}
        return AdaptedTensors(tensors, (1 + self.gain).clamp(min=_LEAST_GAIN), self.shift)

    def original(self) -> AdaptedTensors:
        """Return the tensors of the model that adaptation began with."""
        zero = torch.zeros_like(self.gain)
        return AdaptedTensors(self._base(), zero + 1, zero)

    def _changed(self, name: str, tensor: Tensor) -> Tensor:
        def change(part: str) -> Tensor | None:
            key = _key(name, part)
            found: Tensor | None = self.changes.get(key)
            return found

        if (columns := change("columns")) is not None:
            tensor = tensor * (1 + columns)
        if (rows := change("rows")) is not None:
            tensor = tensor * (1 + rows)[:, None]
        if (inner := change("in")) is not None and (outer := change("out")) is not None:
            tensor = tensor + outer @ inner
        if (added := change("added")) is not None:
            tensor = tensor + added
        return tensor

    @torch.no_grad()
    def weaken(self, share: float) -> None:
        """Make all changes to the tensors this ``share`` of what they are."""
        for name, parameter in self.named_parameters():
            if not name.endswith(":in"):  # of a product, one factor is enough
                parameter.mul_(share)

    @torch.no_grad()
    def export(self, frontend: FrontendConfig) -> tuple[AcousticModel, FrontendConfig]:
        """Return the adapted model and its frontend, which compute what ``forward`` describes."""
        adapted = self()
        model = AcousticModel(self.sizes)
        model.load_state_dict({name: tensor.cpu() for name, tensor in adapted.tensors.items()})
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (frontend.mean, frontend.std))
        gain, shift = adapted.gain.cpu().double(), adapted.shift.cpu().double()
        # a (x - m) / s + b = (x - (m - b s / a)) / (s / a)
        folded = {"mean": mean - shift * std / gain, "std": std / gain}
        changed = {name: tuple(values.tolist()) for name, values in folded.items()}
        return model.requires_grad_(False).eval(), frontend.model_copy(update=changed)


def _key(name: str, part: str) -> str:
    return f"{name}:{part}".replace(".", "/")


def _changes_of(
    name: str, tensor: Tensor, method: Method, rank: int
) -> list[tuple[str, tuple[int, ...]]]:
    """Return what is trained of a tensor: each change's kind and shape."""
    shape = tuple(tensor.shape)
    if method == "full":
        return [("added", shape)]
    if name.startswith(("convolutions.", "tdnn.front.conv")):
        # Its filters are shared by all bins. Its projection shares the rows' gain of ``input``,
        # which would do what a gain behind the sum does.
        return []
    if tensor.dim() == 1:
        # Of two biases that are added up, one is enough.
        return [] if "bias_hh" in name else [("added", shape)]
    if name == "input.weight":
        return []
    if method == "low-rank":
        return [("in", (rank, shape[1])), ("out", (shape[0], rank))]
    return [("columns", shape[1:])]
