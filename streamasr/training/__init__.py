"""Training: manifests in, a model folder out."""

from .config import TrainingConfig, load_config
from .loop import Progress, train

__all__ = ["Progress", "TrainingConfig", "load_config", "train"]
