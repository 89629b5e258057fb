"""From posteriors to words."""

from .base import Decoder
from .beam import BeamConfig, BeamDecoder, BeamMissing, BeamState, has_beam, load_beam
from .greedy import GreedyDecoder, GreedyState
from .hotwords import Hotword, read_hotwords
from .lexicon import Lexicon

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamMissing",
    "BeamState",
    "Decoder",
    "GreedyDecoder",
    "GreedyState",
    "Hotword",
    "Lexicon",
    "has_beam",
    "load_beam",
    "read_hotwords",
]
