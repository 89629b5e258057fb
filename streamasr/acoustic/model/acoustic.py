"""The acoustic model: a stacked unidirectional LSTM with a CTC head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from persistent_lstm import NORM_EPSILON, LSTMState, PersistentLSTM, zero_state
from pydantic import Field, model_validator
from torch import Tensor, nn

from ...validated import Settings
from .convolutions import Convolutions
from .tdnn import FactoredTDNN, TDNNConfig, middle_frames

__all__ = ["AcousticModel", "ModelConfig", "log_softmax_heads", "tensor_shapes"]


class ModelConfig(Settings):
    """The sizes of the network. ``vocab_size`` counts the blank, and so does ``phone_size``.

    ``phone_size`` is 0 for a model without a head for phones. With ``channels`` there are
    convolutions over timesteps of ``input_size / n_mels`` frames. With ``tdnn`` there
    is a second pass over whole segments, a time-delay network with a head for phones.
    """

    input_size: int = Field(gt=0)
    hidden_size: int = Field(512, gt=0)
    num_layers: int = Field(4, gt=0)
    vocab_size: int = Field(gt=1)
    phone_size: int = Field(0, ge=0)
    channels: int = Field(0, ge=0)
    n_mels: int = Field(80, gt=0)
    tdnn: TDNNConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_second_stack(cls, values: Any) -> Any:
        """Drop what config.json said of a second stack where there was none."""
        if isinstance(values, dict) and values.get("second_layers") == 0:
            return {name: value for name, value in values.items() if name != "second_layers"}
        return values

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        if self.channels and (self.input_size % self.n_mels or self.input_size < 9 * self.n_mels):
            raise ValueError(
                f"convolutions need timesteps of at least 9 frames of {self.n_mels} bins, "
                f"input_size is {self.input_size}"
            )
        if self.tdnn and not self.phone_size:
            raise ValueError("a second pass needs phone_size: it answers with phones")
        if self.tdnn and self.tdnn.frames * self.n_mels > self.input_size:
            raise ValueError(
                f"tdnn.frames: a timestep of {self.input_size // self.n_mels} frames "
                f"has no {self.tdnn.frames} new ones"
            )
        return self

    @property
    def has_second_pass(self) -> bool:
        """Whether there is a second pass over whole segments."""
        return self.tdnn is not None

    @property
    def encoded_size(self) -> int:
        """Values per timestep that the second pass reads."""
        return self.tdnn.frames * self.n_mels if self.tdnn else 0

    @property
    def output_size(self) -> int:
        """Values per timestep: tokens, then phones."""
        return self.vocab_size + self.phone_size

    def convolutions(self) -> Convolutions | None:
        """Return new convolutions of these sizes, if there are any."""
        if not self.channels:
            return None
        return Convolutions(self.input_size, self.hidden_size, self.channels, self.n_mels)

    def time_delay_network(self) -> FactoredTDNN | None:
        """Return a new time-delay network of these sizes, if there is one."""
        return FactoredTDNN(self.tdnn, self.n_mels, self.phone_size) if self.tdnn else None


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors by their names.

    To make the model is slow, even on torch's meta device: 1.2 s and 150 MB.
    """
    hidden, out = config.hidden_size, config.output_size
    shapes: dict[str, tuple[int, ...]] = {
        "input.weight": (hidden, config.input_size),
        "input.bias": (hidden,),
        "head.weight": (out, hidden),
        "head.bias": (out,),
    }
    convolutions = config.convolutions()
    if convolutions is not None:
        for name, tensor in convolutions.state_dict().items():
            shapes[f"convolutions.{name}"] = tuple(tensor.shape)
    for layer in range(config.num_layers):
        for part in ("ih", "hh"):
            shapes[f"lstm.weight_{part}_l{layer}"] = (4 * hidden, hidden)
            shapes[f"lstm.bias_{part}_l{layer}"] = (4 * hidden,)
    if config.tdnn:
        own = config.tdnn.tensor_shapes(config.n_mels, config.phone_size)
        shapes |= {f"tdnn.{name}": shape for name, shape in own.items()}
    return shapes


class AcousticModel(nn.Module):
    """Timesteps in, log-posteriors of CTC tokens out (Graves et al. 2006), state passed through.

    A projection to the hidden size and what convolutions add, a residual stack of LSTM layers,
    normalisation, and the head. Gains and biases of the normalisations are folded into the weights
    that follow them, so that a persistent kernel can run the stack in one launch.

    ``second_pass``, if the model has one, maps what ``second_input`` gives of whole segments to
    ``log_probs (T, B, P)`` of phones that know what follows, too.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.config = config
        self.input = nn.Linear(config.input_size, hidden)
        self.convolutions = config.convolutions()
        self.lstm = PersistentLSTM(hidden, hidden, config.num_layers, residual=True)
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPSILON, elementwise_affine=False)
        self.head = nn.Linear(hidden, config.output_size)
        self.tdnn = config.time_delay_network()

    def initial_state(self, batch: int = 1) -> LSTMState:
        """Return the state ``(L, batch, H)`` before the first timestep."""
        return zero_state(self.lstm.weights, batch)

    def forward(
        self,
        frames: Tensor,
        state: LSTMState | None = None,
        *,
        lengths: Tensor | None = None,
        backend: str = "auto",
    ) -> tuple[Tensor, LSTMState]:
        """Map ``frames (T, B, I)`` to ``log_probs (T, B, V + P)`` and the state after them.

        The ``V`` tokens and the ``P`` phones are two distributions, each normalised for itself.
        ``lengths (B,)`` says how many timesteps each row has, when rows differ: what stands behind
        them means nothing, and the row's state is the one after its last.
        """
        r, state = self.encode(frames, state, lengths=lengths, backend=backend)
        return self.classify(r), state

    def encode(
        self,
        frames: Tensor,
        state: LSTMState | Sequence[LSTMState] | None = None,
        *,
        lengths: Tensor | None = None,
        backend: str = "auto",
    ) -> tuple[Tensor, LSTMState]:
        """Map ``frames (T, B, I)`` to the stack's normalised output ``r (T, B, H)``; see forward.

        ``state`` may be one ``(L, 1, H)`` a row. ``classify`` reads ``r``.
        """
        x = self.input(frames)
        if self.convolutions is not None:
            x = x + self.convolutions(frames)
        y, last = self.lstm(x, state, lengths=lengths, backend=backend)
        r: Tensor = self.norm(y)
        return r, last

    def classify(self, r: Tensor) -> Tensor:
        """Map ``r (T, B, H)`` to the ``log_probs (T, B, V + P)`` that ``forward`` returns."""
        return log_softmax_heads(self.head(r), self.config)

    def second_input(self, frames: Tensor) -> Tensor:
        """Return what the second pass reads of ``frames (T, B, I)``: those amid each timestep.

        That is ``(T, B, encoded_size)``.
        """
        c = self.config
        return middle_frames(frames, c.tdnn.frames, c.n_mels) if c.tdnn else frames[..., :0]

    def second_pass(self, encoded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``encoded (T, B, encoded_size)`` of whole segments to ``log_probs (T, B, P)``.

        ``lengths (B,)`` says how many timesteps each row has, when rows differ. Raises ValueError
        for a model without a second pass.
        """
        if self.tdnn is None:
            raise ValueError("the model has no second pass")
        log_probs: Tensor = self.tdnn(encoded, lengths)
        return log_probs


def log_softmax_heads(logits: Tensor, config: ModelConfig) -> Tensor:
    """Normalise each head's part of ``logits (..., V + P)``."""
    if not config.phone_size:
        return logits.log_softmax(dim=-1)
    heads = torch.split(logits, [config.vocab_size, config.phone_size], dim=-1)
    return torch.cat([head.log_softmax(dim=-1) for head in heads], dim=-1)
