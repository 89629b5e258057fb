"""A recurrent language model over word pieces, and a small model of somebody's own text."""

from .model import LanguageModel, LanguageModelConfig
from .own_text import OwnText, read_own_text
from .pieces import Pieces
from .rescoring import Rescorer, RescorerState
from .storage import load_language_model, load_rescorer, save_language_model

__all__ = [
    "LanguageModel",
    "LanguageModelConfig",
    "OwnText",
    "Pieces",
    "Rescorer",
    "RescorerState",
    "load_language_model",
    "load_rescorer",
    "read_own_text",
    "save_language_model",
]
