"""A model folder: ``config.json``, ``model.safetensors``, ``tokens.txt``, checked on load.

A model with a head for phones has ``phones.txt``, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import safetensors.torch
import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError

from ...errors import ModelError
from ...fingerprint import fingerprint
from ...tokens import SPACE, Tokens
from ...validated import Settings, first_problem
from ..frontend import FrontendConfig
from .acoustic import AcousticModel, ModelConfig, tensor_shapes
from .int8 import Int8AcousticModel, is_int8
from .matrices import SCALE, check_scales, from_int8, to_int8

__all__ = ["Bundle", "BundleConfig", "load_bundle", "read_spelling_tokens", "save_bundle"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENS, PHONES = "tokens.txt", "phones.txt"


class BundleConfig(Settings):
    """``config.json``: all that frontend and model need beside the weights.

    ``delay_seconds`` is how long after a sound the model answers.
    """

    format: Literal[1] = 1
    language: str = "en"
    delay_seconds: float = Field(0.0, ge=0)
    frontend: FrontendConfig
    model: ModelConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.model.input_size != self.frontend.feature_size:
            raise ValueError(
                f"model.input_size is {self.model.input_size}, but the frontend gives "
                f"{self.frontend.feature_size} values a timestep"
            )
        if (self.model.channels or self.model.tdnn) and self.model.n_mels != self.frontend.n_mels:
            raise ValueError(
                f"model.n_mels is {self.model.n_mels}, "
                f"but the frontend has {self.frontend.n_mels} bins"
            )
        advance = self.frontend.stride or self.frontend.stack
        if self.model.tdnn and self.model.tdnn.frames != advance:
            raise ValueError(
                f"model.tdnn.frames is {self.model.tdnn.frames}, "
                f"but timesteps advance by {advance} frames"
            )
        return self


@dataclass(frozen=True)
class Bundle:
    """A loaded model folder; a language model, if there is one, stays in ``folder``."""

    config: BundleConfig
    model: AcousticModel
    tokens: Tokens
    phones: Tokens | None
    fingerprint: str
    folder: Path

    @property
    def spelling_tokens(self) -> Tokens:
        """What the lexicon's words consist of: phones, if the model knows them, or characters."""
        return self.phones or self.tokens

    @property
    def spelling_part(self) -> slice:
        """Where the log-posteriors of ``spelling_tokens`` stand among all."""
        sizes = self.config.model
        return slice(sizes.vocab_size if self.phones else 0, sizes.output_size)


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
        raise ModelError(f"{path}: {first_problem(error)}") from error


def load_bundle(folder: str | Path, *, int8: bool = False) -> Bundle:
    """Load a model folder, on the CPU and ready for inference.

    The weights are float32, each a float16 value where the folder holds int8. With ``int8``, a
    folder's matrices of int8 stay so, and are computed with as they are: only on a CPU.

    Raises ModelError, one line, for a file that is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder")
    config = _parse_config(folder / CONFIG, _read(folder, CONFIG))
    if not config.frontend.mean or not config.frontend.std:
        raise ModelError(f"{folder / CONFIG}: frontend.mean and frontend.std are missing")
    sizes = config.model
    tokens = _read_tokens(folder, TOKENS, "vocab_size", sizes.vocab_size)
    if tokens.space is None:
        raise ModelError(f"{folder / TOKENS}: {SPACE} is not listed")
    phones = None
    if sizes.phone_size:
        phones = _read_tokens(folder, PHONES, "phone_size", sizes.phone_size)
    try:
        stored = safetensors.torch.load(_read(folder, WEIGHTS))
        check_scales(stored)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{folder / WEIGHTS}: not a safetensors file, or damaged") from error
    _check_tensors(folder / WEIGHTS, stored, tensor_shapes(sizes))
    if int8 and is_int8(stored):
        step = config.frontend.stride or config.frontend.stack
        model: AcousticModel = Int8AcousticModel(sizes, stored, step=step)
    else:
        model = AcousticModel(sizes)
        tensors = from_int8(stored)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    model.requires_grad_(False)
    return Bundle(config, model.eval(), tokens, phones, fingerprint(folder), folder)


def _read_tokens(folder: Path, name: str, key: str, size: int) -> Tokens:
    try:
        tokens = Tokens(tuple(_read(folder, name).decode().split()))
    except UnicodeDecodeError as error:
        raise ModelError(f"{folder / name}: not UTF-8 text") from error
    except ModelError as error:
        raise ModelError(f"{folder / name}: {error}") from error
    if len(tokens) != size:
        raise ModelError(f"{folder / name}: {len(tokens)} tokens, but model.{key} is {size}")
    return tokens


def read_spelling_tokens(folder: str | Path) -> Tokens:
    """Return what a model folder's words are spelled in: its phones, or else its characters."""
    folder = Path(folder)
    name = PHONES if (folder / PHONES).is_file() else TOKENS
    try:
        return Tokens(tuple(_read(folder, name).decode().split()))
    except (UnicodeDecodeError, ModelError) as error:
        raise ModelError(f"{folder / name}: not a list of tokens: {error}") from error


def _check_tensors(
    path: Path, stored: dict[str, torch.Tensor], expected: dict[str, tuple[int, ...]]
) -> None:
    names = {name for name in stored if not name.endswith(SCALE)}
    if wrong := sorted(names ^ set(expected)):
        state = "missing" if wrong[0] in expected else "unexpected"
        raise ModelError(f"{path}: tensor {wrong[0]} is {state}")
    for name, tensor in stored.items():
        if name in expected and tensor.shape != expected[name]:
            raise ModelError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"config.json asks for {expected[name]}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: tensor {name} has values that are not finite")


def save_bundle(
    folder: str | Path,
    config: BundleConfig,
    model: AcousticModel,
    tokens: Tokens,
    *,
    phones: Tokens | None = None,
    dtype: torch.dtype = torch.int8,
) -> None:
    """Write a model folder that ``load_bundle`` reads; weights are stored as ``dtype``.

    With int8 that is matrices, see ``to_int8``; with a floating-point type it is all.

    Raises ModelError for a model that was loaded with ``int8``.
    """
    if isinstance(model, Int8AcousticModel):
        raise ModelError("a model that was loaded with int8=True cannot be saved: load it without")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.model_dump(mode="json"), indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    for name, listed in ((TOKENS, tokens), (PHONES, phones)):
        if listed:
            (folder / name).write_text("\n".join(listed.symbols) + "\n", encoding="utf-8")
    tensors = {name: t.detach().contiguous() for name, t in model.state_dict().items()}
    if dtype == torch.int8:
        tensors = to_int8(tensors)
    else:
        tensors = {name: t.to(dtype) for name, t in tensors.items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
