"""Streaming speech recognition: live, in batches, and for many callers.

>>> from streamasr import Recognizer
>>> recognizer = Recognizer.from_pretrained()          # doctest: +SKIP
>>> recognizer.transcribe("recording.flac").text       # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from .errors import AudioError, AudioWarning, ConfigError, ModelError, StreamasrError
from .events import Event
from .transcript import Transcript, Word

if TYPE_CHECKING:
    from .recognizer import Recognizer, Stream, StreamState

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "AudioWarning",
    "ConfigError",
    "Event",
    "ModelError",
    "Recognizer",
    "Stream",
    "StreamState",
    "StreamasrError",
    "Transcript",
    "Word",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # torch is slow to import; `streamasr --help` and the plain values do without it.
    if name in ("Recognizer", "Stream", "StreamState"):
        from . import recognizer

        return getattr(recognizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
