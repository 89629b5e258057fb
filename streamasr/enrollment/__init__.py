"""Collect recordings of one speaker to adapt a model on: ``streamasr enroll``."""

from .prompts import sentences
from .session import Session
from .takes import Take, TakeConfig, record_take

__all__ = ["Session", "Take", "TakeConfig", "record_take", "sentences"]
