"""What a plan must know of a GPU, and a table of some."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

__all__ = ["DEVICES", "KIB", "Device", "device_of"]

KIB = 1024


@dataclass(frozen=True)
class Device:
    """What a plan must know of a GPU.

    Args:
        capability: compute capability times ten, as in ``sm_90``.
        multiprocessors: how many programs of one launch can be resident, at one each.
        shared: bytes of shared memory that one program can have (CUDA C++ Programming Guide,
            technical specifications per compute capability).
        bandwidth: of the memory, bytes a second, as its maker states it; 0 if unknown.
    """

    name: str
    capability: int
    multiprocessors: int
    shared: int
    bandwidth: float = 0.0

    @property
    def registers(self) -> int:
        """Bytes of registers of one multiprocessor: the same on all of them so far."""
        return 256 * KIB


DEVICES = {
    "h200": Device("H200", 90, 132, 227 * KIB, 4.8e12),
    "h100": Device("H100", 90, 132, 227 * KIB, 3.35e12),
    "a100": Device("A100", 80, 108, 163 * KIB, 2.04e12),
    "rtx4090": Device("RTX 4090", 89, 128, 99 * KIB, 1.01e12),
    "rtx3090": Device("RTX 3090", 86, 82, 99 * KIB, 0.94e12),
    "l4": Device("L4", 89, 58, 99 * KIB, 0.3e12),
    "b200": Device("B200", 100, 148, 227 * KIB, 8.0e12),
}


@lru_cache
def device_of(index: int) -> Device:
    """Return the properties of the CUDA device ``index``, from the table where it is known."""
    found = torch.cuda.get_device_properties(index)
    for known in DEVICES.values():
        words = found.name.replace("-", " ").split()
        if set(known.name.split()) <= set(words):
            if known.multiprocessors == found.multi_processor_count:
                return known
            break
    return Device(
        found.name,
        10 * found.major + found.minor,
        found.multi_processor_count,
        found.shared_memory_per_block_optin,  # type: ignore[attr-defined]
    )
