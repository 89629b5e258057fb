"""A model folder: ``config.json``, ``model.safetensors``, ``tokens.txt``, checked on load."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError

from ..errors import ModelError
from ..frontend import FrontendConfig
from .acoustic import AcousticModel, ModelConfig

__all__ = ["Bundle", "BundleConfig", "Tokens", "load_bundle", "save_bundle"]

CONFIG, WEIGHTS, TOKENS = "config.json", "model.safetensors", "tokens.txt"
BLANK, SPACE = "<blank>", "<space>"


class BundleConfig(BaseModel):
    """``config.json``: all that frontend and model need beside the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    language: str = "en"
    frontend: FrontendConfig
    model: ModelConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.model.input_size != self.frontend.feature_size:
            raise ValueError(
                f"model.input_size is {self.model.input_size}, but the frontend gives "
                f"{self.frontend.feature_size} values a timestep"
            )
        return self


@dataclass(frozen=True)
class Tokens:
    """The output symbols, by index; the first is the blank."""

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ModelError("tokens.txt: a token is listed twice")
        if self.symbols[:1] != (BLANK,) or SPACE not in self.symbols:
            raise ModelError(f"tokens.txt: the first token must be {BLANK}, and {SPACE} be listed")

    @classmethod
    def characters(cls) -> Self:
        """Return the tokens of lower-case English text: blank, space, apostrophe, a to z."""
        return cls((BLANK, SPACE, "'", *"abcdefghijklmnopqrstuvwxyz"))

    @property
    def blank(self) -> int:
        """Index of the CTC blank."""
        return 0

    @cached_property
    def space(self) -> int:
        """Index of the word separator."""
        return self.symbols.index(SPACE)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {" " if s == SPACE else s: i for i, s in enumerate(self.symbols)}

    def encode(self, text: str) -> list[int]:
        """Return the token indices of ``text``; raises KeyError for a character outside the set."""
        return [self._index[character] for character in text]

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(frozen=True)
class Bundle:
    """A loaded model folder; a language model, if there is one, stays in ``folder``."""

    config: BundleConfig
    model: AcousticModel
    tokens: Tokens
    fingerprint: str
    folder: Path


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); a model folder holds "
            f"{CONFIG}, {WEIGHTS} and {TOKENS}"
        ) from error


def _parse_config(path: Path, data: bytes) -> BundleConfig:
    try:
        return BundleConfig.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error


def load_bundle(folder: str | Path) -> Bundle:
    """Load a model folder, in float32 on the CPU and ready for inference.

    Raises ModelError, one line, for a file that is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder")
    config = _parse_config(folder / CONFIG, _read(folder, CONFIG))
    if not config.frontend.mean or not config.frontend.std:
        raise ModelError(f"{folder / CONFIG}: frontend.mean and frontend.std are missing")
    try:
        tokens = Tokens(tuple(_read(folder, TOKENS).decode().split()))
    except UnicodeDecodeError as error:
        raise ModelError(f"{folder / TOKENS}: not UTF-8 text") from error
    if len(tokens) != config.model.vocab_size:
        raise ModelError(
            f"{folder / TOKENS}: {len(tokens)} tokens, but model.vocab_size is "
            f"{config.model.vocab_size}"
        )
    data = _read(folder, WEIGHTS)
    model = AcousticModel(config.model)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{folder / WEIGHTS}: not a safetensors file, or damaged") from error
    _check_tensors(folder / WEIGHTS, tensors, model.state_dict())
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    model.requires_grad_(False)
    return Bundle(config, model.eval(), tokens, hashlib.sha256(data).hexdigest()[:12], folder)


def _check_tensors(path: Path, tensors: dict[str, torch.Tensor], expected: dict[str, Any]) -> None:
    if wrong := sorted(set(tensors) ^ set(expected)):
        state = "missing" if wrong[0] in expected else "unexpected"
        raise ModelError(f"{path}: tensor {wrong[0]} is {state}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"config.json asks for {tuple(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: tensor {name} has values that are not finite")


def save_bundle(
    folder: str | Path,
    config: BundleConfig,
    model: AcousticModel,
    tokens: Tokens,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a model folder that ``load_bundle`` reads; weights are stored as ``dtype``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.model_dump(mode="json"), indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    (folder / TOKENS).write_text("\n".join(tokens.symbols) + "\n", encoding="utf-8")
    tensors = {name: t.detach().to(dtype).contiguous() for name, t in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
