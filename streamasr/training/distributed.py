"""Several processes that train one network, as ``torchrun`` starts them.

Each reads its share of an epoch's batches: of every ``size`` batches in a row, one. An update is
that of one process which reads all these batches as one. Losses are per token, and the shares have
different numbers of them, so the mean of the processes' losses would give a token of a short share
more weight. Instead the tokens are counted over all processes first; each divides the sum of its
own losses by that count, and gradients are summed. Clipping and the optimizers then see the same
gradient in every process, and make the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConfigError

__all__ = ["World", "joined"]

_PATIENCE = timedelta(days=1)
"""Others wait as long while rank 0 decodes, aligns or validates."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together, of which this is the one of ``rank``; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the log, checkpoints and models, and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace the gradients of ``network`` by their sums over all processes."""
        if self.size == 1:
            return
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        sums = self.sum(torch.cat([grad.flatten() for grad in grads]))
        for grad, part in zip(grads, torch.split(sums, [g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def copy_from_first(self, *networks: nn.Module) -> None:
        """Overwrite parameters and buffers by those of rank 0."""
        if self.size > 1:
            for network in networks:
                for tensor in network.state_dict().values():
                    dist.broadcast(tensor, 0)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let rank 0 go first; the others follow, and find on disk what it has made."""
        if self.size > 1 and not self.leads:
            dist.barrier()
        try:
            yield
        finally:  # what is wrong with the data is then every process's error
            if self.size > 1 and self.leads:
                dist.barrier()


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that ``torchrun`` has started, by NCCL on GPUs and by Gloo on CPUs.

    Without it this process is alone; a process group that there is already is used. Raises
    ConfigError where there are fewer GPUs than processes on this machine.
    """
    if dist.is_available() and dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size())
        return
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= os.environ.keys():
        yield World()
        return
    device = None
    if torch.cuda.is_available():
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise ConfigError(f"torchrun: --nproc-per-node is {count} at most: a GPU per process")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "nccl" if device else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE, device_id=device)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
