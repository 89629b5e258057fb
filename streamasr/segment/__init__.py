"""From live samples to segments: voice detector, endpointer, segmenter."""

from .endpoint import Endpoint, EndpointConfig, Endpointer, EndpointState
from .segmenter import Part, Segmenter, SegmenterState
from .vad import WINDOW_SAMPLES, VoiceDetector, VoiceState

__all__ = [
    "WINDOW_SAMPLES",
    "Endpoint",
    "EndpointConfig",
    "EndpointState",
    "Endpointer",
    "Part",
    "Segmenter",
    "SegmenterState",
    "VoiceDetector",
    "VoiceState",
]
