"""Streaming speech recognition: live, in batches, and as a server.

>>> from streamasr import Recognizer
>>> recognizer = Recognizer.from_pretrained()          # doctest: +SKIP
>>> recognizer.transcribe("recording.flac").text       # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    AudioError,
    AudioWarning,
    ConfigError,
    DegradedWarning,
    ModelError,
    OutputError,
    ProfileError,
    StreamasrError,
)
from .events import Event
from .hotwords import Hotword
from .options import BackendName, DecoderName, RecognizerOptions, TextStyle
from .transcript import Alternative, Token, Transcript, Word

if TYPE_CHECKING:
    from .acoustic.model import Bundle, load_bundle
    from .api import Listener, Recognizer, Stream, StreamState
    from .audio.live import Block
    from .pipeline import ListenState
    from .segment import EndpointConfig
    from .streams import Stages
    from .timings import Timings

__version__ = "0.1.0"

__all__ = [
    "Alternative",
    "AudioError",
    "AudioWarning",
    "BackendName",
    "Block",
    "Bundle",
    "ConfigError",
    "DecoderName",
    "DegradedWarning",
    "EndpointConfig",
    "Event",
    "Hotword",
    "ListenState",
    "Listener",
    "ModelError",
    "OutputError",
    "ProfileError",
    "Recognizer",
    "RecognizerOptions",
    "Stages",
    "Stream",
    "StreamState",
    "StreamasrError",
    "TextStyle",
    "Timings",
    "Token",
    "Transcript",
    "Word",
    "__version__",
    "load_bundle",
]

# torch is slow to import; `streamasr --help` and the plain values do without it.
_LATER = {
    "Block": ".audio.live",
    "Bundle": ".acoustic.model",
    "EndpointConfig": ".segment",
    "ListenState": ".pipeline",
    "Listener": ".api",
    "Recognizer": ".api",
    "Stages": ".streams",
    "Stream": ".api",
    "StreamState": ".api",
    "Timings": ".timings",
    "load_bundle": ".acoustic.model",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
