"""Errors that kernels report while Python has gone on."""

from __future__ import annotations

import torch
from torch import Tensor

from .types import LSTMError

__all__ = ["error_of", "failures", "raise_pending_error"]

_errors: dict[torch.device, Tensor] = {}
_failures: dict[torch.device, int] = {}


def error_of(device: torch.device) -> Tensor:
    """Return where kernels report a wait that took too long: (timestep + 1, program).

    Memory of the host that the GPU writes to, and only then: looking at it costs nothing.
    """
    if device not in _errors:
        # A tensor made in inference mode could not be reset outside of it.
        with torch.inference_mode(mode=False):
            _errors[device] = torch.zeros(2, dtype=torch.int32, pin_memory=device.type == "cuda")
    return _errors[device]


def raise_pending_error(device: torch.device) -> None:
    """Raise LSTMError if a launch on ``device`` that has ended gave up waiting.

    The results of that launch are NaN. Launches are asynchronous: call this once their results
    have been waited for; ``lstm`` calls it when it starts.
    """
    error = _errors.get(device)
    if error is not None and error[0] != 0:
        timestep, program = int(error[0]) - 1, int(error[1])
        error.zero_()
        _failures[device] = failures(device) + 1
        raise LSTMError(
            f"the persistent LSTM gave up: at timestep {timestep}, program {program} waited in "
            f"vain for another one's h. Its results are NaN and the state passed in is as it "
            f"was: run the chunk again, or use backend torch"
        )


def failures(device: torch.device) -> int:
    """Return how many launches on ``device`` are known to have given up."""
    return _failures.get(device, 0)
