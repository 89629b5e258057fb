"""A language model in a model folder: ``language.safetensors`` and ``pieces.txt``."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from ..acoustic.model.matrices import from_int8, to_int8
from ..errors import ModelError
from ..processor import computes_in_bfloat16
from .model import LanguageModel, LanguageModelConfig
from .pieces import PIECES, Pieces
from .rescoring import Rescorer

__all__ = ["WEIGHTS", "load_language_model", "load_rescorer", "save_language_model"]

WEIGHTS = "language.safetensors"


def save_language_model(folder: Path, model: LanguageModel, pieces: Pieces) -> None:
    """Write a model and its pieces into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(to_int8(model.state_dict())))
    pieces.write(folder / PIECES)


def load_rescorer(folder: Path) -> Rescorer | None:
    """Return a rescorer with the language model of a model folder, None if it has none.

    Raises ModelError for one that is damaged, or does not fit its pieces.
    """
    known = load_language_model(folder)
    if known is None:
        return None
    model, pieces = known
    return Rescorer(model.requires_grad_(False), pieces, rounded=computes_in_bfloat16())


def load_language_model(folder: Path) -> tuple[LanguageModel, Pieces] | None:
    """Return the language model of a model folder and its pieces, None if it has none.

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
    try:
        weights = from_int8(stored)
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
    return model, pieces
