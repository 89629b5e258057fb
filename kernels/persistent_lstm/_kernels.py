"""The kernels, imported when they are first needed: importing Triton takes a second."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from .types import LSTMError

__all__ = [
    "exchange_kernel",
    "fragment_kernel",
    "prepare_kernel",
    "require_triton",
    "wide_kernel",
]

INSTALL = 'pip install "streamasr[gpu]"'


def fragment_kernel() -> Any:
    """Return the kernel that runs a stack."""
    require_triton()
    from ._fragment import fragment_kernel as kernel

    return kernel


def wide_kernel() -> Any:
    """Return the kernel that runs a stack for many rows."""
    require_triton()
    from ._wide import wide_kernel as kernel

    return kernel


def prepare_kernel() -> tuple[Any, int]:
    """Return the kernel that prepares the memory of ``fragment_kernel``, and words a program."""
    require_triton()
    from ._prepare import BLOCK
    from ._prepare import prepare_kernel as kernel

    return kernel, int(BLOCK.value)


def exchange_kernel() -> Any:
    """Return the kernel that does nothing but exchange."""
    require_triton()
    from ._exchange import exchange_kernel as kernel

    return kernel


def require_triton() -> None:
    """Raise LSTMError unless Triton is installed."""
    if find_spec("triton") is None:
        raise LSTMError(f"the triton backend needs Triton: {INSTALL}")
