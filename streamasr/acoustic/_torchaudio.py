"""torchaudio, also where its compiled extension cannot load.

torchaudio's wheel is built against CUDA; beside a CPU-only torch its extension fails to load, and
with it the import. Nothing used here (mel filter banks, spectrograms, masking, data sets) needs the
extension, so a stand-in takes its place and the rest is imported as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["torchaudio"]


def _without_extension() -> Any:
    for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
        del sys.modules[name]

    def unavailable(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError(f"torchaudio.{function.__name__} needs torchaudio's extension")

        return call

    extension = ModuleType("torchaudio._extension")
    extension.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=unavailable,
    )
    sys.modules["torchaudio._extension"] = extension
    import torchaudio

    return torchaudio


def _load() -> Any:
    try:
        import torchaudio
    except OSError:
        return _without_extension()
    return torchaudio


torchaudio: Any = _load()
