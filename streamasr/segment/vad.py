"""Voice activity detection: Silero VAD (https://github.com/snakers4/silero-vad).

Only the weights come from the package; its own wrapper keeps the state inside the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ModelError

__all__ = ["WINDOW_SAMPLES", "VoiceDetector", "VoiceState"]

WINDOW_SAMPLES = 512
"""Samples at 16 kHz that each answer is for."""

_CONTEXT = 64
_PAD = 64


@dataclass(frozen=True, slots=True)
class VoiceState:
    """``h`` and ``C`` of shape ``(1, 128)``, and the samples that the next window begins with.

    ``tail`` holds the last 64 samples of the window before, too.
    """

    h: Tensor
    C: Tensor
    tail: Tensor


class VoiceDetector:
    """Samples to the probability of speech, one for each window; any chunking gives the same.

    Raises ModelError if the package with the weights is not installed.
    """

    def __init__(self) -> None:
        self._weights = _weights()

    def initial_state(self) -> VoiceState:
        """Return the state before the first sample."""
        return VoiceState(torch.zeros(1, 128), torch.zeros(1, 128), torch.zeros(_CONTEXT))

    def __call__(self, samples: Tensor, state: VoiceState) -> tuple[list[float], VoiceState]:
        """Take ``samples (n,)``, 16 kHz float32; return the windows now complete, and the state."""
        return self.many([samples], [state])[0]

    @torch.inference_mode()
    def many(
        self, samples: Sequence[Tensor], states: Sequence[VoiceState]
    ) -> list[tuple[list[float], VoiceState]]:
        """Do as a call for each of several streams, up to the rounding of float32."""
        windows, tails = [], []
        for piece, state in zip(samples, states, strict=True):
            buffer = torch.cat([state.tail, piece])
            count = max(0, (len(buffer) - _CONTEXT) // WINDOW_SAMPLES)
            tails.append(buffer[count * WINDOW_SAMPLES :].clone())
            whole = buffer[: _CONTEXT + count * WINDOW_SAMPLES] if count else buffer.new_zeros(0)
            windows.append(_windows(whole))
        counts = [len(own) for own in windows]
        if not any(counts):
            return [
                ([], VoiceState(state.h, state.C, tail))
                for state, tail in zip(states, tails, strict=True)
            ]
        gates = functional.linear(
            self._features(torch.cat(windows)), self._weights["lstm_cell.weight_ih"]
        ) + (self._weights["lstm_cell.bias_ih"] + self._weights["lstm_cell.bias_hh"])
        h, C = torch.cat([state.h for state in states]), torch.cat([state.C for state in states])
        lengths = torch.tensor(counts)[:, None]
        outputs = []
        rows = list(torch.split(gates, counts))
        for step, gate in enumerate(torch.nn.utils.rnn.pad_sequence(rows)):
            i, f, g, o = (gate + functional.linear(h, self._weights["lstm_cell.weight_hh"])).chunk(
                4, dim=-1
            )
            goes_on = lengths > step
            C = torch.where(goes_on, torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g), C)
            h = torch.where(goes_on, torch.sigmoid(o) * torch.tanh(C), h)
            outputs.append(h)
        logits = functional.linear(
            torch.stack(outputs, dim=1).relu(),  # (B, W, 128)
            self._weights["final_conv.weight"][:, :, 0],
            self._weights["final_conv.bias"],
        )
        found = torch.sigmoid(logits)[..., 0].tolist()
        return [
            (found[row][:count], VoiceState(h[row : row + 1], C[row : row + 1], tails[row]))
            for row, count in enumerate(counts)
        ]

    def _features(self, windows: Tensor) -> Tensor:
        """Map ``windows (W, 576)`` to ``(W, 128)``: spectra, then four convolutions over them."""
        x = functional.pad(windows[:, None], (0, _PAD), "reflect")
        x = _convolve(x.transpose(1, 2), self._weights["stft_conv.weight"], None, 128)
        real, imaginary = x.chunk(2, dim=2)
        x = (real.square() + imaginary.square()).sqrt()
        for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
            x = _convolve(functional.pad(x, (0, 0, 1, 1)), weight, bias, stride).relu_()
        return x[:, 0]


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve ``x (W, T, C)`` in time: one product, where ``conv1d`` orders weights anew."""
    patches = x.unfold(1, weight.shape[2], stride)  # (W, T', C, K)
    return functional.linear(patches.flatten(2), weight.flatten(1), bias)


def _windows(buffer: Tensor) -> Tensor:
    """Cut samples to windows ``(W, 576)``, each with the end of the one before it."""
    if not len(buffer):
        return buffer.new_zeros(0, _CONTEXT + WINDOW_SAMPLES)
    return buffer.unfold(0, _CONTEXT + WINDOW_SAMPLES, WINDOW_SAMPLES)


@cache
def _weights() -> dict[str, Tensor]:
    # The package itself is not imported: it brings audio input and output of its own.
    package = find_spec("silero_vad")
    folders = (package and package.submodule_search_locations) or ()
    for folder in folders:
        path = Path(folder) / "data" / "silero_vad_16k.safetensors"
        if path.is_file():
            return safetensors.torch.load_file(path)
    raise ModelError("live recognition needs Silero VAD: pip install 'silero-vad>=6.2,<7'")
