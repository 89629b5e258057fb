"""From posteriors to words."""

from .base import Decoder
from .beam import BeamConfig, BeamDecoder, BeamState, load_beam
from .bias import Bias
from .choice import Chosen, choose_decoder
from .greedy import GreedyDecoder, GreedyState
from .hotwords import Hotword, read_hotwords

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamState",
    "Bias",
    "Chosen",
    "Decoder",
    "GreedyDecoder",
    "GreedyState",
    "Hotword",
    "choose_decoder",
    "load_beam",
    "read_hotwords",
]
