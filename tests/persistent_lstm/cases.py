"""Problems for the kernels, each with a toy GPU small enough that a few programs fill it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from persistent_lstm import Device, LayerWeights, LSTMState, PersistentLSTM, lstm_reference
from persistent_lstm._launch import run_plan
from persistent_lstm.devices import KIB
from persistent_lstm.planning import PLANNERS

from ..conftest import relative_error
from .cogrid import scheduled

CPU = torch.device("cpu")
BFLOAT16, FLOAT16 = torch.bfloat16, torch.float16
# What the arithmetic allows: h in two 16-bit halves; h rounded to 16 bits.
TOLERANCE = {"split": 5e-6, "rounded": 2e-3}


@dataclass(frozen=True)
class Case:
    """A problem; ``kernels`` names the planner."""

    L: int
    H: int
    B: int
    T: int
    dtype: torch.dtype = BFLOAT16
    I: int | None = None
    residual: bool = False
    split: bool = True
    programs: int = 8
    kernels: str = "triton"

    @property
    def tolerance(self):
        return TOLERANCE["split" if self.split else "rounded"]

    @property
    def plan(self):
        device = Device("toy", 90, self.programs, 227 * KIB)
        return PLANNERS[self.kernels](
            self.L,
            self.H,
            self.B,
            self.dtype,
            device,
            inputs=self.I,
            residual=self.residual,
            split=self.split,
        )

    def weights(self):
        torch.manual_seed(0)
        module = PersistentLSTM(self.I or self.H, self.H, self.L)
        return [LayerWeights(*(t.detach().to(self.dtype) for t in w)) for w in module.weights]

    def input(self):
        torch.manual_seed(1)
        x = torch.randn(self.T, self.B, self.I or self.H)
        h, C = torch.randn(self.L, self.B, self.H) * 0.3, torch.randn(self.L, self.B, self.H)
        return x, LSTMState(h, C)

    def run(self, x, state, *, fuzz=0.1, dropped=(), **options):
        with scheduled(seed=0, fuzz=fuzz, dropped=dropped):
            return run_plan(self.plan, x, self.weights(), state, **options)

    def check(self, y, last, x, state):
        expected, expected_last = lstm_reference(x, self.weights(), state, residual=self.residual)
        assert relative_error(y, expected) <= self.tolerance
        assert relative_error(last.h, expected_last.h) <= self.tolerance
        assert relative_error(last.C, expected_last.C) <= self.tolerance
