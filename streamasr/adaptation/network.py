"""The model as a function of its tensors, with gradients: what adaptation trains through."""

from __future__ import annotations

from typing import NamedTuple

import torch
from persistent_lstm import NORM_EPSILON
from torch import Tensor
from torch.func import functional_call

from ..acoustic.model import ModelConfig
from ..acoustic.model.tdnn import middle_frames
from .parameters import AdaptedTensors

__all__ = ["Posteriors", "posteriors"]


class Posteriors(NamedTuple):
    """Log-posteriors ``(T, B, ...)`` of characters, of phones, and of the second pass' phones."""

    characters: Tensor
    phones: Tensor | None
    second: Tensor | None

    @property
    def heads(self) -> list[Tensor]:
        """Those that the model has."""
        return [head for head in self if head is not None]


def posteriors(
    adapted: AdaptedTensors, sizes: ModelConfig, frames: Tensor, lengths: Tensor
) -> Posteriors:
    """Map ``frames (T, B, I)``, each row of ``lengths (B,)``, to the outputs of all heads.

    The gate equations run in torch's own LSTM, the fastest with gradients; for all else see
    ``AcousticModel``.
    """
    tensors = adapted.tensors
    frames = adapted.features(frames)
    r = torch.nn.functional.linear(frames, tensors["input.weight"], tensors["input.bias"])
    convolutions = sizes.convolutions()
    if convolutions is not None:
        own = {
            name.removeprefix("convolutions."): tensor
            for name, tensor in tensors.items()
            if name.startswith("convolutions.")
        }
        r = r + functional_call(convolutions, own, (frames,))
    for layer in range(sizes.num_layers):
        r = r + _layer(r, tensors, "lstm", layer)
    r = _normalised(r)
    logits = torch.nn.functional.linear(r, tensors["head.weight"], tensors["head.bias"])
    characters = logits[..., : sizes.vocab_size].log_softmax(-1)
    if not sizes.phone_size:
        return Posteriors(characters, None, None)
    phones = logits[..., sizes.vocab_size :].log_softmax(-1)
    return Posteriors(characters, phones, _second_pass(sizes, tensors, frames, lengths))


def _second_pass(
    sizes: ModelConfig, tensors: dict[str, Tensor], frames: Tensor, lengths: Tensor
) -> Tensor | None:
    if not sizes.tdnn:
        return None
    with torch.device("meta"):
        network = sizes.time_delay_network()
    assert network is not None
    prefix = "tdnn."
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    x = middle_frames(frames, sizes.tdnn.frames, sizes.n_mels)
    log_probs: Tensor = functional_call(network, own, (x, lengths))
    return log_probs


def _normalised(r: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(r, r.shape[-1:], eps=NORM_EPSILON)


def _layer(r: Tensor, tensors: dict[str, Tensor], prefix: str, layer: int) -> Tensor:
    """Return what an LSTM layer adds to the sum ``r (T, B, H)``."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [tensors[f"{prefix}.{name}_l{layer}"] for name in names]
    zero = r.new_zeros(1, r.shape[1], weights[1].shape[1])
    # With train=True torch takes oneDNN's layer, three times as fast.
    out, _, _ = torch.lstm(
        _normalised(r),
        [zero, zero],
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=True,
        bidirectional=False,
        batch_first=False,
    )
    return out
