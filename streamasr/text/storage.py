"""A tagger in a model folder: ``tagger.safetensors`` and ``tagger.txt``, its words."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from ..acoustic.model.matrices import SCALE, check_scales, to_int8
from ..errors import ModelError
from .features import WordTable
from .files import TAGGER, TAGGER_WORDS
from .network import Int8Tagger, Tagger, TaggerConfig

__all__ = ["load_tagger", "save_tagger"]


def save_tagger(folder: Path, model: Tagger, table: WordTable) -> None:
    """Write a tagger and its words into ``folder``, matrices as int8."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"look_ahead": str(model.config.look_ahead)}
    stored = safetensors.torch.save(to_int8(model.state_dict()), metadata=about)
    partial = folder / f"{TAGGER}.partial"
    partial.write_bytes(stored)
    table.write(folder / TAGGER_WORDS)
    partial.replace(folder / TAGGER)


def load_tagger(folder: Path) -> tuple[Int8Tagger, WordTable] | None:
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
        check_scales(stored)
        rows, embedding_size = stored["embedding.weight"].shape
        config = TaggerConfig(
            rows=rows,
            embedding_size=embedding_size,
            hidden_size=stored["output.weight"].shape[1],
            layers=sum(
                name.startswith("lstm.weight_hh") and not name.endswith(SCALE) for name in stored
            ),
            look_ahead=int(about["look_ahead"]),
        )
        model = Int8Tagger(config, stored)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not the tensors of a tagger") from error
    words = WordTable.read(folder / TAGGER_WORDS, 0).words
    if rows <= 2 + len(words):
        raise ModelError(f"{folder / TAGGER_WORDS}: more words than {path.name} has rows")
    return model.eval(), WordTable(words, rows - 2 - len(words))
