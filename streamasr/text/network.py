"""The tagger: an LSTM over words that says which mark stands behind one, and which has a capital.

Legend: B rows, T words, E embedding size, H hidden size.
"""

from __future__ import annotations

from persistent_lstm import LayerWeights, LSTMState, lstm, zero_state
from pydantic import Field
from torch import Tensor, nn

from ..validated import Settings
from .features import PAUSES
from .labels import MARKS

__all__ = ["Tagger", "TaggerConfig"]


class TaggerConfig(Settings):
    """Sizes: of the table of embeddings, of each of them, and of the LSTM.

    ``look_ahead``: how many words behind one are seen when its capital and the mark before it are
    decided.
    """

    rows: int = Field(gt=2)
    embedding_size: int = Field(96, gt=0)
    hidden_size: int = Field(256, gt=0)
    layers: int = Field(2, gt=0)
    look_ahead: int = Field(1, ge=0, le=8)


class Tagger(nn.Module):
    """Streaming punctuation and capitals (Tilk and Alumäe 2015), the words' embeddings hashed.

    What it puts out behind a word is about the word ``look_ahead`` before it, and the mark behind
    the word before that.
    """

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.rows, config.embedding_size)
        self.pauses = nn.Embedding(PAUSES, config.embedding_size)
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, config.layers)
        self.output = nn.Linear(config.hidden_size, len(MARKS) + 1)
        nn.init.normal_(self.embedding.weight, std=config.embedding_size**-0.5)
        nn.init.normal_(self.pauses.weight, std=config.embedding_size**-0.5)

    def initial_state(self, rows: int) -> LSTMState:
        """Return the state of ``rows`` texts of which nothing was read."""
        weights = self._weights()
        return zero_state(weights, rows)

    def embed(self, words: Tensor, pauses: Tensor) -> Tensor:
        """Return the inputs ``(T, B, E)`` of ``words (T, B, 3)`` and ``pauses (T, B)``."""
        embedded: Tensor = self.embedding(words).sum(-2) + self.pauses(pauses)
        return embedded

    def split(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of marks ``(…, 7)`` and of a capital ``(…)`` from ``h (…, H)``."""
        logits = self.output(read)
        return logits[..., :-1], logits[..., -1]

    def forward(
        self, words: Tensor, pauses: Tensor, state: LSTMState, *, backend: str = "auto"
    ) -> tuple[Tensor, Tensor, LSTMState]:
        """Return the logits of marks ``(T, B, 7)`` and capitals ``(T, B)``, and the state."""
        read, state = lstm(self.embed(words, pauses), self._weights(), state, backend=backend)
        marks, capitals = self.split(read)
        return marks, capitals, state

    def _weights(self) -> list[LayerWeights]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [
            LayerWeights(*(self.lstm.get_parameter(f"{name}_l{layer}") for name in names))
            for layer in range(self.config.layers)
        ]
