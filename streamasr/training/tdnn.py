"""The factored time-delay network as it is trained, and how it becomes the one that is shipped."""

from __future__ import annotations

import torch
from persistent_lstm import NORM_EPSILON
from torch import Tensor, nn

from ..acoustic.model.tdnn import (
    BYPASS,
    FactoredTDNN,
    TDNNConfig,
    TDNNFront,
    TDNNLayer,
    masked,
    middle_frames,
)
from .tdnn_layer import trained_layer

__all__ = ["TrainingTDNN"]

_EPSILON = 1e-3
_MOMENTUM = 0.02


class TrainingTDNN(nn.Module):
    """``FactoredTDNN`` with batch normalisation behind each rectifier, dropout, and two heads.

    The head for frames classifies every timestep. Statistics are over all timesteps of a batch,
    those that fill up its shorter rows included: batches have rows of like length. Where several
    processes train, each has those of its own batches, and the first one's are kept.

    ``dropout`` p weighs each unit of a row by a factor between ``1 - 2p`` and ``1 + 2p``, the same
    for all its timesteps (Povey et al. 2018).
    """

    def __init__(self, config: TDNNConfig, n_mels: int, phone_size: int, dropout: float) -> None:
        super().__init__()
        self.config = config
        self._n_mels, self._dropout = n_mels, dropout
        hidden, layers = config.hidden_size, len(config.dilations)
        self.front = TDNNFront(config, n_mels)
        self.front.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.layers = nn.ModuleList(TDNNLayer(config, number) for number in range(layers))
        for layer in self._layers():
            if layer.excite is not None:  # gates begin at 1
                nn.init.zeros_(layer.excite.weight)
                nn.init.zeros_(layer.excite.bias)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(hidden, eps=_EPSILON, momentum=_MOMENTUM, affine=False)
            for _ in range(layers + 1)
        )
        self.before_head = nn.Linear(hidden, config.head_size)
        self.norm = nn.LayerNorm(config.head_size, eps=NORM_EPSILON)
        self.head = nn.Linear(config.head_size, phone_size)
        self.frames = nn.Linear(config.head_size, phone_size)

    def _layers(self) -> list[TDNNLayer]:
        return [layer for layer in self.layers if isinstance(layer, TDNNLayer)]

    @property
    def matrices(self) -> list[Tensor]:
        """The matrices between hidden units."""
        return [matrix.weight for layer in self._layers() for matrix in (layer.down, layer.up)]

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map timesteps ``x (T, B, stack * n_mels)`` to log-posteriors ``(T, B, P)``.

        They are of phones, and of frames.
        """
        x = middle_frames(x, self.config.frames, self._n_mels)
        steps, delay = len(x), self.config.delay
        known = lengths.to(x.device) + delay
        mask = torch.arange(steps + delay, device=x.device)[:, None] < known
        x = masked(torch.cat([x.new_zeros(delay, *x.shape[1:]), x]), mask)
        first, *norms = self.norms
        r = masked(_normalised(self.front(x, mask), first), mask)
        for layer, norm in zip(self._layers(), norms, strict=True):
            gates, scale = layer.gates(r, known), self._dropout_factors(r)
            if norm.training and r.device.type == "cpu":
                r = _in_few_steps(layer, norm, r, gates, scale, mask)
                continue
            y = _normalised(layer.products(r), norm) * scale.to(r.dtype)
            r = BYPASS * r + masked(y if gates is None else y * gates, mask)
        z = self.norm(self.before_head(r[:steps]).float())
        return self.head(z).float().log_softmax(-1), self.frames(z).float().log_softmax(-1)

    def _dropout_factors(self, r: Tensor) -> Tensor:
        """Return the factors of the units of ``r (T, B, D)`` as ``(B, D)``."""
        if not (self.training and self._dropout):
            return torch.ones(r.shape[1:], device=r.device)
        spread = 2 * self._dropout * (2 * torch.rand(r.shape[1:], device=r.device) - 1)
        return (1 + spread).clamp(min=0)

    @torch.no_grad()
    def orthogonalise(self) -> None:
        """Move the first matrix of each layer towards orthogonal rows, at any scale of its own.

        A step of Povey et al. 2018, equations 1 to 3, to be made now and then between updates.
        """
        for weight in [layer.down.weight for layer in self._layers()] + [self.front.down.weight]:
            product = weight @ weight.t()
            off = product / (product.square().sum() / product.trace())
            off.diagonal().sub_(1)
            weight.sub_(off @ weight, alpha=0.125)

    @torch.no_grad()
    def export(self) -> FactoredTDNN:
        """Return the same function, normalisations folded into weights; frames' head stays here."""
        head = self.head
        front, layers = self.front, self._layers()
        model = FactoredTDNN(self.config, self._n_mels, head.out_features)
        for own, target in zip([front, *layers], [model.front, *model.layers], strict=True):
            target.load_state_dict(own.state_dict())
        ups = [model.front.up, *(layer.up for layer in model.layers)]
        for up, norm, offset in zip(ups, self.norms, model.offsets, strict=True):
            assert isinstance(up, nn.Linear)
            assert isinstance(norm, nn.BatchNorm1d)
            mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            scale = (var + _EPSILON).rsqrt().cpu()  # positive, so a rectifier passes it on
            up.weight.mul_(scale[:, None])
            up.bias.mul_(scale)
            offset.copy_(-mean.cpu() * scale)
        model.before_head.load_state_dict(self.before_head.state_dict())
        model.head.weight.copy_(head.weight * self.norm.weight)
        model.head.bias.copy_(head.bias + head.weight @ self.norm.bias)
        return model.requires_grad_(False).eval()

    @torch.no_grad()
    def load_exported(self, model: FactoredTDNN) -> None:
        """Take over a finished model's weights; normalisations become shifts alone."""
        self.front.load_state_dict(model.front.state_dict())
        self.layers.load_state_dict(model.layers.state_dict())
        for norm, offset in zip(self.norms, model.offsets, strict=True):
            norm.get_buffer("running_mean").copy_(-offset)
            norm.get_buffer("running_var").fill_(1 - _EPSILON)
        self.before_head.load_state_dict(model.before_head.state_dict())
        self.norm.reset_parameters()
        self.head.load_state_dict(model.head.state_dict())
        nn.init.zeros_(self.frames.weight)  # lest what it does not know yet disturb the layers


def _normalised(y: Tensor, norm: nn.Module) -> Tensor:
    found: Tensor = norm(y.relu().flatten(0, 1))
    return found.view_as(y)


def _in_few_steps(
    layer: TDNNLayer,
    norm: nn.Module,
    r: Tensor,
    gates: Tensor | None,
    scale: Tensor,
    mask: Tensor,
) -> Tensor:
    """Do for one layer what ``TrainingTDNN.forward`` does, in half of the time."""
    gates = gates if gates is None else gates.expand_as(r)
    found = trained_layer(r, layer, gates, scale, mask, _EPSILON)
    count = mask.numel()
    unbiased = found.var * (count / max(1, count - 1))
    for name, now in (("running_mean", found.mean), ("running_var", unbiased)):
        norm.get_buffer(name).lerp_(now.float(), _MOMENTUM)
    return found.out
