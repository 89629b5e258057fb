"""Compile the GPU search's kernels for a compute capability, as a timestep launches them.

Run as a program, without ``TRITON_INTERPRET``; ``test_gpu_search`` reads its JSON. Nothing is
launched: what the kernels would write is zero.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from persistent_lstm._arguments import POINTER
from persistent_lstm.residency import compile_ahead

from streamasr.decoding.gpu import GpuSearch
from streamasr.decoding.gpu import search as module

from .models import TOKENS, random_model

KERNELS = ("expand_kernel", "count_kernel", "score_kernel", "merge_kernel")


class Compiled:
    """Stands in for a kernel: compiles each launch for ``target`` and notes its registers."""

    def __init__(self, kernel, target: int, found: list) -> None:
        self._kernel, self._target, self._found = kernel, target, found

    def __getitem__(self, grid):
        return self._launch

    def _launch(self, *arguments, **constants) -> None:
        values = dict(zip(self._kernel.arg_names, arguments, strict=False))
        types = {name: _type(value) for name, value in values.items()}
        code = compile_ahead(self._kernel, types, constants, {"num_warps": 4}, self._target)
        name = self._kernel.__name__
        self._found.append({"kernel": name, "registers": code.registers, "spill": code.spill})
        for argument, value in values.items():
            if argument.startswith("out"):
                value.zero_()


def _type(value) -> str:
    if isinstance(value, torch.Tensor):
        return POINTER[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


def main() -> None:
    target = int(sys.argv[1])
    found: list[dict[str, object]] = []
    for name in KERNELS:
        setattr(module, name, Compiled(getattr(module, name), target, found))
    module._grid = lambda _total, _device: ((1,), module._BLOCK)
    with tempfile.TemporaryDirectory() as folder:
        graph = random_model(2, Path(folder)).graph
    limits = {"beam": 40, "threshold": 9.0, "tokens": 4, "lm_weight": 1.5, "word_score": -0.7}
    search = GpuSearch(graph, device="cpu", **limits)
    search.step(
        torch.zeros(3, len(TOKENS)), torch.ones(3, dtype=torch.bool), search.initial_state(3)
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
