"""The acoustic model and the folder it lives in."""

from .acoustic import AcousticModel, ModelConfig
from .bundle import Bundle, Tokens, load_bundle, save_bundle

__all__ = ["AcousticModel", "Bundle", "ModelConfig", "Tokens", "load_bundle", "save_bundle"]
