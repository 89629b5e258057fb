"""The network as it is trained, and how it becomes the model that is shipped."""

from __future__ import annotations

import torch
from persistent_lstm import NORM_EPSILON, LayerWeights
from torch import Tensor, nn

from ..acoustic.model import AcousticModel, ModelConfig, log_softmax_heads
from .config import NetworkConfig
from .tdnn import TrainingTDNN

__all__ = ["TrainingNetwork"]


class _Block(nn.Module):
    """One residual layer: ``r + dropout(LSTM(norm(r)))``."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPSILON)
        self.lstm = nn.LSTM(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():  # Jozefowicz et al. 2015: begin by remembering
            self.lstm.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 1.0

    def forward(self, r: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.lstm(self.norm(r))[0].float())
        return r + out


class TrainingNetwork(nn.Module):
    """A pre-norm residual stack of LSTM layers and its heads: tokens, phones, and frames.

    The head for frames classifies every timestep, where that for phones, like all that CTC
    trains, emits a phone once. It teaches the stack, aligns, and is not shipped.

    Unidirectional, so what follows an utterance in a padded batch cannot reach it. With a
    time-delay network, which reads what follows, that needs ``lengths``; phones and frames are then
    its outputs, it alone is trained, and characters are left at 0.
    """

    def __init__(
        self,
        config: NetworkConfig,
        input_size: int,
        vocab_size: int,
        phone_size: int = 0,
        n_mels: int = 80,
    ) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.sizes = ModelConfig(
            input_size=input_size,
            hidden_size=hidden,
            num_layers=config.num_layers,
            vocab_size=vocab_size,
            phone_size=phone_size,
            channels=config.channels,
            n_mels=n_mels,
            tdnn=config.tdnn,
        )
        self.input = nn.Linear(input_size, hidden)
        self.convolutions = self.sizes.convolutions()
        self.blocks = nn.ModuleList(
            _Block(hidden, config.dropout) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPSILON)
        self.head = nn.Linear(hidden, self.sizes.output_size)
        self.frames = nn.Linear(hidden, phone_size) if phone_size else None
        self.tdnn: TrainingTDNN | None = None
        if config.tdnn:
            self.requires_grad_(False)
            self.tdnn = TrainingTDNN(config.tdnn, n_mels, phone_size, config.dropout)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``frames (T, B, F)`` to ``log_probs (T, B, V + P + P)``, float32.

        ``lengths (B,)`` are the rows' timesteps, all ``T`` if None.
        """
        if self.tdnn is not None:
            if lengths is None:
                lengths = torch.full(frames.shape[1:2], len(frames))
            characters = frames.new_zeros(*frames.shape[:2], self.sizes.vocab_size)
            return torch.cat([characters.float(), *self.tdnn(frames, lengths)], dim=-1)
        r = self._encode(frames)
        shipped = log_softmax_heads(self.head(self.norm(r)).float(), self.sizes)
        if self.frames is None:
            return shipped
        return torch.cat([shipped, self.frames(self.norm(r)).float().log_softmax(dim=-1)], dim=-1)

    def _encode(self, frames: Tensor) -> Tensor:
        r: Tensor = self.input(frames).float()
        if self.convolutions is not None:
            r = r + self.convolutions(frames).float()
        for block in self.blocks:
            r = block(r)
        return r

    @torch.no_grad()
    def load_exported(self, model: AcousticModel) -> None:
        """Take over the weights of a finished model; gains become 1 and biases 0 again.

        What the model lacks stays as it was made.
        """
        self._load_input(model)
        self.head.weight[: model.config.output_size] = model.head.weight
        self.head.bias[: model.config.output_size] = model.head.bias
        for block, source in zip(self.blocks, model.lstm.weights, strict=True):
            _load_layer(block, source)
        if self.tdnn is not None and model.tdnn is not None:
            self.tdnn.load_exported(model.tdnn)

    def _load_input(self, model: AcousticModel) -> None:
        """Load a model's input layer, whose timesteps may have fewer frames than here.

        Those are then frames in the middle, with twice as many new ones ahead as behind, and
        convolutions that it lacks begin with no say.
        """
        seen, known = self.input.in_features, model.input.in_features
        before = (seen - known) // 3 // self.sizes.n_mels * self.sizes.n_mels
        self.input.weight.zero_()
        self.input.weight[:, before : before + known] = model.input.weight
        self.input.bias.copy_(model.input.bias)
        if self.convolutions is None:
            return
        if model.convolutions is None:
            self.convolutions.project.weight.zero_()
        else:
            self.convolutions.load_state_dict(model.convolutions.state_dict())

    @torch.no_grad()
    def export(self) -> AcousticModel:
        """Return the same function with the normalisations' gains and biases folded away.

        The head for frames stays behind.
        """
        model = AcousticModel(self.sizes)
        model.input.load_state_dict(self.input.state_dict())
        if self.convolutions is not None and model.convolutions is not None:
            model.convolutions.load_state_dict(self.convolutions.state_dict())
        for block, target in zip(self.blocks, model.lstm.weights, strict=True):
            _fold_layer(block, target)
        _fold_head(self.head, self.norm, model.head)
        if self.tdnn is not None:
            model.tdnn = self.tdnn.export()
        return model.requires_grad_(False).eval()


def _load_layer(block: nn.Module, source: LayerWeights) -> None:
    assert isinstance(block, _Block)
    for parameter, tensor in zip(block.lstm.parameters(), source, strict=True):
        parameter.copy_(tensor)


def _fold_layer(block: nn.Module, target: LayerWeights) -> None:
    assert isinstance(block, _Block)
    gain, bias = block.norm.weight.cpu(), block.norm.bias.cpu()
    w_ih, w_hh, b_ih, b_hh = (p.cpu() for p in block.lstm.parameters())
    target.w_ih.copy_(w_ih * gain)
    target.w_hh.copy_(w_hh)
    target.b_ih.copy_(b_ih + b_hh + w_ih @ bias)
    target.b_hh.zero_()


def _fold_head(head: nn.Linear, norm: nn.LayerNorm, target: nn.Linear) -> None:
    weight, bias = head.weight.cpu(), head.bias.cpu()
    target.weight.copy_(weight * norm.weight.cpu())
    target.bias.copy_(bias + weight @ norm.bias.cpu())
