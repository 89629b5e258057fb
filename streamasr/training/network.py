"""The network as it is trained, and how it becomes a plain stack.

Between the layers stands sequence-wise batch normalisation (Laurent et al. 2015; Deep Speech 2,
Amodei et al. 2016). Its inference form is affine, so ``export`` folds it into the weights of the
layer that follows, and the exported model costs nothing more than an LSTM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..model import AcousticModel, ModelConfig
from .config import NetworkConfig

__all__ = ["SequenceBatchNorm", "TrainingNetwork"]


class SequenceBatchNorm(nn.Module):
    """Normalises every unit over all real timesteps ``(T, B)`` of a batch; padding is left out."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, size: int, momentum: float = 0.02, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise ``x (T, B, H)``; ``mask (T, B, 1)`` is 1 where a timestep is real."""
        if not self.training:
            scale, shift = self.affine()
            return x * scale + shift
        count = mask.sum()
        mean = (x * mask).sum((0, 1)) / count
        centred = (x - mean) * mask
        variance = centred.square().sum((0, 1)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach(), self.momentum)
        return centred * (torch.rsqrt(variance + self.epsilon) * self.weight) + self.bias

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return ``(scale, shift)`` of the inference form ``x * scale + shift``."""
        scale = self.weight * torch.rsqrt(self.running_var + self.epsilon)
        return scale, self.bias - self.running_mean * scale


class TrainingNetwork(nn.Module):
    """Stacked LSTM layers with normalisation and dropout after each, and the CTC head."""

    def __init__(self, config: NetworkConfig, input_size: int, vocab_size: int) -> None:
        super().__init__()
        hidden, layers = config.hidden_size, config.num_layers
        self.layers = nn.ModuleList(
            nn.LSTM(input_size if layer == 0 else hidden, hidden) for layer in range(layers)
        )
        self.norms = nn.ModuleList(SequenceBatchNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(hidden, vocab_size)
        for layer in self.layers:
            assert isinstance(layer, nn.LSTM)
            with torch.no_grad():  # Jozefowicz et al. 2015: begin by remembering
                layer.bias_hh_l0[hidden : 2 * hidden] = 1.0

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Map ``frames (T, B, F)`` to ``log_probs (T, B, V)``, float32."""
        steps = torch.arange(frames.shape[0], device=frames.device)
        mask = (steps[:, None] < lengths[None, :]).unsqueeze(-1).float()
        x = frames
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.dropout(norm(layer(x)[0].float(), mask))
        logits: Tensor = self.head(x)
        return logits.float().log_softmax(dim=-1)

    @torch.no_grad()
    def export(self) -> AcousticModel:
        """Return the same function as a plain stack, normalisation folded into the weights."""
        first = self.layers[0]
        assert isinstance(first, nn.LSTM)
        model = AcousticModel(
            ModelConfig(
                input_size=first.input_size,
                hidden_size=first.hidden_size,
                num_layers=len(self.layers),
                vocab_size=self.head.out_features,
            )
        )
        scale, shift = torch.ones(first.input_size), torch.zeros(first.input_size)
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            assert isinstance(layer, nn.LSTM)
            assert isinstance(norm, SequenceBatchNorm)
            target = model.lstm.weights[index]
            w_ih = layer.weight_ih_l0.cpu()
            target.w_ih.copy_(w_ih * scale)
            target.w_hh.copy_(layer.weight_hh_l0)
            target.b_ih.copy_(layer.bias_ih_l0.cpu() + layer.bias_hh_l0.cpu() + w_ih @ shift)
            target.b_hh.zero_()
            scale, shift = (t.cpu() for t in norm.affine())
        weight = self.head.weight.cpu()
        model.head.weight.copy_(weight * scale)
        model.head.bias.copy_(self.head.bias.cpu() + weight @ shift)
        return model.requires_grad_(False).eval()
