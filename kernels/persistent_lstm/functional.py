"""``lstm``: one call, several backends, the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .reference import lstm_reference
from .types import NORM_EPSILON, LayerWeights, LSTMError, LSTMState, check_arguments, zero_state

__all__ = ["BACKENDS", "choose_backend", "lstm"]

BACKENDS = ("auto", "torch", "reference")


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Return the backend that ``name`` stands for and, for a person, why.

    Raises LSTMError for a name that is unknown or cannot run here.
    """
    if name == "auto":
        return "torch", "the only backend of this version"
    if name == "triton":
        raise LSTMError("the triton backend is not part of this version yet: use auto or torch")
    if name not in BACKENDS:
        raise LSTMError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    return name, "asked for"


def lstm(
    x: Tensor,
    weights: Sequence[LayerWeights],
    state: LSTMState | None = None,
    *,
    residual: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, LSTMState]:
    """Run a stack of LSTM layers over ``x (T, B, I)`` from ``state`` (zeros when None).

    Returns ``y (T, B, H)`` and the state after the last timestep, ``(L, B, H)`` each. Splitting T
    over several calls with the state carried gives the same ``y``. ``T = 0`` is allowed and returns
    the state unchanged. Gate equations, and what ``residual`` means: see ``reference.py``.
    """
    chosen, _ = choose_backend(backend)
    state = zero_state(weights, x.shape[1], device=x.device) if state is None else state
    check_arguments(x, weights, state, residual=residual)
    if x.shape[0] == 0:
        return x.new_zeros(0, x.shape[1], weights[0].w_hh.shape[1]), state
    if chosen == "reference":
        y, last = lstm_reference(x, weights, state, residual=residual)
        return y.to(x.dtype), LSTMState(last.h.to(state.h.dtype), last.C.to(state.C.dtype))
    if not residual:
        return _lstm_torch(x, weights, state)
    hs, cs = [], []
    r = x
    for layer, w in enumerate(weights):
        part = slice(layer, layer + 1)
        z = torch.nn.functional.layer_norm(r, r.shape[-1:], eps=NORM_EPSILON)
        out, last = _lstm_torch(z, [w], LSTMState(state.h[part], state.C[part]))
        r = r + out
        hs.append(last.h)
        cs.append(last.C)
    return r, LSTMState(torch.cat(hs), torch.cat(cs))


def _lstm_torch(
    x: Tensor, weights: Sequence[LayerWeights], state: LSTMState
) -> tuple[Tensor, LSTMState]:
    flat = [tensor for layer in weights for tensor in layer]
    y, h, C = torch.lstm(
        x,
        [state.h, state.C],
        flat,
        has_biases=True,
        num_layers=len(weights),
        dropout=0.0,
        train=False,
        bidirectional=False,
        batch_first=False,
    )
    return y, LSTMState(h, C)
