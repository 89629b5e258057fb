"""From tensors to launches: weights packed as a plan says, buffers, errors.

Legend: L layers, B rows, T timesteps, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import _kernels
from ._arguments import HALVES, constants, options
from ._fragment_launch import Fragments, arguments, once_arguments, once_words, pack_launch
from ._packing import packed_once
from ._rows import fits_a_table, joined, table_of
from ._wide_launch import Tiles, pack_tiles, wide_arguments
from ._workspace import prepare
from .errors import error_of, raise_pending_error
from .memory import LaunchMemory, own_memory
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
    state: LSTMState | Sequence[LSTMState],
    *,
    lengths: Tensor | None = None,
    stamps: list[Tensor] | None = None,
    memory: LaunchMemory | None = None,
) -> tuple[Tensor, LSTMState]:
    """Run ``x (T, B, I)``, T >= 1, as ``plan`` says; all results are float32.

    ``state``: ``(L, B, H)``, or one ``(L, 1, H)`` a row. ``lengths (B,)``, int32, on the device of
    x: rows keep their state from their length on. A list passed as ``stamps`` receives what the
    programs of each launch recorded, see ``timing``. ``memory`` is for plans that launch ``once``.
    """
    raise_pending_error(x.device)
    packed = [_packed(plan, launch, weights) for launch in plan.launches]
    rows: Sequence[LSTMState] = ()
    if not isinstance(state, LSTMState):
        rows = state if plan.once and fits_a_table(state) else ()
        state = state[0] if rows else joined(state)
    longest = max(1, BUFFER_BYTES // (plan.layers * plan.hidden * min(plan.batch, 64) * 8))
    memory = memory or own_memory(x.device)
    outputs = []
    for start in range(0, x.shape[0], longest):
        part = x[start : start + longest]
        left = None if lengths is None else lengths - start
        run = _Piece(plan, part, state, rows, left, stamps, memory)
        y, state = run.all_launches(packed)
        rows = ()
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), state


@dataclass
class _Piece:
    """A part of a chunk: what all its launches share. ``rows``, if any, are the state."""

    plan: Plan
    x: Tensor
    state: LSTMState
    rows: Sequence[LSTMState]
    lengths: Tensor | None
    stamps: list[Tensor] | None
    memory: LaunchMemory

    def all_launches(self, packed: list[Fragments | Tiles]) -> tuple[Tensor, LSTMState]:
        """Run launches one after the other, each for groups of rows."""
        x, plan = self.x, self.plan
        last: list[LSTMState] = []
        for launch, w in zip(plan.launches, packed, strict=True):
            groups = []
            for start in range(0, plan.batch, launch.rows):
                rows = slice(start, start + launch.rows)
                group = _Group(self, launch, w, rows, x[:, rows].float().contiguous())
                groups.append(group.run())
            x = torch.cat([y for y, _ in groups], dim=1) if len(groups) > 1 else groups[0][0]
            last.append(_one([s for _, s in groups], dim=1))
        return x, _one(last, dim=0)


def _one(states: Sequence[LSTMState], dim: int) -> LSTMState:
    if len(states) == 1:
        return states[0]
    return LSTMState(*(torch.cat(parts, dim) for parts in zip(*states, strict=True)))


@dataclass
class _Group:
    """One launch of a kernel for some rows."""

    piece: _Piece
    launch: Launch
    w: Fragments | Tiles
    rows: slice
    x: Tensor

    def run(self) -> tuple[Tensor, LSTMState]:
        with on_device(self.x.device):
            if isinstance(self.w, Fragments) and self.piece.plan.once:
                return self._once(self.w)
            return self._prepared()

    def _prepared(self) -> tuple[Tensor, LSTMState]:
        """Let another kernel make the words first, and fill the memory."""
        plan, launch, x, state = self.piece.plan, self.launch, self.x, self._state()
        memory = prepare(
            x,
            state.h,
            launch_width(plan, launch),
            HALVES[plan.dtype],
            residual=plan.residual,
            split=plan.split,
            counted=launch.kernel == "wide",
        )
        if self.piece.lengths is not None:
            # A row of no timestep keeps its h; the kernel keeps its C.
            memory.h.copy_(state.h)
        others = (memory, x, state.C, self._lengths(), error_of(x.device), self._times())
        if isinstance(self.w, Tiles):
            given = wide_arguments(self.w, *others, split=plan.split)
            self._start(_kernels.wide_kernel(), *given, len(x), POLL_LIMIT)
        else:
            given = arguments(self.w, *others)
            self._start(_kernels.fragment_kernel(), *given, len(x), POLL_LIMIT, 0)
        y = memory.y.view(torch.float32).view(*x.shape[:2], launch.hidden)
        return y, LSTMState(memory.h, memory.C)

    def _once(self, w: Fragments) -> tuple[Tensor, LSTMState]:
        """Launch nothing else."""
        launch, x, piece = self.launch, self.x, self.piece
        T, B = x.shape[:2]
        words = piece.memory.words(once_words(piece.plan, launch, T, B), x.device)
        rows = piece.rows[self.rows]
        table = table_of(rows, launch) if rows else None
        y = x.new_empty(T, B, launch.hidden)
        last = LSTMState(*x.new_empty(2, launch.depth, B, launch.hidden))
        given = once_arguments(
            w,
            words,
            x,
            piece.state if rows else self._state(),
            table,
            (y, last),
            self._lengths(),
            error_of(x.device),
            self._times(),
        )
        kernel, capacity = _kernels.fragment_kernel(), piece.memory.capacity
        self._start(kernel, *given, T, POLL_LIMIT, capacity, gather=bool(rows))
        return y, last

    def _state(self) -> LSTMState:
        layers = slice(*self.launch.layers)
        return LSTMState(
            *(part[layers, self.rows].float().contiguous() for part in self.piece.state)
        )

    def _lengths(self) -> Tensor | None:
        lengths = self.piece.lengths
        return None if lengths is None else lengths[self.rows]

    def _times(self) -> Tensor:
        """Where the programs record times: empty unless they are wanted."""
        if self.piece.stamps is None:
            return self.x.new_zeros(0, dtype=torch.int64)
        times = self.x.new_zeros(self.launch.programs, len(self.x) + 2, 3, dtype=torch.int64)
        self.piece.stamps.append(times)
        return times

    def _start(self, kernel: Any, *arguments: object, gather: bool = False) -> None:
        launch, plan = self.launch, self.piece.plan
        values = constants(
            plan,
            launch,
            self.x.shape[1],
            ragged=self.piece.lengths is not None,
            timed=self.piece.stamps is not None,
            gather=gather,
        )
        try:
            kernel[(launch.programs,)](*arguments, **values, **options(launch))
        except RuntimeError as error:
            if "cooperative" not in str(error):
                raise
            raise LSTMError(
                f"{launch.programs} programs cannot all be resident on {plan.device.name} "
                f"({plan.device.multiprocessors} multiprocessors): is another process "
                f"using it? Use backend torch"
            ) from error


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make ``device`` the current one, for Triton launches on that."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
