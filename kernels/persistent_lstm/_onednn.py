"""The torch backend on a CPU: oneDNN's LSTM, with weights that stay in its own layout.

``torch.lstm`` runs the same code, but lays out all weights anew in every call, which for a chunk of
a few timesteps takes several times as long as the chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ._packing import packed_once
from .types import LayerWeights, LSTMState

__all__ = ["can_run", "run"]

LSTM_MODE = 2  # torch's number for it among its recurrent networks


class _Layer(NamedTuple):
    """One layer: matrices in oneDNN's layout, biases as they were, all float32."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


def can_run(weights: Sequence[LayerWeights]) -> bool:
    """Whether they are on a CPU, and this torch has oneDNN and the operator that packs for it.

    The operator is not public: ``torch.compile`` calls it for models that it freezes.
    """
    first = weights[0].w_hh
    return (
        first.device.type == "cpu"
        and first.dtype != torch.float64
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_reorder_mkldnn_rnn_layer_weight")
    )


def _pack(weights: LayerWeights, one_row: bool) -> _Layer:
    """Lay one layer's weights out for chunks of one row, or of more."""
    w_ih, w_hh, b_ih, b_hh = (t.detach().float() for t in weights)
    # (T, B, I) of the calls to come; without it torch assumes several rows. T does not matter.
    input_size = [10, 1, w_ih.shape[1]] if one_row else None
    packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
        w_ih, w_hh, w_hh.shape[1], False, True, False, input_size
    )
    return _Layer(packed[0], packed[1], b_ih, b_hh)


def run(x: Tensor, weights: Sequence[LayerWeights], state: LSTMState) -> tuple[Tensor, LSTMState]:
    """Run the layers over ``x (T, B, I)``; results are float32, without gradients.

    The first call with one row packs all weights, and so does the first with more: on CPUs without
    AVX-512 oneDNN's layouts for the two differ, and it would reorder the other one's in every call.
    """
    x, hs, cs = x.float(), [], []
    one_row = x.shape[1] == 1
    for index, layer in enumerate(weights):
        w = packed_once(layer, ("oneDNN", one_row), partial(_pack, layer, one_row))
        own = slice(index, index + 1)
        x, h, C, _ = torch.ops.aten.mkldnn_rnn_layer(
            x, *w, state.h[own], state.C[own],
            reverse=False, batch_sizes=[], mode=LSTM_MODE, hidden_size=layer.w_hh.shape[1],
            num_layers=1, has_biases=True, bidirectional=False, batch_first=False, train=False,
        )  # fmt: skip
        hs.append(h)
        cs.append(C)
    return x, LSTMState(torch.cat(hs), torch.cat(cs))
