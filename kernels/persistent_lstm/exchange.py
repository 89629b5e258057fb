"""What it costs programs to exchange ``h``, measured by a kernel that does nothing else."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from . import _kernels
from ._arguments import ptx_digest
from ._launch import POLL_LIMIT, on_device
from ._layout import COLUMNS, THREADS, WARPS, k_tiles
from .errors import error_of, raise_pending_error
from .plan import Launch

__all__ = ["Exchange", "exchange_nanoseconds", "run_exchange"]

# The words of a measurement stay in every L2 cache, as those of a chunk do.
BUFFER_BYTES = 16 * 2**20
MOST_EXCHANGES = 4096
FEWEST_EXCHANGES = 64
SENTINEL = -1
MOST_TILES = 2  # of h, that a thread waits for at once


class Exchange(NamedTuple):
    """What ``run_exchange`` leaves: ``words (groups, exchanges, rows, H)`` (rounded: H / 2) and
    ``seen (programs, 256)`` int32, ``stamps (programs, 2, 3)`` int64; see ``_exchange.py``."""

    words: Tensor
    seen: Tensor
    stamps: Tensor


def run_exchange(
    launch: Launch,
    exchanges: int,
    device: torch.device,
    *,
    split: bool = True,
    limit: int = POLL_LIMIT,
) -> Exchange:
    """Exchange ``exchanges`` times as the programs of ``launch`` do for each timestep.

    Words are flagged, as in the fragment kernel, also for a launch of the wide one, which counts.

    ``limit``: polls before a wait gives up; ``raise_pending_error`` then raises.
    """
    row = launch.hidden if split else launch.hidden // 2
    shape = (launch.depth, exchanges, launch.rows, row)
    words = torch.full(shape, SENTINEL, dtype=torch.int32, device=device)
    seen = torch.zeros(launch.programs, THREADS, dtype=torch.int32, device=device)
    stamps = torch.zeros(launch.programs, 2, 3, dtype=torch.int64, device=device)
    with on_device(device):
        _kernels.exchange_kernel()[(launch.programs,)](
            words,
            seen,
            error_of(device),
            stamps,
            exchanges,
            limit,
            B=launch.rows,
            H=launch.hidden,
            U=launch.units,
            KT=k_tiles(launch.hidden),
            TILES=min(launch.N // COLUMNS, MOST_TILES),
            SPLIT=split,
            PTX=ptx_digest(),
            num_warps=WARPS,
            launch_cooperative_grid=True,
        )
    return Exchange(words, seen, stamps)


def exchange_nanoseconds(
    launch: Launch, device: torch.device, *, split: bool = True, repeats: int = 5
) -> float:
    """Measure one exchange among the programs of ``launch``: the median of ``repeats`` launches.

    Nanoseconds.
    """
    row = launch.depth * launch.rows * launch.hidden * 4
    exchanges = min(MOST_EXCHANGES, max(FEWEST_EXCHANGES, BUFFER_BYTES // row))
    found = []
    for _ in range(repeats + 1):
        stamps = run_exchange(launch, exchanges, device, split=split).stamps.cpu()
        raise_pending_error(device)
        elapsed = (stamps[:, 1, 0] - stamps[:, 0, 0]).double()
        found.append(float(elapsed.median()) / (exchanges - 1))
    return median(found[1:])  # the first launch compiles and warms up
