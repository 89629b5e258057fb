"""Proof that weights stay on chip, read from the machine code; it needs no GPU.

A launch of a plan is compiled ahead of time for the plan's device, from the constants and types
that running it takes. Proven is: no register spills; the shared memory is what the plan says and
the chip has; the time loop loads no weight from memory; all of the launch's weights are loaded
before it; products read as many bytes of registers that the time loop never writes; and no access
to shared memory in the time loop takes more than twice the wavefronts that it needs.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import _banks, _kernels, _sass
from ._arguments import argument_types, constants, options
from .devices import Device
from .plan import Launch, Plan
from .types import LSTMError

__all__ = ["MachineCode", "Residency", "compile_ahead", "problems", "residencies", "residency"]

REGISTER_BYTES = 4
MOST_WAYS = 2  # threads of a warp that want other words of one bank
RESERVED = 1024  # bytes of shared memory that CUDA keeps for itself; cuobjdump counts them
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")


@dataclass(frozen=True)
class MachineCode:
    """A kernel compiled for one target.

    Args:
        target: compute capability times ten.
        triton: the version that compiled it.
        warps: of a program.
        registers: of a thread.
        spill: bytes of a thread's registers that do not fit and live in memory.
        shared: bytes of shared memory of a program.
        sass: the disassembly.
    """

    target: int
    triton: str
    warps: int
    registers: int
    spill: int
    shared: int
    sass: str

    @cached_property
    def _parsed(self) -> tuple[list[_sass.Instruction], list[int]]:
        instructions, labels = _sass.parse(self.sass)
        return instructions, _sass.time_loop(instructions, labels)

    @property
    def loop(self) -> list[_sass.Instruction]:
        """The instructions of the time loop."""
        instructions, loop = self._parsed
        return [instructions[i] for i in loop]

    @property
    def weight_loads_in_loop(self) -> int:
        """Plain loads from global memory in the time loop: the kernels load only weights so."""
        return sum(map(_sass.is_plain_global_load, self.loop))

    @property
    def loaded_before(self) -> int:
        """Bytes that plain loads bring to a program before the time loop."""
        instructions, loop = self._parsed
        before = instructions[: loop[0]] if loop else instructions
        return _sass.bytes_read(filter(_sass.is_plain_global_load, before), self.warps)

    @property
    def kept(self) -> int:
        """Bytes of a program's registers that products read and the time loop never writes."""
        return _sass.kept_registers(self.loop) * REGISTER_BYTES * _sass.LANES * self.warps

    @cached_property
    def accesses(self) -> list[_banks.Access]:
        """What the time loop reads and writes in shared memory, in order."""
        return list(_banks.accesses(*self._parsed, self.warps).values())

    @property
    def unknown_accesses(self) -> int:
        """How many of them have addresses that could not be followed."""
        return sum(not one.known for one in self.accesses)

    @property
    def ways(self) -> float:
        """The worst known conflict of banks in the time loop: 1 is none, 2 takes twice as long."""
        return max((one.ways for one in self.accesses), default=1)

    @property
    def counts(self) -> dict[str, int]:
        """How many instructions of each kind are in the time loop, most frequent first."""
        return dict(Counter(map(_sass.kind, self.loop)).most_common())


@dataclass(frozen=True)
class Residency:
    """What became of a launch; it is proven when there are no ``problems``."""

    plan: Plan
    launch: Launch
    ragged: bool
    code: MachineCode
    problems: tuple[str, ...]

    def __str__(self) -> str:
        code = self.code
        proof = "; ".join(self.problems) or "weights resident"
        return (
            f"{self.launch.kernel} kernel compiled for sm_{code.target} by Triton {code.triton}: "
            f"{code.registers} registers, {code.spill} bytes spilled, {code.shared} of shared "
            f"memory, {code.weight_loads_in_loop} loads of weights in the time loop: {proof}"
        )


def residency(
    plan: Plan, launch: Launch, *, ragged: bool = False, timed: bool = False
) -> Residency:
    """Compile ``launch`` for the plan's device and look at what came out.

    Kernels of plans that launch ``once`` are compiled to gather the rows of the state.
    """
    wide = launch.kernel == "wide"
    code = compile_ahead(
        _kernels.wide_kernel() if wide else _kernels.fragment_kernel(),
        argument_types(plan, launch, ragged=ragged, gather=plan.once),
        constants(plan, launch, launch.rows, ragged=ragged, timed=timed, gather=plan.once),
        options(launch),
        plan.device.capability,
    )
    return Residency(plan, launch, ragged, code, tuple(problems(code, launch, plan.device)))


def residencies(plan: Plan, *, ragged: bool = False) -> list[Residency]:
    """Return one of each kernel of a plan: launches that differ only in their layers are the same.

    Raises LSTMError without Triton or under its interpreter.
    """
    kernels = {(one.kernel, one.units, one.rows): one for one in plan.launches}
    return [residency(plan, one, ragged=ragged) for one in kernels.values()]


def problems(code: MachineCode, launch: Launch, device: Device) -> list[str]:
    """Return what speaks against residency, one line each."""
    found = []
    if code.spill:
        found.append(f"{code.spill} bytes of registers a thread spill to memory")
    if not code.loop:
        found.append("no time loop found")
    if code.weight_loads_in_loop:
        found.append(f"{code.weight_loads_in_loop} loads of weights inside the time loop")
    if code.loaded_before < launch.weight_bytes:
        found.append(
            f"{code.loaded_before} bytes loaded before the time loop, "
            f"{launch.weight_bytes} of weights"
        )
    if launch.kernel != "wide" and code.kept < launch.weight_bytes:
        found.append(
            f"{code.kept} bytes stay in registers through the time loop, "
            f"{launch.weight_bytes} of weights should"
        )
    if launch.kernel != "wide":
        found += _conflicts(code)
    if code.shared > launch.shared:
        found.append(f"{code.shared} bytes of shared memory, {launch.shared} planned")
    if code.shared > device.shared:
        found.append(f"{code.shared} bytes of shared memory, {device.name} has {device.shared}")
    return found


def _conflicts(code: MachineCode) -> list[str]:
    found = []
    if code.unknown_accesses:
        found.append(
            f"{code.unknown_accesses} accesses to shared memory in the time loop cannot be followed"
        )
    if code.ways > MOST_WAYS:
        found.append(f"{code.ways:g}-way conflicts of shared memory's banks in the time loop")
    return found


def compile_ahead(
    kernel: Any,
    types: Mapping[str, str],
    values: Mapping[str, Any],
    compile_options: Mapping[str, Any],
    target: int,
) -> MachineCode:
    """Compile a Triton kernel without a GPU.

    Args:
        kernel: what ``triton.jit`` made.
        types: Triton's names of the arguments' types; pointers are taken to be aligned.
        values: of the ``constexpr`` parameters.
        compile_options: ``num_warps`` among them.
        target: compute capability times ten.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(kernel, triton.JITFunction):
        raise LSTMError("kernels cannot be compiled while TRITON_INTERPRET is set")
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in values.items()},
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name, kind in types.items()
            if kind.startswith("*")
        },
    )
    built = triton.compile(
        source, target=GPUTarget("cuda", target, 32), options=dict(compile_options)
    )
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(built.asm["cubin"])
        usage = _tool("cuobjdump", "--dump-resource-usage", str(cubin))
        sass = _tool("nvdisasm", "-c", "-hex", str(cubin))
    found = USAGE.search(usage)
    if found is None:
        raise LSTMError(f"cuobjdump says nothing of registers: {usage.strip()[:200]}")
    return MachineCode(
        target=target,
        triton=triton.__version__,
        warps=compile_options["num_warps"],
        registers=int(found[1]),
        spill=int(found[2]),
        # What inline PTX declares is counted apart from what Triton asks for at the launch.
        shared=built.metadata.shared + int(found[3]) - (RESERVED if target >= 90 else 0),
        sass=sass,
    )


def _tool(name: str, *arguments: str) -> str:
    """Run one of NVIDIA's tools that Triton brings along."""
    import triton.backends.nvidia

    path = Path(triton.backends.nvidia.__file__).parent / "bin" / name
    command: Sequence[str] = (str(path), *arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LSTMError(f"Triton's {name} failed: {error}") from error
    return done.stdout
