"""From posteriors to words."""

from .base import Decoder
from .beam import BeamConfig, BeamDecoder, BeamState, load_beam
from .choice import Chosen, choose_decoder
from .greedy import GreedyDecoder, GreedyState
from .hotwords import Hotword, read_hotwords
from .lexicon import Lexicon

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamState",
    "Chosen",
    "Decoder",
    "GreedyDecoder",
    "GreedyState",
    "Hotword",
    "Lexicon",
    "choose_decoder",
    "load_beam",
    "read_hotwords",
]
