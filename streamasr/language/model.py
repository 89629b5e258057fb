"""The language model itself, as training and scoring both use it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..validated import Settings

__all__ = ["LanguageModel", "LanguageModelConfig", "LanguageState"]

LanguageState = tuple[Tensor, Tensor]


class LanguageModelConfig(Settings):
    """Sizes: of the vocabulary, of a piece's embedding, and of the LSTM."""

    vocab_size: int = Field(gt=1)
    embedding_size: int = Field(384, gt=0)
    hidden_size: int = Field(640, gt=0)


class LanguageModel(nn.Module):
    """An LSTM over pieces whose output weights are its embeddings (Press and Wolf 2017)."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.projection = nn.Linear(config.hidden_size, config.embedding_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.embedding.weight, std=config.embedding_size**-0.5)
        with torch.no_grad():
            forget = slice(config.hidden_size, 2 * config.hidden_size)
            self.lstm.get_parameter("bias_ih_l0")[forget] = 1.0

    def initial_state(self, rows: int) -> LanguageState:
        """Return the state of ``rows`` texts before the first piece: ``(1, rows, H)`` each."""
        zeros = self.bias.new_zeros(1, rows, self.config.hidden_size)
        return zeros, zeros.clone()

    def forward(self, pieces: Tensor, state: LanguageState) -> tuple[Tensor, LanguageState]:
        """Return the logits ``(B, T, V)`` of what follows ``pieces (B, T)``, and the state."""
        read, state = self.lstm(self.embedding(pieces), state)
        return self.logits(read), state

    def logits(self, read: Tensor) -> Tensor:
        """Return the unnormalised logs of the next piece from ``h (..., H)``."""
        return nn.functional.linear(self.projection(read), self.embedding.weight, self.bias)
