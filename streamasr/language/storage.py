"""A language model in a model folder: ``language.safetensors`` and ``pieces.txt``.

Matrices are kept as int8, each row with its own scale: a quarter of float32's size, and what it
costs in perplexity is in docs/RESULTS.md.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import ModelError
from .model import LanguageModel, LanguageModelConfig
from .pieces import PIECES, Pieces
from .scoring import Reader

__all__ = ["WEIGHTS", "load_reader", "save_language_model"]

WEIGHTS = "language.safetensors"
_SCALE = ".scale"


def save_language_model(folder: Path, model: LanguageModel, pieces: Pieces) -> None:
    """Write a model and its pieces into ``folder``."""
    stored: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if value.dim() < 2:
            stored[name] = value.half()
            continue
        scale = (value.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
        stored[name] = (value / scale).round().to(torch.int8)
        stored[name + _SCALE] = scale
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(stored))
    pieces.write(folder / PIECES)


def load_reader(folder: Path) -> Reader | None:
    """Return the language model of a model folder, None if it has none.

    Raises ModelError for one that is damaged, or does not fit its pieces.
    """
    path = folder / WEIGHTS
    if not path.exists():
        return None
    pieces = Pieces.read(folder / PIECES)
    try:
        stored = safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged") from error
    weights = {
        name: value * stored[name + _SCALE] if name + _SCALE in stored else value.float()
        for name, value in stored.items()
        if not name.endswith(_SCALE)
    }
    try:
        vocab_size, embedding_size = weights["embedding.weight"].shape
        config = LanguageModelConfig(
            vocab_size=vocab_size,
            embedding_size=embedding_size,
            hidden_size=weights["projection.weight"].shape[1],
        )
        model = LanguageModel(config)
        model.load_state_dict(weights)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not the tensors of a language model") from error
    if vocab_size != len(pieces):
        raise ModelError(
            f"{folder / PIECES}: {len(pieces)} pieces, but {path.name} has {vocab_size}"
        )
    return Reader(model.requires_grad_(False), pieces)
