"""The second pass: layers that read a whole segment in both directions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from persistent_lstm import NORM_EPSILON, LayerWeights, PersistentLSTM
from torch import Tensor, nn

__all__ = ["SecondStack", "reads_backward", "reverse_rows"]


def reads_backward(layer: int) -> bool:
    """Whether a layer reads from the end: the first does, the next does not, and so on."""
    return layer % 2 == 0


def reverse_rows(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Reverse each row of ``x (T, B, ...)`` in time; what stands behind its length stays there.

    ``lengths (B,)`` are timesteps; None means ``T`` for all. Twice gives ``x`` again.
    """
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    lengths = lengths.to(x.device)
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, index[(...,) + (None,) * (x.dim() - 2)].expand_as(x))


class SecondStack(nn.Module):
    """A residual stack of LSTM layers in alternating directions, and its head for phones.

    The non-causal encoder of a cascade (Narayanan et al. 2020, arXiv:2010.14606): it reads what the
    causal stack made of a segment when all of it is there. The first layer reads backward, which
    the causal stack could not.
    """

    def __init__(self, hidden_size: int, num_layers: int, output_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PersistentLSTM(hidden_size, hidden_size, residual=True) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON, elementwise_affine=False)
        self.head = nn.Linear(hidden_size, output_size)

    @property
    def weights(self) -> list[LayerWeights]:
        """The layers' parameters, as ``lstm`` takes them."""
        return [layer.weights[0] for layer in self._lstms()]

    def _lstms(self) -> Iterator[PersistentLSTM]:
        for layer in self.layers:
            assert isinstance(layer, PersistentLSTM)
            yield layer

    def forward(self, r: Tensor, lengths: Tensor | None = None, *, backend: str = "auto") -> Tensor:
        """Map ``r (T, B, H)`` of whole segments to ``log_probs (T, B, P)``.

        ``lengths (B,)`` says how many timesteps each row has, when rows differ: what stands behind
        them means nothing, in ``r`` as in the answer.
        """
        for number, layer in enumerate(self._lstms()):
            if reads_backward(number):
                y, _ = layer(reverse_rows(r, lengths), backend=backend)
                r = reverse_rows(y, lengths)
            else:
                r, _ = layer(r, backend=backend)
        logits: Tensor = self.head(self.norm(r))
        return logits.log_softmax(dim=-1)
