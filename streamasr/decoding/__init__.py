"""From posteriors to words."""

from .base import Decoder
from .beam import BeamDecoder, BeamState
from .bias import Bias
from .choice import Chosen, choose_decoder
from .greedy import GreedyDecoder, GreedyState
from .loading import load_beam
from .segments import SegmentDecoder, SegmentState
from .settings import BeamConfig
from .words import DecoderState, WordDecoder

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamState",
    "Bias",
    "Chosen",
    "Decoder",
    "DecoderState",
    "GreedyDecoder",
    "GreedyState",
    "SegmentDecoder",
    "SegmentState",
    "WordDecoder",
    "choose_decoder",
    "load_beam",
]
