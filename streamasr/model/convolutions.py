"""What small convolutions see in a timestep, beside the projection of all its values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Convolutions"]


class Convolutions(nn.Module):
    """Three convolutions over the frames and mel bins of a timestep, projected to the hidden size.

    A vowel is the same vowel a few bins higher (Sainath et al. 2015, "CLDNN"). They see one
    timestep, so they carry no state; a timestep that joins more frames than it advances by gives
    them context on both sides.
    """

    def __init__(self, input_size: int, hidden_size: int, channels: int, n_mels: int) -> None:
        super().__init__()
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
        patches = frames.reshape(-1, 1, frames.shape[-1] // self._n_mels, self._n_mels)
        patches = patches.to(memory_format=torch.channels_last)
        out: Tensor = self.project(self.layers(patches))
        return out.view(*frames.shape[:-1], -1)
