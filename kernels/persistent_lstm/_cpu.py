"""The cpu backend: weights of 8 or 16 bits that stay in the cache across timesteps.

In float32, 4 x 512 takes 33.5 MB, which each timestep brings from memory or a distant cache; in
int8 it is 8.4 MB. Weights are widened in registers as they are read; all else is float32, and
nothing is quantised on the way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._packing import packed_once
from .types import Int8LayerWeights, Int8Matrix, LayerWeights, LSTMState, Weights

__all__ = ["kind_of", "numba_missing", "pack_matrix", "reason_against", "run", "scale_of"]

Array = NDArray[Any]
FEWEST_ROWS = 4
"""Of a thread: below, each would bring all weights for little work."""


class _Layers(NamedTuple):
    """Layers whose inputs have one size: packed matrices, scales and the sum of the biases."""

    w_ih: Array
    w_hh: Array
    s_ih: Array
    s_hh: Array
    bias: Array


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "lstm")


if hasattr(os, "register_at_fork"):
    # Threads are not forked.
    os.register_at_fork(after_in_child=_pool.cache_clear)


@cache
def numba_missing() -> str:
    """Return why the compiled step cannot be had, or nothing."""
    try:
        from . import _cpu_kernels  # noqa: F401
    except (ImportError, OSError) as error:  # or LLVM's library cannot be loaded
        return f"Numba cannot be imported ({error})"
    return ""


def tensors_of(weights: Weights) -> list[Tensor]:
    """Return all tensors of a stack."""
    if isinstance(weights[0], Int8LayerWeights):
        return [t for w in cast(Sequence[Int8LayerWeights], weights) for t in w.tensors]
    return [t for w in cast(Sequence[LayerWeights], weights) for t in w]


def kind_of(weights: Weights) -> str:
    """Return ``int8``, ``float16`` where that loses nothing of the matrices, or ``""``."""
    if isinstance(weights[0], Int8LayerWeights):
        return "int8"
    floats = cast(Sequence[LayerWeights], weights)
    if floats[0].w_hh.dtype == torch.float16:
        return "float16"
    if floats[0].w_hh.dtype not in (torch.float32, torch.bfloat16):
        return ""
    exact = packed_once(tensors_of(weights), "exact in float16", lambda: _is_exact(floats))
    return "float16" if exact else ""


def _is_exact(weights: Sequence[LayerWeights]) -> bool:
    # A few values first: those of a model in training are seen to be float32 at once.
    return all(
        torch.equal(part.half().float(), part.float())
        for w in weights
        for matrix in (w.w_hh, w.w_ih)
        for part in (matrix.detach()[0], matrix.detach())
    )


def reason_against(weights: Weights) -> str:
    """Return why the backend cannot run ``weights``, nothing if it can."""
    device = weights[0].w_hh.device
    if device.type != "cpu":
        return f"weights are on {device}"
    if not kind_of(weights):
        return "weights are neither int8 nor exact in float16"
    return numba_missing()


def pack_matrix(matrix: Int8Matrix | Tensor) -> Array:
    """Lay a matrix ``(N, K)`` out as the compiled code reads it, ``(N / TILE, K, TILE)``."""
    from ._cpu_kernels import TILE

    if isinstance(matrix, Int8Matrix):
        values = matrix.values.detach()
    else:
        values = matrix.detach().half().view(torch.int16)
    rows, columns = values.shape
    filled = torch.nn.functional.pad(values, (0, 0, 0, -rows % TILE))
    tiles: Array = filled.view(-1, TILE, columns).transpose(1, 2).contiguous().numpy()
    return tiles if tiles.dtype == np.int8 else tiles.view(np.uint16)


def _pack(weights: Weights) -> list[_Layers]:
    """Pack a stack: all layers in one, but for a first one whose input has another size."""
    layers: list[LayerWeights | Int8LayerWeights] = list(weights)
    alone = layers[0].w_ih.shape != layers[-1].w_ih.shape
    return [
        _Layers(
            np.stack([pack_matrix(w.w_ih) for w in group]),
            np.stack([pack_matrix(w.w_hh) for w in group]),
            np.stack([scale_of(w.w_ih) for w in group]),
            np.stack([scale_of(w.w_hh) for w in group]),
            np.stack([(w.b_ih.detach().float() + w.b_hh.detach().float()).numpy() for w in group]),
        )
        for group in ([layers[:1], layers[1:]] if alone else [layers])
    ]


def scale_of(matrix: Int8Matrix | Tensor) -> Array:
    """Return what each row is multiplied by, ``(N,)``."""
    if isinstance(matrix, Int8Matrix):
        return matrix.scale.detach().numpy()
    return np.ones(len(matrix), np.float32)


def run(
    x: Tensor,
    weights: Weights,
    state: LSTMState,
    *,
    lengths: Tensor | None = None,
    residual: bool = False,
) -> tuple[Tensor, LSTMState]:
    """Run the layers over ``x (T, B, I)``; results are float32, without gradients.

    Rows have the same bits in any batch and any chunking. Many of them are shared out among
    ``torch.get_num_threads()`` threads; one row has one.
    """
    layers = packed_once(tensors_of(weights), "cpu backend", lambda: _pack(weights))
    batch = x.shape[1]
    x, h, C = x.detach(), state.h.detach(), state.C.detach()
    shares = min(torch.get_num_threads(), batch // FEWEST_ROWS)
    if shares < 2:
        return _run_rows(x, layers, LSTMState(h, C), lengths, residual)
    bounds = [batch * share // shares for share in range(shares + 1)]
    tasks = [
        _pool(torch.get_num_threads()).submit(
            _run_rows,
            x[:, low:high],
            layers,
            LSTMState(h[:, low:high], C[:, low:high]),
            None if lengths is None else lengths[low:high],
            residual,
        )
        for low, high in pairwise(bounds)
    ]
    ys, states = zip(*(task.result() for task in tasks), strict=True)
    return torch.cat(ys, 1), LSTMState(
        torch.cat([one.h for one in states], 1), torch.cat([one.C for one in states], 1)
    )


def _run_rows(
    x: Tensor,
    layers: Sequence[_Layers],
    state: LSTMState,
    lengths: Tensor | None,
    residual: bool,
) -> tuple[Tensor, LSTMState]:
    from ._cpu_kernels import LANES, run_layers

    steps, batch = x.shape[:2]
    hidden = state.h.shape[2]
    live = None
    if lengths is None:
        rows = np.tile(np.arange(batch), steps)
        starts = np.arange(0, steps * batch + 1, batch)
        read = x.reshape(steps * batch, -1)
    else:
        live = torch.arange(steps)[:, None] < lengths
        rows = live.nonzero()[:, 1].numpy()
        starts = np.concatenate([[0], np.cumsum(live.sum(1).numpy())])
        read = x[live]
    source = np.ascontiguousarray(read.float().numpy())
    count = len(source)
    y = source.copy() if residual else np.empty((count, hidden), np.float32)
    h, C = (t.float().clone(memory_format=torch.contiguous_format) for t in state)
    width = layers[0].w_ih.shape[1] * layers[0].w_ih.shape[3]
    scratch = tuple(
        np.empty(shape, np.float32)
        for shape in ((count, hidden), (count, width), (batch, hidden), (batch, width), (LANES,))
    )
    first = 0
    for group in layers:
        own = slice(first, first + len(group.bias))
        parts = (h[own].numpy(), C[own].numpy())
        run_layers(source, y, rows, starts, tuple(group), parts, scratch, residual)
        first, source = own.stop, y
    out = torch.from_numpy(y)
    if live is None:
        return out.view(steps, batch, hidden), LSTMState(h, C)
    whole = out.new_zeros(steps, batch, hidden)
    whole[live] = out
    return whole, LSTMState(h, C)
