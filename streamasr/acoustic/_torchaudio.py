"""torchaudio, also where its compiled extension cannot load.

torchaudio's wheel is built against CUDA; beside a CPU-only torch its extension fails to load, and
with it the import. Nothing used here (mel filter banks, spectrograms, data sets) needs the
extension, so a private copy is imported without it. ``sys.modules`` is left as it was found:
another ``import torchaudio`` does what it would do without this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["torchaudio"]


def _load() -> Any:
    before = {name: sys.modules[name] for name in _modules()}
    try:
        import torchaudio
    except OSError:
        return _without_extension(before)
    return torchaudio


def _without_extension(before: dict[str, ModuleType]) -> Any:
    """Import torchaudio with a stand-in for its extension, then put ``before`` back."""
    _forget()
    sys.modules["torchaudio._extension"] = _stand_in()
    try:
        import torchaudio

        return torchaudio
    finally:
        _forget()
        sys.modules.update(before)


def _modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]


def _forget() -> None:
    for name in _modules():
        del sys.modules[name]


def _stand_in() -> ModuleType:
    """Return what ``torchaudio._extension`` is where there is no extension."""

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
    return extension


torchaudio: Any = _load()
