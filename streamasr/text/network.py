"""The tagger: an LSTM over words that says which mark stands behind one, and which has a capital.

Legend: B rows, T words, E embedding size, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping

from persistent_lstm import (
    Int8LayerWeights,
    Int8Matrix,
    LayerWeights,
    LSTMState,
    choose_backend,
    lstm,
    zero_state,
)
from pydantic import Field
from torch import Tensor, nn

from ..acoustic.model.matrices import SCALE
from ..validated import Settings
from .features import PAUSES
from .labels import MARKS

__all__ = ["Int8Tagger", "Tagger", "TaggerConfig"]


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

    @property
    def any_chunking(self) -> bool:
        """Whether words get the same bits however many are read at once."""
        return False

    def _weights(self) -> list[LayerWeights] | list[Int8LayerWeights]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [
            LayerWeights(*(self.lstm.get_parameter(f"{name}_l{layer}") for name in names))
            for layer in range(self.config.layers)
        ]


class Int8Tagger(Tagger):
    """A tagger of the tensors as ``to_int8`` stores them: called alike, without gradients."""

    def __init__(self, config: TaggerConfig, stored: Mapping[str, Tensor]) -> None:
        nn.Module.__init__(self)  # the other one makes weights, only to throw them away
        self.config = config
        self._embedding, self._pauses = _matrix(stored, "embedding"), _matrix(stored, "pauses")
        self._output = _matrix(stored, "output").dequantise()
        self._bias = stored["output.bias"].float()
        self._layers = [
            Int8LayerWeights(
                _matrix(stored, "lstm", f"_ih_l{layer}"),
                _matrix(stored, "lstm", f"_hh_l{layer}"),
                stored[f"lstm.bias_ih_l{layer}"].float(),
                stored[f"lstm.bias_hh_l{layer}"].float(),
            )
            for layer in range(config.layers)
        ]

    def embed(self, words: Tensor, pauses: Tensor) -> Tensor:
        """Return the inputs ``(T, B, E)`` of ``words (T, B, 3)`` and ``pauses (T, B)``."""
        return _rows(self._embedding, words).sum(-2) + _rows(self._pauses, pauses)

    def split(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of marks ``(…, 7)`` and of a capital ``(…)`` from ``h (…, H)``."""
        # Summed row by row: a product of matrices has other bits for other numbers of rows.
        logits = (read[..., None, :] * self._output).sum(-1) + self._bias
        return logits[..., :-1], logits[..., -1]

    @property
    def any_chunking(self) -> bool:
        """Whether words get the same bits however many are read at once."""
        return choose_backend("auto", self._layers)[0] == "cpu"

    def _weights(self) -> list[Int8LayerWeights]:
        return self._layers


def _matrix(stored: Mapping[str, Tensor], module: str, suffix: str = "") -> Int8Matrix:
    name = f"{module}.weight{suffix}"
    return Int8Matrix(stored[name], stored[name + SCALE].float().reshape(-1))


def _rows(matrix: Int8Matrix, places: Tensor) -> Tensor:
    return matrix.values[places].float() * matrix.scale[places][..., None]
