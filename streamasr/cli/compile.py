"""``streamasr compile``: have the machine code of model and search ready before it is needed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from . import console

__all__ = ["compile_search"]


def compile_search(
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Model folder (default: bundled).")
    ] = None,
) -> None:
    """Compile the LSTM's step and the beam search, once for each machine and version.

    Otherwise the first transcription does it. The result is kept beside the package where that can
    be written, or in the user's cache (NUMBA_CACHE_DIR chooses a folder).
    """
    import numpy as np

    from ..decoding.graph import load_graph
    from ..decoding.search import compile_for
    from ..pretrained import PRETRAINED
    from ..recognizer import Recognizer

    began = time.monotonic()
    compile_for(load_graph(model or PRETRAINED))
    recognizer = Recognizer.from_pretrained(model)
    recognizer.transcribe(np.zeros(8000, np.float32), sample_rate=recognizer.sample_rate)
    console.note(f"compiled in {time.monotonic() - began:.1f} s")
