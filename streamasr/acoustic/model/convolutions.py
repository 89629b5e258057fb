"""What small convolutions see in a timestep, beside the projection of all its values."""

from __future__ import annotations

import numpy as np
import torch
from persistent_lstm import convolve, cpu_unavailable
from torch import Tensor, nn

__all__ = ["Convolutions"]


class Convolutions(nn.Module):
    """Three convolutions over the frames and mel bins of a timestep, projected to the hidden size.

    A vowel is the same vowel a few bins higher (Sainath et al. 2015, "CLDNN"). They see one
    timestep, so they carry no state; a timestep that joins more frames than it advances by gives
    them context on both sides.

    ``step`` is by how many frames a timestep advances, or 0 where that is not known. On a CPU,
    without gradients, what timesteps have in common is then computed once, by compiled code.
    """

    def __init__(self, input_size: int, hidden_size: int, channels: int, n_mels: int) -> None:
        super().__init__()
        self.step = 0
        self._n_mels = n_mels
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=(1, 2), padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride=(1, 2), padding=(0, 1)),
            nn.ReLU(),
            nn.Flatten(),
        )
        # Twice as fast on a CPU; the stubs lack this form of the call.
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            seen = self.layers(torch.zeros(1, 1, input_size // n_mels, n_mels)).shape[1]
        self.project = nn.Linear(seen, hidden_size, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``frames (T, B, stack * n_mels)`` to ``(T, B, H)``."""
        if (
            self.step
            and frames.device.type == "cpu"
            and not torch.is_grad_enabled()
            and not cpu_unavailable()
        ):
            return self._project(self._shared(frames))
        patches = frames.reshape(-1, 1, frames.shape[-1] // self._n_mels, self._n_mels)
        patches = patches.to(memory_format=torch.channels_last)
        return self._project(self.layers(patches)).view(*frames.shape[:-1], -1)

    def _project(self, seen: Tensor) -> Tensor:
        out: Tensor = self.project(seen)
        return out

    def _shared(self, frames: Tensor) -> Tensor:
        """Return what the layers make of ``frames (T, B, I)``, ``(T, B, C * rows * bins)``.

        The second layer skips every other frame of a timestep. Here it skips none, so that it
        serves timesteps that begin at odd frames, and the third one skips them instead.
        """
        steps, batch, size = frames.shape
        stack, step = size // self._n_mels, self.step
        apart = step >= stack
        stacked = frames.view(steps, batch, stack, self._n_mels).numpy()
        if apart:  # nothing is shared: each timestep is a row of its own
            joined = stacked.reshape(steps * batch, stack, self._n_mels)
        else:
            later = stacked[1:, :, stack - step :].transpose(1, 0, 2, 3)
            later = later.reshape(batch, -1, self._n_mels)
            joined = np.concatenate([stacked[0], later], 1)
        maps = np.zeros((*joined.shape[:2], self._n_mels + 2, 1), np.float32)
        maps[:, :, 1:-1, 0] = joined
        first, second, third = (layer for layer in self.layers if isinstance(layer, nn.Conv2d))
        for layer, dilation in ((first, 1), (second, 1), (third, 2)):
            assert layer.bias is not None
            maps = convolve(maps, layer.weight, layer.bias, dilation=dilation)
        maps = maps[:, :, 1:-1, : third.out_channels]
        rows = 2 * np.arange((stack - 5) // 2 - 1)
        if apart:
            seen = maps[:, rows].transpose(0, 3, 1, 2)
        else:
            seen = maps[:, step * np.arange(steps)[:, None] + rows].transpose(1, 0, 4, 2, 3)
        return torch.from_numpy(seen.reshape(steps, batch, -1))
