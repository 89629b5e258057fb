"""Rows that advance together: many streams, one pass through the model, values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from persistent_lstm import LSTMState, raise_pending_error
from torch import Tensor

from .model import AcousticModel
from .second_pass import SecondPassState

__all__ = ["AcousticOutput", "step"]


@dataclass(frozen=True, slots=True)
class AcousticOutput:
    """What the acoustic model makes of ``T`` timesteps.

    Attributes:
        log_probs: ``(T, V + P)``, log-posteriors of the tokens and of the phones, on the CPU.
        encoded: ``(T, E)``, what a second pass reads, on the model's device; None for a model
            without one.
        second: what the second pass has made of each piece of it, and its states, where that was
            done beforehand.
    """

    log_probs: Tensor
    encoded: Tensor | None = None
    second: tuple[tuple[Tensor, SecondPassState], ...] = ()

    @staticmethod
    def joined(outputs: Sequence[AcousticOutput]) -> AcousticOutput:
        """Return consecutive ``outputs``, at least one, as one."""
        encoded = [output.encoded for output in outputs if output.encoded is not None]
        return AcousticOutput(
            torch.cat([output.log_probs for output in outputs]),
            torch.cat(encoded) if encoded else None,
        )


def step(
    model: AcousticModel,
    features: Sequence[Tensor],
    states: Sequence[LSTMState],
    *,
    backend: str = "auto",
) -> list[tuple[AcousticOutput, LSTMState]]:
    """Advance rows by their ``features``, ``(T, I)`` each, from ``states``, ``(L, 1, H)`` each.

    T may differ from row to row and may be 0; no row depends on another.
    """
    rows = [index for index, row in enumerate(features) if len(row)]
    if len(features) != len(states):
        raise ValueError(f"{len(features)} rows of features, {len(states)} states")
    found = [(_nothing(model, state.h.device), state) for state in states]
    if not rows:
        return found
    device = states[rows[0]].h.device
    lengths = [len(features[row]) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence([features[row] for row in rows])
    carried = [states[row] for row in rows]
    ragged = torch.tensor(lengths) if len(set(lengths)) > 1 else None
    if device.type == "cuda":
        padded = padded.pin_memory()
    padded = padded.to(device, non_blocking=True)
    r, last = model.encode(padded, carried, lengths=ragged, backend=backend)
    encoded = model.second_input(padded) if model.config.has_second_pass else None
    log_probs = model.classify(r).cpu()  # waits for the GPU
    raise_pending_error(device)
    for column, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        own = None if encoded is None else encoded[:length, column]
        part = slice(column, column + 1)
        found[row] = (
            AcousticOutput(log_probs[:length, column], own),
            LSTMState(last.h[:, part], last.C[:, part]),
        )
    return found


def _nothing(model: AcousticModel, device: torch.device) -> AcousticOutput:
    """Return the output of no timesteps."""
    c = model.config
    encoded = torch.zeros(0, c.encoded_size, device=device) if c.has_second_pass else None
    return AcousticOutput(torch.zeros(0, c.output_size), encoded)
