"""A recurrent language model over word pieces: its vocabulary, the model, and scoring of texts."""

from .model import LanguageModel, LanguageModelConfig
from .pieces import Pieces
from .scoring import Rescorer, RescorerState
from .storage import load_language_model, load_rescorer, save_language_model

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "Pieces",
    "Rescorer",
    "RescorerState",
    "load_language_model",
    "load_rescorer",
    "save_language_model",
]
