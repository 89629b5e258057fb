"""From tensors to launches: weights packed as a plan says, buffers, errors.

Legend: L layers, B rows, T timesteps, H hidden size, U units that a program owns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from . import _kernels
from ._arguments import HALVES, constants, options
from ._fragment_launch import Fragments, arguments, pack_launch
from ._fragment_plan import launch_geometry
from ._packing import packed_once
from ._workspace import prepare
from .errors import error_of, raise_pending_error
from .plan import TILE, Launch, Plan
from .types import NORM_EPSILON, LayerWeights, LSTMError, LSTMState

__all__ = ["run_plan"]

SENTINEL = -1
POLL_LIMIT = 1 << 22  # seconds, where an exchange takes about a microsecond
# Longer inputs run in pieces, so that the exchange buffers stay within this.
BUFFER_BYTES = 64 * 2**20


class _Packed(NamedTuple):
    """The weights of one launch; for ``stack``, ``w_ih`` is tiled, otherwise in rows (4H, I)."""

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor


def pack_rows(w: Tensor, units: int) -> Tensor:
    """Order rows (4H, …), gates ``i, f, g, o``, by program: (H/U, 4U, …), row ``gate * U + u``."""
    hidden = w.shape[0] // 4
    parts = w.reshape(4, hidden // units, units, *w.shape[1:]).transpose(0, 1)
    return parts.reshape(hidden // units, 4 * units, *w.shape[1:])


def pack_matrix(w: Tensor, units: int, tiles: int, width: int) -> Tensor:
    """Tile a matrix (4H, H) as (H/U, tiles, 4U, width), columns filled up with zeros."""
    rows = functional.pad(pack_rows(w, units), (0, tiles * width - w.shape[1]))
    return rows.reshape(*rows.shape[:2], tiles, width).transpose(1, 2).contiguous()


def _pack(launch: Launch, weights: Sequence[LayerWeights]) -> _Packed:
    layers = weights[launch.layers[0] : launch.layers[1]]
    units = launch.units
    width = TILE if launch.kernel == "batched" else launch.K // launch.warps
    tiles = launch.K // width

    def stacked(name: str) -> Tensor:
        return torch.stack([pack_matrix(getattr(w, name), units, tiles, width) for w in layers])

    if launch.kernel == "stack":
        w_ih = stacked("w_ih")
    else:
        # The product outside is taken in float32, so that every backend adds the same number.
        w_ih = pack_rows(layers[0].w_ih.float(), units).flatten(0, 1)
    biases = [pack_rows(w.b_ih.float() + w.b_hh.float(), units).flatten() for w in layers]
    return _Packed(w_ih, stacked("w_hh"), torch.stack(biases))


def _packed(plan: Plan, launch: Launch, weights: Sequence[LayerWeights]) -> _Packed | Fragments:
    """Launches for any number of rows share what was packed."""
    key = (launch.kernel, launch.layers, launch.units, launch.K, launch.warps)
    tensors = [tensor for layer in weights for tensor in layer]
    if launch.kernel == "fragment":
        return packed_once(tensors, (*key, plan.split), lambda: pack_launch(plan, launch, weights))
    return packed_once(tensors, key, lambda: _pack(launch, weights))


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
    A list passed as ``stamps`` receives what the programs of each ``stack`` and ``projected``
    launch recorded, see ``timing``.
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
    packed: list[_Packed | Fragments],
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
    w: _Packed | Fragments
    x: Tensor
    state: LSTMState
    lengths: Tensor | None
    stamps: list[Tensor] | None

    def run(self) -> tuple[Tensor, LSTMState]:
        if isinstance(self.w, Fragments):
            return self._fragments(self.w)
        if self.launch.kernel == "stack":
            return self._registers(self.x)
        z = self.x
        if self.plan.residual:
            z = functional.layer_norm(z, z.shape[-1:], eps=NORM_EPSILON)
        z = functional.linear(z, self.w.w_ih, self.w.bias[0])
        run = self._batched if self.launch.kernel == "batched" else self._registers
        y, state = run(z)
        return (self.x + y if self.plan.residual else y), state

    def _registers(self, x: Tensor) -> tuple[Tensor, LSTMState]:
        launch, state = self.launch, self.state
        T, B = x.shape[:2]
        projected = launch.kernel == "projected"
        residual = self.plan.residual and not projected
        shape = (launch.depth, T, B, launch.hidden)
        # One buffer, one fill: h of every layer, and with it r.
        buffers = torch.full(
            (2 if residual else 1, *shape), SENTINEL, dtype=torch.int32, device=x.device
        )
        h, C = torch.empty_like(state.h), torch.empty_like(state.C)
        with on_device(x.device):
            self._start(
                _kernels.stack_kernel(),
                x.view(torch.int32),
                self.w.w_ih,
                self.w.w_hh,
                self.w.bias,
                state.h.view(torch.int32),
                state.C,
                self.lengths if self.lengths is not None else x,
                buffers[0],
                buffers[-1],
                h,
                C,
                error_of(x.device),
                self._times(T),
                T,
                POLL_LIMIT,
                rows=B,
            )
        return buffers[-1, -1].view(torch.float32), LSTMState(h, C)

    def _fragments(self, w: Fragments) -> tuple[Tensor, LSTMState]:
        plan, launch, x, state = self.plan, self.launch, self.x, self.state
        T, B = x.shape[:2]
        width = launch_geometry(plan, launch).width
        with on_device(x.device):
            memory = prepare(
                *(x, state.h, width, HALVES[plan.dtype]), residual=plan.residual, split=plan.split
            )
            if self.lengths is not None:
                # A row of no timestep keeps its h; the kernel keeps its C.
                memory.h.copy_(state.h)
            self._start(
                _kernels.fragment_kernel(),
                *arguments(
                    *(w, memory, x, state.C, self.lengths, error_of(x.device), self._times(T))
                ),
                T,
                POLL_LIMIT,
                rows=B,
            )
        y = memory.y.view(torch.float32).view(T, B, launch.hidden)
        return y, LSTMState(memory.h, memory.C)

    def _times(self, T: int) -> Tensor:
        """Where the programs record times: empty unless they are wanted."""
        if self.stamps is None:
            return self.x.new_zeros(0, dtype=torch.int64)
        times = self.x.new_zeros(self.launch.programs, T + 2, 3, dtype=torch.int64)
        self.stamps.append(times)
        return times

    def _batched(self, x: Tensor) -> tuple[Tensor, LSTMState]:
        launch, state = self.launch, self.state
        T, B = x.shape[:2]
        kind = torch.int32 if self.plan.split else torch.int16
        buffer = torch.full((T + 1, B, launch.hidden), SENTINEL, dtype=kind, device=x.device)
        y = x.new_empty(T, B, launch.hidden)
        h, C = torch.empty_like(state.h), torch.empty_like(state.C)
        with on_device(x.device):
            self._start(
                _kernels.batched_kernel(),
                x,
                self.w.w_hh,
                state.h,
                state.C,
                self.lengths if self.lengths is not None else x,
                buffer,
                y,
                h,
                C,
                error_of(x.device),
                T,
                POLL_LIMIT,
                rows=B,
            )
        return y, LSTMState(h, C)

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
