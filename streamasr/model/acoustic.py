"""The acoustic model: a stacked unidirectional LSTM with a CTC head."""

from __future__ import annotations

from persistent_lstm import LSTMState, PersistentLSTM, zero_state
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

__all__ = ["AcousticModel", "ModelConfig"]


class ModelConfig(BaseModel):
    """The sizes of the stack. ``vocab_size`` counts the blank.

    ``residual``: from the second layer on, a layer's output is added to its input.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: int = Field(gt=0)
    hidden_size: int = Field(512, gt=0)
    num_layers: int = Field(4, gt=0)
    vocab_size: int = Field(gt=1)
    residual: bool = False


class AcousticModel(nn.Module):
    """Timesteps in, log-posteriors of CTC tokens out (Graves et al. 2006), state passed through.

    A stack and nothing else: whatever normalisation training used is folded into its weights, so
    that a persistent kernel can run all of it in one launch.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = PersistentLSTM(
            config.input_size, config.hidden_size, config.num_layers, residual=config.residual
        )
        self.head = nn.Linear(config.hidden_size, config.vocab_size)

    def initial_state(self, batch: int = 1) -> LSTMState:
        """Return the state ``(L, batch, H)`` of streams that have heard nothing."""
        return zero_state(self.lstm.weights, batch)

    def forward(
        self, frames: Tensor, state: LSTMState | None = None, *, backend: str = "auto"
    ) -> tuple[Tensor, LSTMState]:
        """Map ``frames (T, B, I)`` to ``log_probs (T, B, V)`` and the state after them."""
        y, state = self.lstm(frames, state, backend=backend)
        return self.head(y).log_softmax(dim=-1), state
