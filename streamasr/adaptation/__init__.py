"""Adapting a model to a voice, a microphone, a room: ``streamasr adapt``."""

from .collection import Rejected
from .config import AdaptationConfig
from .run import Adaptation, adapt

__all__ = ["Adaptation", "AdaptationConfig", "Rejected", "adapt"]
