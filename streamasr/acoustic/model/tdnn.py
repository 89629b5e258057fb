"""The second pass: a factored time-delay network, run over whole segments or block by block."""

from __future__ import annotations

import torch
from persistent_lstm import NORM_EPSILON
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ...validated import Settings

__all__ = [
    "BYPASS",
    "FactoredTDNN",
    "TDNNConfig",
    "TDNNFront",
    "TDNNLayer",
    "masked",
    "middle_frames",
    "moving_mean",
]

BYPASS = 0.66
"""What a layer keeps of its input (Povey et al. 2018)."""
MULTIPLE = 64
"""Of how many timesteps a segment is filled up to: oneDNN compiles for each length anew, and keeps
5 MB of it."""


class TDNNConfig(Settings):
    """The sizes of a factored time-delay network; ``dilations`` has one number for each layer."""

    hidden_size: int = Field(1024, gt=0)
    bottleneck: int = Field(128, gt=0)
    dilations: tuple[PositiveInt, ...] = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3)
    frames: int = Field(3, gt=0, description="by which a timestep advances")
    channels: tuple[PositiveInt, PositiveInt] = (32, 48)
    front_size: int = Field(256, gt=0, description="between convolutions and first layer")
    gate_size: int = Field(64, gt=0, description="between a segment's mean and a layer's gates")
    gate_reach: int = Field(
        0, ge=0, description="timesteps to each side whose mean gates read, 0 for all of a segment"
    )
    gate_every: int = Field(3, gt=0, description="layers, of which the last has gates")
    head_size: int = Field(256, gt=0, description="between last layer and head")
    delay: int = Field(3, ge=0, description="timesteps that the input is held back")

    def gated(self, layer: int) -> bool:
        """Whether the layer of this number, from 0, has gates."""
        return layer % self.gate_every == self.gate_every - 1

    def bins(self, n_mels: int) -> int:
        """Return how many bins the convolutions leave of ``n_mels``."""
        return (n_mels + 3) // 4

    def tensor_shapes(self, n_mels: int, output_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tensors of a ``FactoredTDNN`` by their names."""
        hidden, (first, second) = self.hidden_size, self.channels
        shapes: dict[str, tuple[int, ...]] = {
            "front.conv1.weight": (first, 1, 3, 3),
            "front.conv1.bias": (first,),
            "front.conv2.weight": (second, first, 3, 3),
            "front.conv2.bias": (second,),
            "front.down.weight": (self.front_size, self.bins(n_mels) * second),
            "front.up.weight": (hidden, self.front_size),
            "front.up.bias": (hidden,),
            "offsets.0": (hidden,),
            "before_head.weight": (self.head_size, hidden),
            "before_head.bias": (self.head_size,),
            "head.weight": (output_size, self.head_size),
            "head.bias": (output_size,),
        }
        for number in range(len(self.dilations)):
            layer = f"layers.{number}"
            shapes[f"offsets.{number + 1}"] = (hidden,)
            shapes[f"{layer}.down.weight"] = (self.bottleneck, 2 * hidden)
            shapes[f"{layer}.up.weight"] = (hidden, 2 * self.bottleneck)
            shapes[f"{layer}.up.bias"] = (hidden,)
            if self.gated(number):
                shapes[f"{layer}.squeeze.weight"] = (self.gate_size, hidden)
                shapes[f"{layer}.squeeze.bias"] = (self.gate_size,)
                shapes[f"{layer}.excite.weight"] = (hidden, self.gate_size)
                shapes[f"{layer}.excite.bias"] = (hidden,)
        return shapes


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``x (T, B, D)``, zero where ``mask (T, B)`` is."""
    return x if mask is None else x * mask[..., None].to(x.dtype)


def middle_frames(timesteps: Tensor, count: int, n_mels: int) -> Tensor:
    """Return the ``count`` frames in the middle of ``timesteps (..., stack * n_mels)``.

    Of as many as a timestep advances by, one timestep's after the other's, each frame comes once.
    """
    before = (timesteps.shape[-1] // n_mels - count) // 2 * n_mels
    return timesteps[..., before : before + count * n_mels]


def moving_mean(x: Tensor, reach: int, count: Tensor | int) -> Tensor:
    """Return the mean over each timestep of ``x (T, B, D)`` and ``reach`` to each side.

    ``count`` is how many timesteps there are, ``(B, 1)`` where rows differ; behind them x is 0.
    """
    steps = torch.arange(len(x), device=x.device)
    low, high = (steps - reach).clamp(min=0), steps + reach + 1
    sums = nn.functional.pad(
        x.cumsum(0, dtype=torch.promote_types(x.dtype, torch.float32)), (0, 0) * 2 + (1, 0)
    )
    total = sums[high.clamp(max=len(x))] - sums[low]
    seen = (
        torch.as_tensor(count, device=x.device).clamp(max=high[:, None, None]) - low[:, None, None]
    )
    return (total / seen.clamp(min=1)).to(x.dtype)


class TDNNFront(nn.Module):
    """Two convolutions over frames and mel bins, from a timestep's frames to one vector."""

    def __init__(self, config: TDNNConfig, n_mels: int) -> None:
        super().__init__()
        first, second = config.channels
        self.frames = config.frames
        self.conv1 = nn.Conv2d(1, first, 3, stride=(1, 2), padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, stride=(config.frames, 2), padding=(0, 1))
        self.down = nn.Linear(config.bins(n_mels) * second, config.front_size, bias=False)
        self.up = nn.Linear(config.front_size, config.hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map ``x (T, B, frames * n_mels)`` to ``(T, B, hidden_size)``, before its rectifier."""
        steps, rows, size = x.shape
        images = x.view(steps, rows, self.frames, size // self.frames)
        images = images.permute(1, 0, 2, 3).reshape(rows, 1, steps * self.frames, -1)
        maps = self.conv1(images.contiguous(memory_format=torch.channels_last)).relu_()
        if mask is not None:
            seen = mask.t().repeat_interleave(self.frames, dim=1)
            maps = maps * seen[:, None, :, None].to(maps.dtype)
        maps = self.conv2(maps).relu_()  # (B, channels, T, bins)
        y: Tensor = self.up(self.down(maps.permute(2, 0, 3, 1).flatten(2)))
        return y


class TDNNLayer(nn.Module):
    """Two products through a bottleneck, each of two timesteps (Povey et al. 2018, "TDNN-F").

    The first joins a timestep with one before, the second with one behind. With gates, each hidden
    unit is weighed by what a segment is like on average (Hu et al. 2018, Han et al. 2020).
    """

    def __init__(self, config: TDNNConfig, number: int) -> None:
        super().__init__()
        hidden, bottleneck = config.hidden_size, config.bottleneck
        self.dilation = config.dilations[number]
        self.down = nn.Linear(2 * hidden, bottleneck, bias=False)
        self.up = nn.Linear(2 * bottleneck, hidden)
        self.reach = config.gate_reach
        self.squeeze: nn.Linear | None = None
        self.excite: nn.Linear | None = None
        if config.gated(number):
            self.squeeze = nn.Linear(hidden, config.gate_size)
            self.excite = nn.Linear(config.gate_size, hidden)

    def products(self, x: Tensor) -> Tensor:
        """Map ``x (T, B, D)`` to what the rectifier gets."""
        silence = x.new_zeros(self.dilation, *x.shape[1:])
        return self.joined(torch.cat([silence, x, silence]))

    def joined(self, x: Tensor) -> Tensor:
        """Do as ``products`` for all timesteps but the first and the last ``dilation``."""
        d = self.dilation
        narrow = self.down(torch.cat([x[:-d], x[d:]], dim=-1))
        y: Tensor = self.up(torch.cat([narrow[:-d], narrow[d:]], dim=-1))
        return y

    def gates(self, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return the gates for ``x (T, B, D)``, which is 0 behind ``lengths (B,)``.

        They are ``(B, D)`` for a segment's mean, ``(T, B, D)`` for one with a reach. None for a
        layer without gates.
        """
        if self.squeeze is None:
            return None
        count = len(x) if lengths is None else lengths.to(x.device)[:, None]
        narrow = self.squeezed(x)
        if self.reach:
            return self.opened(moving_mean(narrow, self.reach, count))
        return self.opened(narrow.sum(0) / count)

    def squeezed(self, x: Tensor) -> Tensor:
        """Return what of ``x (T, B, D)`` the gates read the mean of, ``(T, B, gate_size)``.

        The mean of products is the product of the mean, and narrower.
        """
        assert self.squeeze is not None
        return nn.functional.linear(x, self.squeeze.weight)

    def opened(self, mean: Tensor) -> Tensor:
        """Return the gates for a mean of what is ``squeezed``."""
        assert self.squeeze is not None
        assert self.excite is not None
        y: Tensor = self.excite((mean + self.squeeze.bias).relu())
        return 2 * y.sigmoid()


class FactoredTDNN(nn.Module):
    """A time-delay network with a head for phones, run over whole segments.

    See ``SecondPass`` for segments that last.

    What normalised its layers in training is folded into the weights before a rectifier, and into
    the ``offsets`` behind it.
    """

    def __init__(self, config: TDNNConfig, n_mels: int, output_size: int) -> None:
        super().__init__()
        self.config = config
        hidden, layers = config.hidden_size, len(config.dilations)
        self.input_size = config.frames * n_mels
        self.front = TDNNFront(config, n_mels)
        self.layers = nn.ModuleList(TDNNLayer(config, number) for number in range(layers))
        self.offsets = nn.ParameterList(torch.zeros(hidden) for _ in range(layers + 1))
        self.before_head = nn.Linear(hidden, config.head_size)
        self.norm = nn.LayerNorm(config.head_size, eps=NORM_EPSILON, elementwise_affine=False)
        self.head = nn.Linear(config.head_size, output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map ``x (T, B, I)`` of whole segments to ``log_probs (T, B, P)``.

        ``lengths (B,)`` says how many timesteps each row has, when rows differ: what stands behind
        them means nothing, in ``x`` as in the answer. All but the posteriors is computed in the
        weights' own dtype.
        """
        steps, rows, _ = x.shape
        x = x.to(self.head.weight.dtype)
        if not steps:
            return torch.zeros(0, rows, self.head.out_features, device=x.device)
        delay, (offset, *offsets) = self.config.delay, self.offsets
        filled = -(steps + delay) % MULTIPLE
        x = torch.cat([x.new_zeros(delay, *x.shape[1:]), x, x.new_zeros(filled, *x.shape[1:])])
        if lengths is None and filled:
            lengths = torch.full((rows,), steps)
        mask, known = None, None
        if lengths is not None:
            known = lengths.to(x.device) + delay
            mask = torch.arange(len(x), device=x.device)[:, None] < known
            x = masked(x, mask)
        r = masked(self.front(x, mask).relu_() + offset, mask)
        for layer, offset in zip(self.layers, offsets, strict=True):
            assert isinstance(layer, TDNNLayer)
            y, gates = layer.products(r).relu_() + offset, layer.gates(r, known)
            r = masked(y if gates is None else y * gates, mask).add(r, alpha=BYPASS)
        return self.classify(r[:steps])

    def classify(self, r: Tensor) -> Tensor:
        """Map the last layer's ``r (T, B, D)`` to ``log_probs (T, B, P)``."""
        logits: Tensor = self.head(self.norm(self.before_head(r)))
        return logits.log_softmax(dim=-1, dtype=torch.promote_types(r.dtype, torch.float32))
