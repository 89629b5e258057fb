"""A tagger in a model folder: ``tagger.safetensors`` and ``tagger.txt``, its words."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from ..acoustic.model.matrices import from_int8, to_int8
from ..errors import ModelError
from .features import WordTable
from .network import Tagger, TaggerConfig

__all__ = ["TAGGER", "TAGGER_WORDS", "load_tagger", "save_tagger"]

TAGGER, TAGGER_WORDS = "tagger.safetensors", "tagger.txt"


def save_tagger(folder: Path, model: Tagger, table: WordTable) -> None:
    """Write a tagger and its words into ``folder``, matrices as int8."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"look_ahead": str(model.config.look_ahead)}
    stored = safetensors.torch.save(to_int8(model.state_dict()), metadata=about)
    partial = folder / f"{TAGGER}.partial"
    partial.write_bytes(stored)
    table.write(folder / TAGGER_WORDS)
    partial.replace(folder / TAGGER)


def load_tagger(folder: Path) -> tuple[Tagger, WordTable] | None:
    """Return the tagger of a model folder and its words, None if it has none.

    Raises ModelError for one that is damaged, or does not fit its words.
    """
    path = folder / TAGGER
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged") from error
    try:
        weights = {name: value.float() for name, value in from_int8(stored).items()}
        rows, embedding_size = weights["embedding.weight"].shape
        config = TaggerConfig(
            rows=rows,
            embedding_size=embedding_size,
            hidden_size=weights["output.weight"].shape[1],
            layers=sum(name.startswith("lstm.weight_hh") for name in weights),
            look_ahead=int(about["look_ahead"]),
        )
        model = Tagger(config)
        model.load_state_dict(weights)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not the tensors of a tagger") from error
    words = WordTable.read(folder / TAGGER_WORDS, 0).words
    if rows <= 2 + len(words):
        raise ModelError(f"{folder / TAGGER_WORDS}: more words than {path.name} has rows")
    return model.eval().requires_grad_(False), WordTable(words, rows - 2 - len(words))
