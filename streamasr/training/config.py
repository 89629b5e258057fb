"""Training configurations: a TOML file, checked before anything is loaded."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
)

from ..acoustic.frontend import FrontendConfig
from ..acoustic.model.tdnn import TDNNConfig
from ..errors import ConfigError
from ..validated import Settings, first_problem

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "PhonesConfig",
    "TrainingConfig",
    "load_config",
]


class TrainingSource(Settings):
    """A training manifest, of which each epoch draws ``share``; ``only`` filters its paths."""

    manifest: str
    share: float = Field(1.0, gt=0, le=1)
    only: str = ""


class DataConfig(Settings):
    """Training data; every path is relative to ``root``, and that to the configuration file.

    With ``cut_seconds`` (and phones, whose alignment gives the times of words) longer recordings
    are cut into pieces of about that length, but for a share of them that stays ``whole``: long
    streams must be learned, too. Cuts are new in each epoch, which reads the manifests ``passes``
    times: where updates are quick, preparing an epoch would otherwise take longer than they do.

    With ``shapes``, each a number of timesteps, batches are filled up to one of these, with as many
    rows as ``batch_seconds`` allows: a GPU then computes each shape as one CUDA graph.
    """

    root: str = "."
    train: tuple[TrainingSource, ...] = Field(min_length=1)
    dev: tuple[str, ...] = ()
    noise: str = ""
    rooms: str = ""
    batch_seconds: float = Field(100.0, gt=0)
    min_seconds: float = Field(0.3, ge=0)
    max_seconds: float = Field(24.0, gt=0)
    cut_seconds: float = Field(0.0, ge=0)
    whole: float = Field(0.15, ge=0, le=1)
    passes: int = Field(1, gt=0)
    shapes: tuple[PositiveInt, ...] = ()
    workers: int = Field(1, ge=0)

    @field_validator("shapes")
    @classmethod
    def _ascend(cls, shapes: tuple[int, ...]) -> tuple[int, ...]:
        if list(shapes) != sorted(set(shapes)):
            raise ValueError("shapes must ascend")
        return shapes


class AugmentConfig(Settings):
    """Augmentation, from epoch ``from_epoch`` on; probabilities are per utterance.

    CTC leaves its plateau of blanks sooner on plain audio, so the first epoch is left as it is.
    ``warp`` is by how much vocal tracts become longer or shorter at most. Telephones keep 8 kHz of
    an utterance, from 0 to 300 up to 3,400 to 3,800 Hz, in µ-law.
    """

    from_epoch: int = Field(1, ge=0)
    speed: float = Field(0.1, ge=0, lt=0.5)
    gain_db: float = Field(8.0, ge=0)
    noise_probability: float = Field(0.3, ge=0, le=1)
    snr_db: tuple[float, float] = (5.0, 30.0)
    room_probability: float = Field(0.15, ge=0, le=1)
    silence_probability: float = Field(0.02, ge=0, le=1)
    telephone_probability: float = Field(0.0, ge=0, le=1)
    padding_seconds: float = Field(0.4, ge=0)
    equaliser_db: float = Field(2.0, ge=0)
    low_pass_probability: float = Field(0.3, ge=0, le=1)
    frequency_masks: int = Field(2, ge=0)
    frequency_width: int = Field(20, ge=0)
    time_masks_per_second: float = Field(0.4, ge=0)
    time_width_seconds: float = Field(0.3, ge=0)
    warp: float = Field(0.0, ge=0, lt=0.5)


class PhonesConfig(Settings):
    """The second head: phones, from a lexicon, aligned with the audio by the network itself.

    ``align`` lists the epochs before which the training set is aligned anew; the first alignment of
    a network that knows no phones yet is spread from its characters. The network may emit a
    phone ``delay_seconds`` after it was said, which is its look-ahead.
    """

    lexicon: str = ""
    align: tuple[int, ...] = (0,)
    delay_seconds: float = Field(0.16, ge=0)


class LossConfig(Settings):
    """Weights of the losses, each per timestep or per token.

    ``characters`` and ``phones`` are CTC's; ``frames`` is the cross-entropy of each timestep with
    its aligned phone. With ``denominator`` the phones' loss is that of CTC-CRF from update
    ``denominator_from`` on.
    """

    characters: float = Field(1.0, ge=0)
    frames: float = Field(0.0, ge=0)
    phones: float = Field(0.0, ge=0)
    denominator: bool = False
    denominator_from: int = Field(0, ge=0)


class NetworkConfig(Settings):
    """The stack; normalisation between its layers folds into the weights on export.

    ``channels`` are those of the convolutions before it, 0 for none. With ``tdnn`` a time-delay
    network is trained beside the model that ``init`` names, which stays as it is: it reads the
    frames of whole utterances, and outputs phones.
    """

    hidden_size: int = Field(512, gt=0)
    num_layers: int = Field(4, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    channels: int = Field(0, ge=0)
    tdnn: TDNNConfig | None = None


class OptimizerConfig(Settings):
    """AdamW with linear warm-up, a plateau, and linear decay over the last ``decay`` updates.

    With ``muon`` the matrices between hidden units are moved by Muon (Jordan et al. 2024).
    """

    updates: int = Field(gt=0)
    peak_lr: float = Field(2e-3, gt=0)
    warmup: int = Field(300, ge=0)
    decay: int = Field(0, ge=0)
    weight_decay: float = Field(0.02, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    muon: bool = False
    average: float = Field(0.999, ge=0, lt=1)


class TrainingConfig(Settings):
    """Everything ``streamasr train`` needs.

    ``init`` names a model folder, relative to the file, whose weights and features to begin with.
    """

    seed: int = 1
    output: str
    init: str = ""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    save_every: int = Field(200, gt=0)
    evaluate_every: int = Field(1000, gt=0)
    evaluate_utterances: int = Field(150, gt=0)
    frontend: FrontendConfig = FrontendConfig()
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    phones: PhonesConfig = PhonesConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig

    def with_values(self, section: str, **values: object) -> Self:
        """Return a copy in which ``values`` of one section are replaced."""
        changed = getattr(self, section).model_copy(update=values)
        return self.model_copy(update={section: changed})


def load_config(path: str | Path) -> TrainingConfig:
    """Read a TOML file; raises ConfigError with the key that is wrong.

    ``data.root``, ``output``, ``init`` and ``phones.lexicon`` come back resolved against the folder
    of the file.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        config = TrainingConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from error
    base = path.parent
    config = config.with_values("data", root=str(base / config.data.root))
    if config.phones.lexicon:
        lexicon = str(base / config.phones.lexicon)
        config = config.with_values("phones", lexicon=lexicon)
    elif config.loss.frames or config.loss.phones:
        raise ConfigError(f"{path}: loss.frames and loss.phones need phones.lexicon")
    if config.network.tdnn:
        if not (config.init and config.phones.lexicon):
            raise ConfigError(f"{path}: network.tdnn needs init, to stand on, and phones.lexicon")
        if config.loss.characters:
            raise ConfigError(f"{path}: loss.characters must be 0 with network.tdnn")
    paths = {"output": str(base / config.output)}
    if config.init:
        paths["init"] = str(base / config.init)
    return config.model_copy(update=paths)
