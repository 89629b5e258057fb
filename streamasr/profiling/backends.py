"""Backends to profile: each turns a problem into a call that runs one chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from persistent_lstm import (
    NORM_EPSILON,
    Int8LayerWeights,
    Int8Matrix,
    LaunchMemory,
    LSTMError,
    choose_backend,
    lstm,
)
from torch import Tensor
from torch.nn import functional

from .cells import DTYPES, Cell, Problem

__all__ = ["BACKENDS", "Backend", "CannotRun", "backends_here", "gpu"]

Call = Callable[[], object]

# cuDNN's persistent kernels, as PyTorch chooses them (aten/src/ATen/native/cudnn/RNN.cpp).
PERSISTENT_ROWS, PERSISTENT_COLUMNS, PERSISTENT_HIDDEN = 8, 128, 1024


class CannotRun(Exception):
    """A backend cannot run a cell; the message says why."""


@dataclass(frozen=True)
class Backend:
    """A backend: a row of a profile.

    Args:
        build: checks that the backend can run the problem (CannotRun) and returns the call.
        what: it runs, for a person.
        on: ``gpu``, ``cpu``, or ``both`` for the best device there is.
        residual: whether it runs residual stacks; if not, it runs the plain stack of those sizes.
        dtype: that it computes in, if not the cell's.
        graph: whether its launches are captured once and replayed as one CUDA graph.
        kernels: the backend of kernels that it is, if it is one.
    """

    name: str
    build: Callable[[Problem], Call]
    what: str
    on: str
    residual: bool = True
    dtype: str = ""
    graph: bool = False
    kernels: str = ""

    def device(self) -> torch.device:
        """The device that it runs on here."""
        return (None if self.on == "cpu" else gpu()) or torch.device("cpu")

    def cell(self, cell: Cell) -> Cell:
        """Return what it runs of ``cell``."""
        residual = cell.residual and self.residual
        return Cell(
            cell.layers,
            cell.hidden,
            cell.batch,
            cell.timesteps,
            self.dtype or cell.dtype,
            residual,
        )


def _ours(problem: Problem, backend: str, memory: LaunchMemory | None = None) -> Call:
    residual = problem.cell.residual
    try:
        choose_backend(backend, problem.weights, batch=problem.cell.batch, residual=residual)
    except LSTMError as error:
        raise CannotRun(str(error)) from error
    return lambda: lstm(
        problem.x,
        problem.weights,
        problem.state,
        residual=residual,
        backend=backend,
        memory=memory,
    )


def _triton(problem: Problem) -> Call:
    return _ours(problem, "triton")


def _wide(problem: Problem) -> Call:
    return _ours(problem, "triton-wide")


def _once(problem: Problem) -> Call:
    return _ours(problem, "triton-once", LaunchMemory())


def _torch(problem: Problem) -> Call:
    return _ours(problem, "torch")


def _int8(problem: Problem) -> Call:
    """The cell's matrices rounded to int8, each row with its scale."""

    def rounded(matrix: Tensor) -> Int8Matrix:
        scale = matrix.float().abs().amax(dim=1) / 127
        return Int8Matrix((matrix / scale[:, None]).round().to(torch.int8), scale)

    weights = [
        Int8LayerWeights(rounded(w.w_ih), rounded(w.w_hh), w.b_ih.float(), w.b_hh.float())
        for w in problem.weights
    ]
    try:
        choose_backend("cpu", weights)
    except LSTMError as error:
        raise CannotRun(str(error)) from error
    x, state, residual = problem.x.float(), problem.state, problem.cell.residual
    return lambda: lstm(x, weights, state, residual=residual, backend="cpu")


def _stacked(problem: Problem) -> Call:
    dtype = DTYPES[problem.cell.dtype]
    (module,) = problem.modules(layers_each=problem.cell.layers, dtype=dtype)
    x = problem.x
    state = (problem.state.h.to(dtype), problem.state.C.to(dtype))
    return lambda: module(x, state)


def _per_layer(problem: Problem) -> Call:
    cell = problem.cell
    if cell.batch % PERSISTENT_ROWS:
        raise CannotRun(f"cuDNN's persistent kernels need a multiple of {PERSISTENT_ROWS} rows")
    if cell.hidden % PERSISTENT_COLUMNS or cell.hidden > PERSISTENT_HIDDEN:
        raise CannotRun(
            f"cuDNN's persistent kernels need H a multiple of {PERSISTENT_COLUMNS}, "
            f"{PERSISTENT_HIDDEN} at most"
        )
    modules = problem.modules(layers_each=1, dtype=torch.float16)
    states = [
        (problem.state.h[i : i + 1].half(), problem.state.C[i : i + 1].half())
        for i in range(cell.layers)
    ]

    def call() -> Tensor:
        y = problem.x
        for module, state in zip(modules, states, strict=True):
            y, _ = module(y, state)
        return y

    return call


def _eager(problem: Problem) -> Call:
    """The gate equations, an operation at a time, all in the cell's dtype."""
    dtype = problem.x.dtype
    biases = [w.b_ih + w.b_hh for w in problem.weights]
    residual = problem.cell.residual

    def call() -> Tensor:
        hs = list(problem.state.h.to(dtype).unbind())
        Cs = list(problem.state.C.to(dtype).unbind())
        outputs = []
        for x in problem.x:
            r = x
            for layer, (w, bias) in enumerate(zip(problem.weights, biases, strict=True)):
                z = functional.layer_norm(r, r.shape[-1:], eps=NORM_EPSILON) if residual else r
                i, f, g, o = (z @ w.w_ih.T + hs[layer] @ w.w_hh.T + bias).chunk(4, dim=1)
                Cs[layer] = f.sigmoid() * Cs[layer] + i.sigmoid() * g.tanh()
                hs[layer] = o.sigmoid() * Cs[layer].tanh()
                r = r + hs[layer] if residual else hs[layer]
            outputs.append(r)
        return torch.stack(outputs)

    return call


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("triton", _triton, "the persistent kernel", "gpu", kernels="triton"),
        Backend(
            "triton-graph",
            _triton,
            "the same, one CUDA graph a chunk",
            "gpu",
            graph=True,
            kernels="triton",
        ),
        Backend(
            "triton-wide",
            _wide,
            "its plan for 32 rows or more, to be measured",
            "gpu",
            kernels="triton-wide",
        ),
        Backend(
            "triton-wide-graph",
            _wide,
            "the same, one CUDA graph a chunk",
            "gpu",
            graph=True,
            kernels="triton-wide",
        ),
        Backend(
            *("triton-once", _once, "in one launch a chunk, to be measured", "gpu"),
            kernels="triton-once",
        ),
        Backend(
            *("triton-once-graph", _once, "the same, one CUDA graph a chunk", "gpu"),
            graph=True,
            kernels="triton-once",
        ),
        Backend("cudnn-stacked", _stacked, "torch.nn.LSTM on the GPU", "gpu", residual=False),
        Backend(
            "cudnn-stacked-graph",
            _stacked,
            "the same, one CUDA graph a chunk",
            "gpu",
            residual=False,
            graph=True,
        ),
        Backend(
            "cudnn-per-layer",
            _per_layer,
            "a float16 torch.nn.LSTM for each layer",
            "gpu",
            residual=False,
            dtype="float16",
        ),
        Backend("torch-eager", _eager, "the gate equations, an operation at a time", "both"),
        Backend("torch-cpu", _torch, "lstm(backend='torch') on the CPU", "cpu"),
        Backend("int8-cpu", _int8, "lstm(backend='cpu') with int8 weights", "cpu", dtype="int8"),
        Backend("stacked-cpu", _stacked, "torch.nn.LSTM on the CPU", "cpu", residual=False),
    )
}


def backends_here() -> list[str]:
    """Return the names of those that this machine can run."""
    found = gpu() is not None
    return [name for name, backend in BACKENDS.items() if found or backend.on != "gpu"]


def gpu() -> torch.device | None:
    """Return the GPU that is profiled, if torch sees one."""
    if not torch.cuda.is_available():
        return None
    return torch.device("cuda", torch.cuda.current_device())
