"""From posteriors to words."""

from .base import Decoder
from .beam import BeamConfig, BeamDecoder, BeamMissing, BeamState, has_beam, load_beam
from .greedy import GreedyDecoder, GreedyState

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamMissing",
    "BeamState",
    "Decoder",
    "GreedyDecoder",
    "GreedyState",
    "has_beam",
    "load_beam",
]
