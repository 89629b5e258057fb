"""What a training run begins with: a finished model, if there is one, and the features."""

from __future__ import annotations

import numpy as np
import torch

from ..acoustic.frontend import Frontend, FrontendConfig
from ..acoustic.model import Bundle, load_bundle
from ..errors import ConfigError
from ..tokens import Tokens
from .config import TrainingConfig
from .corpus import Corpus

__all__ = ["features_of_run", "starting_model"]


def features_of_run(config: TrainingConfig, start: Bundle | None, corpus: Corpus) -> FrontendConfig:
    """Return the frontend: that of the ``start``, but for what the configuration sets itself."""
    if start is None:
        return _statistics(corpus, config)
    known, chosen = start.config.frontend, config.frontend.model_fields_set - {"mean", "std"}
    features = known.model_copy(update={name: getattr(config.frontend, name) for name in chosen})
    # Convolutions fit one size of timestep; a projection can be made to see more, but not less.
    fits = features.stack == known.stack
    if not fits and (start.config.model.channels or features.stack < known.stack):
        raise ConfigError(
            f"frontend.stack: {features.stack} frames do not fit {config.init}, "
            f"whose timesteps have {known.stack}"
        )
    return features


def _statistics(corpus: Corpus, config: TrainingConfig) -> FrontendConfig:
    """Return the frontend with mean and std per mel bin over a sample of the training set."""
    plain = Frontend(config.frontend.model_copy(update={"mean": (), "std": ()}))
    chosen = np.random.default_rng(config.seed).permutation(len(corpus.cache))[:1000]
    frames = torch.cat([plain.log_mel(torch.from_numpy(corpus.cache[int(i)])) for i in chosen])
    mean, std = frames.double().mean(0), frames.double().std(0)
    rounded = {"mean": mean.tolist(), "std": std.tolist()}
    return config.frontend.model_copy(
        update={name: tuple(round(v, 5) for v in values) for name, values in rounded.items()}
    )


def starting_model(config: TrainingConfig, tokens: Tokens) -> Bundle | None:
    """Return the model that ``init`` names, if any; raises ConfigError for one that cannot fit."""
    if not config.init:
        return None
    start = load_bundle(config.init)
    sizes, network = start.config.model, config.network
    wanted = (network.hidden_size, network.num_layers)
    if (sizes.hidden_size, sizes.num_layers) != wanted or start.tokens != tokens:
        raise ConfigError(
            f"init: {config.init} has {sizes.num_layers} layers of {sizes.hidden_size}, "
            f"network asks for {network.num_layers} of {network.hidden_size}"
        )
    if sizes.channels not in (0, network.channels):
        raise ConfigError(
            f"init: {config.init} has convolutions of {sizes.channels} channels, "
            f"network asks for {network.channels}"
        )
    if sizes.tdnn not in (None, network.tdnn):
        raise ConfigError(f"init: {config.init} has a time-delay network of other sizes")
    if network.tdnn and not sizes.phone_size:
        raise ConfigError(f"init: {config.init} has no head for phones: no second pass can follow")
    return start
