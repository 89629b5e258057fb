"""``lstm``: one call, several backends, the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from . import _cpu, _onednn
from ._packing import packed_once
from ._rows import joined
from .devices import device_of
from .memory import LaunchMemory
from .plan import Plan
from .planning import PLANNERS
from .reference import lstm_reference
from .types import (
    NORM_EPSILON,
    Int8LayerWeights,
    Int8Matrix,
    LayerWeights,
    LSTMError,
    LSTMState,
    Weights,
    check_arguments,
    check_lengths,
    check_rows,
    zero_state,
)

__all__ = ["BACKENDS", "choose_backend", "lstm", "plan_for"]

BACKENDS = ("auto", *PLANNERS, "cpu", "torch", "reference")


def plan_for(
    weights: Sequence[LayerWeights],
    batch: int,
    *,
    residual: bool = False,
    split: bool = True,
    backend: str = "triton",
) -> Plan:
    """Plan the kernels of ``backend`` for ``weights`` on the CUDA device that they are on."""
    first = weights[0]
    device = first.w_hh.device
    index = torch.cuda.current_device() if device.index is None else device.index
    return PLANNERS[backend](
        len(weights),
        first.w_hh.shape[1],
        batch,
        first.w_hh.dtype,
        device_of(index),
        inputs=first.w_ih.shape[1],
        residual=residual,
        split=split,
    )


def on_gpu(tensor: Tensor | Int8Matrix) -> bool:
    """Whether the kernels can read it."""
    return tensor.device.type == "cuda" and torch.version.cuda is not None


def _floats(weights: Weights) -> Sequence[LayerWeights]:
    """Return the stack in floating point; what is int8 is made float32, once."""
    if not isinstance(weights[0], Int8LayerWeights):
        return cast(Sequence[LayerWeights], weights)
    layers = cast(Sequence[Int8LayerWeights], weights)
    return packed_once(
        _cpu.tensors_of(weights), "float32", lambda: [layer.dequantise() for layer in layers]
    )


def choose_backend(
    name: str = "auto",
    weights: Weights | None = None,
    *,
    batch: int = 1,
    residual: bool = False,
    split: bool = True,
) -> tuple[str, str]:
    """Return the backend that ``name`` stands for and, for a person, why.

    Without ``weights``, only the name is checked: ``auto`` is left open.

    Raises LSTMError for a name that is unknown or cannot run these weights where they are.
    """
    if name not in BACKENDS:
        raise LSTMError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    if name in ("torch", "reference") or weights is None:
        return name, "asked for"
    if name == "cpu" or not on_gpu(weights[0].w_hh):
        if name in PLANNERS:
            raise LSTMError(
                f"the {name} backend needs weights on an NVIDIA GPU, and these are on "
                f"{weights[0].w_hh.device}: use auto or torch"
            )
        against = _cpu.reason_against(weights)
        if not against:
            return "cpu", f"{_cpu.kind_of(weights)} weights, no GPU"
        if name == "cpu":
            raise LSTMError(f"the cpu backend cannot run this: {against}; use auto or torch")
        return "torch", f"no GPU; in float32, as {against}"
    kernels = name if name in PLANNERS else "triton"
    plan = plan_for(_floats(weights), batch, residual=residual, split=split, backend=kernels)
    if plan.fits:
        names = " + ".join(dict.fromkeys(launch.kernel for launch in plan.launches))
        return kernels, f"{names}, weights resident on {plan.device.name}"
    if name in PLANNERS:
        raise LSTMError(f"the {name} backend cannot run this: {plan.reason}; use auto or torch")
    return "torch", plan.reason


def lstm(
    x: Tensor,
    weights: Weights,
    state: LSTMState | Sequence[LSTMState] | None = None,
    *,
    lengths: Tensor | None = None,
    residual: bool = False,
    split: bool = True,
    backend: str = "auto",
    memory: LaunchMemory | None = None,
) -> tuple[Tensor, LSTMState]:
    """Run a stack of LSTM layers over ``x (T, B, I)`` from ``state`` (zeros when None).

    Returns ``y (T, B, H)`` in the dtype of x and the state after the last timestep, ``(L, B, H)``
    each, float32. Splitting T over several calls with the state carried gives the same ``y``.
    ``T = 0`` is allowed and returns the state unchanged. Gate equations, and what ``residual``
    means: see ``reference.py``.

    Args:
        weights: float32, bfloat16, float16, or int8 with a scale for each row of a matrix; all
            else is computed in float32. The cpu backend multiplies int8 and float16 as they are;
            others run int8 in float32.
        state: ``h`` and ``C (L, B, H)``, or one state ``(L, 1, H)`` a row, as for the rows of many
            streams: the triton-once backend reads them where they are, others copy them together.
        lengths: timesteps of each row, ``(B,)``, integers, when rows differ: from its length on a
            row keeps its state, and its ``y`` is 0.
        split: with 16-bit weights, let the triton backends multiply ``h`` as a sum of two 16-bit
            halves (relative error at most 5e-6); otherwise it is rounded to 16 bits (2e-3) for
            half the work.
        memory: see ``LaunchMemory``; for triton-once in a CUDA graph.
        backend: one of BACKENDS. ``auto`` is triton where weights are of 16 bits and on a GPU
            that can hold them, cpu where they are on a CPU and int8 or exact in float16 (and Numba
            is installed), torch elsewhere. Only torch computes gradients. triton-wide and
            triton-once are other plans of the kernels, which no GPU has run yet (``planning``).

    Raises:
        LSTMError: the arguments do not fit each other, or the backend cannot run them.
    """
    rows: Sequence[LSTMState] = ()
    if state is None:
        state = zero_state(weights, x.shape[1], device=x.device)
    elif not isinstance(state, LSTMState):
        rows = state
        check_rows(x, weights, rows)
        # To the checks below one row speaks for all; the kernels may take them as they are.
        state = LSTMState(*(part.expand(-1, x.shape[1], -1) for part in rows[0]))
    check_arguments(x, weights, state, residual=residual)
    steps, batch = x.shape[:2]
    if lengths is not None:
        lengths = check_lengths(lengths, steps, batch)
    if steps == 0 or batch == 0:
        y = x.new_zeros(steps, batch, weights[0].w_hh.shape[1])
        return y, joined(rows) if rows else state
    needs_gradient = _needs_gradient(x, weights, state) or any(
        _needs_gradient(x, weights, row) for row in rows
    )
    if backend == "auto" and needs_gradient:
        backend = "torch"
    chosen, _ = choose_backend(backend, weights, batch=batch, residual=residual, split=split)
    if (chosen in PLANNERS or chosen == "cpu") and needs_gradient:
        raise LSTMError(
            f"the {chosen} backend computes no gradients: use torch.inference_mode(), or "
            "backend torch to train"
        )
    if rows and chosen not in PLANNERS:
        state = joined(rows)
    if chosen == "cpu":
        y, state = _cpu.run(x, weights, state, lengths=lengths, residual=residual)
        return y.to(x.dtype), state
    weights = _floats(weights)
    if chosen in PLANNERS:
        from ._launch import run_plan

        plan = plan_for(weights, batch, residual=residual, split=split, backend=chosen)
        on_device = None if lengths is None else lengths.to(x.device, torch.int32)
        y, state = run_plan(plan, x, weights, rows or state, lengths=on_device, memory=memory)
        y = y.to(x.dtype)
        return y if lengths is None else _silence(y, lengths), state
    if lengths is not None:
        return _ragged(x, weights, state, lengths, residual=residual, backend=chosen)
    if chosen == "reference":
        y, last = lstm_reference(x, weights, state, residual=residual)
        return y.to(x.dtype), LSTMState(last.h.to(state.h.dtype), last.C.to(state.C.dtype))
    return _torch(x, weights, state, residual=residual)


def _needs_gradient(x: Tensor, weights: Weights, state: LSTMState) -> bool:
    return torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (x, *state, *_cpu.tensors_of(weights))
    )


def _silence(y: Tensor, lengths: Tensor) -> Tensor:
    steps = torch.arange(y.shape[0], device=y.device)[:, None]
    return y.masked_fill((steps >= lengths.to(y.device))[:, :, None], 0)


def _ragged(
    x: Tensor,
    weights: Sequence[LayerWeights],
    state: LSTMState,
    lengths: Tensor,
    *,
    residual: bool,
    backend: str,
) -> tuple[Tensor, LSTMState]:
    """Run piece by piece, each with the rows that reach its end."""
    y = x.new_zeros(*x.shape[:2], weights[0].w_hh.shape[1])
    h, C = state.h.clone(), state.C.clone()
    lengths = lengths.to(x.device).clamp(0, x.shape[0])
    start = 0
    for end in torch.unique(lengths).tolist():
        rows = (lengths >= end).nonzero()[:, 0]
        if end > start:
            part = LSTMState(h[:, rows], C[:, rows])
            out, last = lstm(x[start:end, rows], weights, part, residual=residual, backend=backend)
            y[start:end, rows] = out
            h[:, rows], C[:, rows] = last.h, last.C
        start = end
    return y, LSTMState(h, C)


def _torch(
    x: Tensor, weights: Sequence[LayerWeights], state: LSTMState, *, residual: bool
) -> tuple[Tensor, LSTMState]:
    dtype = x.dtype
    run_stack = _torch_stack
    if _onednn.can_run(weights) and not _needs_gradient(x, weights, state):
        run_stack = _onednn.run
    elif any(
        t.dtype in (torch.float16, torch.bfloat16) for t in (x, *(t for w in weights for t in w))
    ):
        # Only weights are rounded: sums and states are float32 on every backend.
        x = x.float()
        weights = [LayerWeights(*(t.float() for t in w)) for w in weights]
    if not residual:
        y, state = run_stack(x, weights, state)
        return y.to(dtype), state
    hs, cs = [], []
    r = x
    for layer, w in enumerate(weights):
        part = slice(layer, layer + 1)
        z = torch.nn.functional.layer_norm(r, r.shape[-1:], eps=NORM_EPSILON)
        out, last = run_stack(z, [w], LSTMState(state.h[part], state.C[part]))
        r = r + out
        hs.append(last.h)
        cs.append(last.C)
    return r.to(dtype), LSTMState(torch.cat(hs), torch.cat(cs))


def _torch_stack(
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
