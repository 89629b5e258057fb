"""The kernels on the GPU against the float64 gate equations, and what happens when they fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import persistent_lstm._launch
import torch
from persistent_lstm import (
    Launch,
    LaunchMemory,
    LayerWeights,
    LSTMError,
    LSTMState,
    Plan,
    lstm,
    lstm_reference,
    plan_for,
    raise_pending_error,
)
from persistent_lstm._launch import run_plan
from torch import Tensor

GPU = torch.device("cuda")
TOLERANCE = {"split": 5e-6, "rounded": 2e-3}


@dataclass(frozen=True)
class Case:
    """A problem; ``chunks`` are run one after the other with the state carried."""

    L: int
    H: int
    B: int
    T: int
    dtype: str = "bfloat16"
    I: int | None = None
    residual: bool = False
    split: bool = True
    ragged: bool = False
    chunks: int = 1

    @property
    def tolerance(self) -> float:
        """The largest relative error that the arithmetic allows."""
        return TOLERANCE["split" if self.split else "rounded"]

    def weights(self, seed: int = 0) -> list[LayerWeights]:
        """Return random weights on the GPU, as torch.nn.LSTM draws them."""
        generator = torch.Generator().manual_seed(seed)
        dtype = getattr(torch, self.dtype)

        def uniform(*shape: int) -> Tensor:
            values = torch.rand(shape, generator=generator) * 2 - 1
            return (values * self.H**-0.5).to(GPU, dtype)

        rows = 4 * self.H
        sizes = [self.I or self.H] + [self.H] * (self.L - 1)
        return [
            LayerWeights(uniform(rows, size), uniform(rows, self.H), uniform(rows), uniform(rows))
            for size in sizes
        ]

    def input(self, seed: int = 1) -> tuple[Tensor, LSTMState]:
        """Return random frames and a random carried state on the GPU."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.T, self.B, self.I or self.H, generator=generator)
        h, C = torch.randn(2, self.L, self.B, self.H, generator=generator)
        return x.to(GPU), LSTMState((0.3 * h).to(GPU), C.to(GPU))


FIRST = [Case(4, 512, 1, 32), Case(4, 512, 8, 32, residual=True)]
CASES = [
    *(Case(4, 512, B, 32, residual=r, split=s) for B in (1, 8, 16) for r in (0, 1) for s in (0, 1)),
    *(Case(4, 512, B, 16, residual=True, ragged=True) for B in (3, 33)),
    Case(4, 512, 4, 32),
    Case(4, 512, 32, 32),
    Case(4, 512, 64, 32, split=False),
    Case(4, 512, 64, 32, residual=True),
    Case(4, 512, 70, 16, residual=True, ragged=True),
    Case(4, 512, 128, 8),
    Case(4, 512, 130, 8, split=False, ragged=True),
    Case(4, 512, 1, 16, dtype="float16", residual=True),
    Case(4, 512, 9, 16, dtype="float16", split=False),
    Case(5, 512, 1, 16),
    Case(4, 256, 8, 16, residual=True),
    Case(3, 384, 5, 16, residual=True),
    Case(2, 640, 2, 16),
    Case(2, 768, 9, 16, split=False),
    Case(1, 1024, 1, 16),
    Case(2, 1024, 8, 16),
    Case(1, 1024, 33, 16, split=False),
    Case(1, 1024, 8, 16, residual=True),
    Case(3, 80, 5, 16),
    Case(2, 512, 1, 16, I=320),
    Case(2, 512, 8, 16, I=700),
    *(Case(4, 512, 1, T) for T in (1, 2)),
    Case(4, 512, 1, 1000, residual=True, chunks=8),
    Case(4, 512, 8, 1000, chunks=5),
    Case(4, 512, 32, 500, split=False, chunks=3),
]


def fits(case: Case, backend: str) -> bool:
    """Whether ``backend`` takes a case on this GPU, and by another plan than ``triton``."""
    weights = case.weights()

    def plan(name: str) -> Plan:
        return plan_for(weights, case.B, residual=case.residual, split=case.split, backend=name)

    found = plan(backend)
    return found.fits and (backend == "triton" or found != plan("triton"))


def forbid_tf32() -> None:
    """Let no product round its float32 operands: what is compared with must be exact."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return ``|actual - expected| / |expected|``; NaN or infinity anywhere counts as infinite."""
    error = float((actual.double() - expected.double()).norm() / expected.double().norm())
    return error if math.isfinite(error) else math.inf


def check(case: Case, backend: str = "triton") -> dict[str, Any]:
    """Run one case and return what came out; ``ok`` is the verdict."""
    weights, (x, state) = case.weights(), case.input()
    lengths = None
    if case.ragged:
        lengths = torch.randint(
            0, case.T + 1, (case.B,), generator=torch.Generator().manual_seed(2)
        )
    options: dict[str, Any] = {"residual": case.residual, "backend": backend, "split": case.split}
    carried, outputs = state, []
    with torch.inference_mode():
        for part in x.tensor_split(case.chunks):
            y, carried = lstm(part, weights, carried, lengths=lengths, **options)
            outputs.append(y)
        expected, last = lstm(
            *(x.double(), [LayerWeights(*(t.double() for t in w)) for w in weights]),
            LSTMState(state.h.double(), state.C.double()),
            lengths=lengths,
            residual=case.residual,
            backend="reference",
        )
    torch.cuda.synchronize()
    raise_pending_error(x.device)
    errors = {
        "y": relative_error(torch.cat(outputs), expected),
        "h": relative_error(carried.h, last.h),
        "C": relative_error(carried.C, last.C),
    }
    plan = plan_for(weights, case.B, residual=case.residual, split=case.split, backend=backend)
    return {
        "case": case.__dict__,
        "backend": backend,
        "kernels": [launch.kernel for launch in plan.launches],
        "errors": errors,
        "tolerance": case.tolerance,
        "ok": max(errors.values()) <= case.tolerance,
    }


class _OneShort(Launch):
    """A launch that forgets its last program."""

    @property
    def programs(self) -> int:
        return super().programs - 1


class _TooMany(Launch):
    """A launch that no GPU holds at once."""

    @property
    def programs(self) -> int:
        return 100_000


def _changed(plan: Plan, kind: type[Launch]) -> Plan:
    return replace(plan, launches=tuple(kind(**launch.__dict__) for launch in plan.launches))


def _raises(act: Callable[[], object], *words: str) -> dict[str, Any]:
    try:
        act()
    except LSTMError as error:
        said = str(error)
        return {"said": said, "ok": all(word in said for word in words)}
    return {"said": "", "ok": False}


def failures(backend: str = "triton") -> Iterator[tuple[str, dict[str, Any]]]:
    """Provoke what can go wrong; each must end in one clear error, never in a hang."""
    for case in (Case(4, 512, 1, 8, residual=True), Case(4, 512, 32, 8)):
        weights, (x, state) = case.weights(), case.input()
        plan = plan_for(weights, case.B, residual=case.residual, backend=backend)
        if not plan.fits:
            continue
        name = f"{plan.launches[0].kernel}, {case.B} rows"
        limit, persistent_lstm._launch.POLL_LIMIT = persistent_lstm._launch.POLL_LIMIT, 20_000

        def wait_in_vain(
            plan: Plan = plan, x: Tensor = x, weights: Any = weights, state: LSTMState = state
        ) -> None:
            y, _ = run_plan(_changed(plan, _OneShort), x, weights, state)
            torch.cuda.synchronize()
            if not bool(y.isnan().any()):
                raise AssertionError("the results of a failed launch must be NaN")
            raise_pending_error(x.device)

        yield f"{name}: a missing program", _raises(wait_in_vain, "gave up", "waited in vain")
        persistent_lstm._launch.POLL_LIMIT = limit
        yield (
            f"{name}: a grid too large",
            _raises(
                lambda p=plan, x=x, w=weights, s=state: run_plan(_changed(p, _TooMany), x, w, s),
                "cannot all be resident",
            ),
        )
        clean, _ = run_plan(plan, x, weights, state)
        spoiled = x.clone()
        row = case.B // 2
        spoiled.view(torch.int32)[1, row, 5] = -1  # the sentinel's own bits
        y, _ = run_plan(plan, spoiled, weights, state)
        others = [b for b in range(case.B) if b != row]
        ok = bool(y[-1, row].isnan().all()) and torch.equal(y[:, others], clean[:, others])
        yield f"{name}: a NaN stays in its row", {"ok": ok}


def graph(backend: str = "triton", rows: int = 1) -> dict[str, Any]:
    """Capture a chunk as a CUDA graph; its replay must give the same bits."""
    case = Case(4, 512, rows, 8, residual=True)
    weights, (x, state) = case.weights(), case.input()

    memory = LaunchMemory()

    def run() -> Tensor:
        with torch.inference_mode():
            y, _ = lstm(x, weights, state, residual=True, backend=backend, memory=memory)
            return y

    expected = run().clone()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        y = run()
    with torch.inference_mode():  # in which alone y may be written to
        for _ in range(100):
            y.zero_()
            captured.replay()
    torch.cuda.synchronize()
    return {"ok": torch.equal(y, expected)}


def reference_speaks_for_cudnn() -> dict[str, Any]:
    """The oracle itself, beside torch.nn.LSTM in float64."""
    case = Case(2, 64, 3, 9, dtype="float32")
    weights, (x, state) = case.weights(), case.input()
    peer = torch.nn.LSTM(64, 64, 2, device=GPU, dtype=torch.float64)
    with torch.no_grad():
        for layer, w in enumerate(weights):
            for name, tensor in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), w, strict=True
            ):
                getattr(peer, f"{name}_l{layer}").copy_(tensor)
        expected, _ = peer(x.double(), (state.h.double(), state.C.double()))
    error = relative_error(lstm_reference(x, weights, state)[0], expected)
    return {"errors": {"y": error}, "ok": error < 1e-12}
