"""A wider language model that begins with what a narrower one knows (Chen et al. 2016, Net2Net)."""

from __future__ import annotations

import torch

from ..errors import ConfigError
from ..language import LanguageModel

__all__ = ["grown"]


@torch.no_grad()
def grown(model: LanguageModel, hidden_size: int) -> LanguageModel:
    """Return a model of ``hidden_size`` units that predicts exactly what ``model`` does.

    What the new units read is random; nothing reads them yet, and training will. Raises
    ConfigError for fewer units than ``model`` has.
    """
    old = model.config.hidden_size
    if hidden_size < old:
        raise ConfigError(f"a model of {old} hidden units cannot shrink to {hidden_size}")
    wide = LanguageModel(model.config.model_copy(update={"hidden_size": hidden_size}))
    wide.embedding.load_state_dict(model.embedding.state_dict())
    wide.bias.copy_(model.bias)
    wide.projection.bias.copy_(model.projection.bias)
    wide.projection.weight[:, :old] = model.projection.weight
    wide.projection.weight[:, old:] = 0
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        # By gate: PyTorch stacks the four gates' rows.
        source = model.lstm.get_parameter(name).view(4, old, -1)
        target = wide.lstm.get_parameter(name).view(4, hidden_size, -1)
        if name == "weight_hh_l0":
            target[:, :old, :old] = source
            target[:, :old, old:] = 0
        else:
            target[:, :old] = source
    return wide
