"""The acoustic model and the folder it lives in."""

from .acoustic import AcousticModel, ModelConfig, log_softmax_heads
from .bundle import Bundle, load_bundle, read_spelling_tokens, save_bundle

__all__ = [
    "AcousticModel",
    "Bundle",
    "ModelConfig",
    "load_bundle",
    "log_softmax_heads",
    "read_spelling_tokens",
    "save_bundle",
]
