"""The acoustic model: a stacked unidirectional LSTM with a CTC head."""

from __future__ import annotations

from persistent_lstm import NORM_EPSILON, LSTMState, PersistentLSTM, zero_state
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

__all__ = ["AcousticModel", "ModelConfig"]


class ModelConfig(BaseModel):
    """The sizes of the stack. ``vocab_size`` counts the blank."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: int = Field(gt=0)
    hidden_size: int = Field(512, gt=0)
    num_layers: int = Field(4, gt=0)
    vocab_size: int = Field(gt=1)


class AcousticModel(nn.Module):
    """Timesteps in, log-posteriors of CTC tokens out (Graves et al. 2006), state passed through.

    A projection to the hidden size, a residual stack of LSTM layers, normalisation, and the head.
    Gains and biases of the normalisations are folded into the weights that follow them, so that a
    persistent kernel can run the stack in one launch.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.config = config
        self.input = nn.Linear(config.input_size, hidden)
        self.lstm = PersistentLSTM(hidden, hidden, config.num_layers, residual=True)
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPSILON, elementwise_affine=False)
        self.head = nn.Linear(hidden, config.vocab_size)

    def initial_state(self, batch: int = 1) -> LSTMState:
        """Return the state ``(L, batch, H)`` of streams that have heard nothing."""
        return zero_state(self.lstm.weights, batch)

    def forward(
        self, frames: Tensor, state: LSTMState | None = None, *, backend: str = "auto"
    ) -> tuple[Tensor, LSTMState]:
        """Map ``frames (T, B, I)`` to ``log_probs (T, B, V)`` and the state after them."""
        y, state = self.lstm(self.input(frames), state, backend=backend)
        return self.head(self.norm(y)).log_softmax(dim=-1), state
