"""The oracle: a plain loop over the gate equations in float64.

Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000, as in ``torch.nn.LSTM``::

    i, f, o = σ(W·[h, x] + b)      g = tanh(W_g·[h, x] + b_g)
    C = f ⊙ C + i ⊙ g              h = o ⊙ tanh(C)

A residual stack (pre-norm, as Xiong et al. 2020 call it) carries ``r`` past the layers::

    r_0 = x      r_{l+1} = r_l + LSTM_l(norm(r_l))      y = r_L      (I = H)

where ``norm`` is layer normalisation (Ba et al. 2016) without gain and bias: both fold into the
weights that follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .types import NORM_EPSILON, LayerWeights, LSTMState, check_arguments, zero_state

__all__ = ["lstm_reference"]


def lstm_reference(
    x: Tensor,
    weights: Sequence[LayerWeights],
    state: LSTMState | None = None,
    *,
    residual: bool = False,
) -> tuple[Tensor, LSTMState]:
    """Run the stack over ``x (T, B, I)``, slowly; all results are float64.

    Returns ``y (T, B, H)``, the last layer's output (with ``residual``, the sum ``r_L``), and the
    state after the last timestep.
    """
    state = zero_state(weights, x.shape[1]) if state is None else state
    check_arguments(x, weights, state, residual=residual)
    y = x.double()
    hs, cs = [], []
    for layer, w in enumerate(weights):
        w_ih, w_hh, bias = w.w_ih.double(), w.w_hh.double(), w.b_ih.double() + w.b_hh.double()
        h, C = state.h[layer].double(), state.C[layer].double()
        outputs = []
        for x_t in _normalise(y) if residual else y:
            i, f, g, o = (x_t @ w_ih.T + h @ w_hh.T + bias).chunk(4, dim=1)
            C = f.sigmoid() * C + i.sigmoid() * g.tanh()
            h = o.sigmoid() * C.tanh()
            outputs.append(h)
        out = torch.stack(outputs) if outputs else y.new_zeros(0, *h.shape)
        y = y + out if residual else out
        hs.append(h)
        cs.append(C)
    return y, LSTMState(torch.stack(hs), torch.stack(cs))


def _normalise(r: Tensor) -> Tensor:
    centred = r - r.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + NORM_EPSILON).sqrt()
