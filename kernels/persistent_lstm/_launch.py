"""From tensors to launches: weights packed as a plan says, buffers, errors.

Legend: L layers, B rows, T timesteps, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _kernels
from ._arguments import HALVES, constants, options
from ._fragment_launch import Fragments, arguments, pack_launch
from ._packing import packed_once
from ._wide_launch import Tiles, pack_tiles, wide_arguments
from ._workspace import prepare
from .errors import error_of, raise_pending_error
from .plan import Launch, Plan
from .planning import launch_width, tile_columns
from .types import LayerWeights, LSTMError, LSTMState

__all__ = ["POLL_LIMIT", "on_device", "run_plan"]

POLL_LIMIT = 1 << 22  # seconds, where an exchange takes about a microsecond
# Longer inputs run in pieces, so that the exchange buffers stay within this.
BUFFER_BYTES = 64 * 2**20


def _packed(plan: Plan, launch: Launch, weights: Sequence[LayerWeights]) -> Fragments | Tiles:
    """Launches for any number of rows share what was packed."""
    wide = launch.kernel == "wide"
    cut = tile_columns(launch, split=plan.split) if wide else plan.split
    key = (launch.kernel, launch.layers, launch.units, launch.K, cut)
    tensors = [tensor for layer in weights for tensor in layer]
    pack = pack_tiles if wide else pack_launch
    return packed_once(tensors, key, lambda: pack(plan, launch, weights))


def run_plan(
    plan: Plan,
    x: Tensor,
    weights: Sequence[LayerWeights],
    state: LSTMState,
    *,
    lengths: Tensor | None = None,
    stamps: list[Tensor] | None = None,
) -> tuple[Tensor, LSTMState]:
    """Run ``x (T, B, I)``, T >= 1, as ``plan`` says; all results are float32.

    ``lengths (B,)``, int32, on the device of x: rows keep their state from their length on.
    A list passed as ``stamps`` receives what the programs of each launch recorded, see ``timing``.
    """
    raise_pending_error(x.device)
    packed = [_packed(plan, launch, weights) for launch in plan.launches]
    longest = max(1, BUFFER_BYTES // (plan.layers * plan.hidden * min(plan.batch, 64) * 8))
    outputs = []
    for start in range(0, x.shape[0], longest):
        part = x[start : start + longest]
        left = None if lengths is None else lengths - start
        y, state = _run_piece(plan, packed, part, state, left, stamps)
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


def _run_piece(
    plan: Plan,
    packed: list[Fragments | Tiles],
    x: Tensor,
    state: LSTMState,
    lengths: Tensor | None,
    stamps: list[Tensor] | None,
) -> tuple[Tensor, LSTMState]:
    hs, Cs = [], []
    for launch, w in zip(plan.launches, packed, strict=True):
        layers = slice(*launch.layers)
        groups = []
        for start in range(0, plan.batch, launch.rows):
            rows = slice(start, start + launch.rows)
            groups.append(
                _Group(
                    plan,
                    launch,
                    w,
                    x[:, rows].float().contiguous(),
                    LSTMState(
                        state.h[layers, rows].float().contiguous(),
                        state.C[layers, rows].float().contiguous(),
                    ),
                    None if lengths is None else lengths[rows],
                    stamps,
                ).run()
            )
        x = torch.cat([y for y, _ in groups], dim=1) if len(groups) > 1 else groups[0][0]
        hs.append(torch.cat([s.h for _, s in groups], dim=1))
        Cs.append(torch.cat([s.C for _, s in groups], dim=1))
    return x, LSTMState(torch.cat(hs), torch.cat(Cs)) if len(hs) > 1 else LSTMState(hs[0], Cs[0])


class _Group(NamedTuple):
    """One launch of a kernel for some rows."""

    plan: Plan
    launch: Launch
    w: Fragments | Tiles
    x: Tensor
    state: LSTMState
    lengths: Tensor | None
    stamps: list[Tensor] | None

    def run(self) -> tuple[Tensor, LSTMState]:
        plan, launch, x, state = self.plan, self.launch, self.x, self.state
        T, B = x.shape[:2]
        width = launch_width(plan, launch)
        with on_device(x.device):
            memory = prepare(
                x,
                state.h,
                width,
                HALVES[plan.dtype],
                residual=plan.residual,
                split=plan.split,
                counted=launch.kernel == "wide",
            )
            if self.lengths is not None:
                # A row of no timestep keeps its h; the kernel keeps its C.
                memory.h.copy_(state.h)
            others = (memory, x, state.C, self.lengths, error_of(x.device), self._times(T))
            if isinstance(self.w, Tiles):
                kernel = _kernels.wide_kernel()
                given = wide_arguments(self.w, *others, split=plan.split)
            else:
                kernel = _kernels.fragment_kernel()
                given = arguments(self.w, *others)
            self._start(kernel, *given, T, POLL_LIMIT, rows=B)
        y = memory.y.view(torch.float32).view(T, B, launch.hidden)
        return y, LSTMState(memory.h, memory.C)

    def _times(self, T: int) -> Tensor:
        """Where the programs record times: empty unless they are wanted."""
        if self.stamps is None:
            return self.x.new_zeros(0, dtype=torch.int64)
        times = self.x.new_zeros(self.launch.programs, T + 2, 3, dtype=torch.int64)
        self.stamps.append(times)
        return times

    def _start(self, kernel: Any, *arguments: object, rows: int) -> None:
        launch = self.launch
        values = constants(
            self.plan,
            launch,
            rows,
            ragged=self.lengths is not None,
            timed=self.stamps is not None,
        )
        try:
            kernel[(launch.programs,)](*arguments, **values, **options(launch))
        except RuntimeError as error:
            if "cooperative" not in str(error):
                raise
            raise LSTMError(
                f"{launch.programs} programs cannot all be resident on {self.plan.device.name} "
                f"({self.plan.device.multiprocessors} multiprocessors): is another process "
                f"using it? Use backend torch"
            ) from error


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make ``device`` the current one, for Triton launches on that."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
