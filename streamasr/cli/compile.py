"""``streamasr compile``: have the machine code of model and search before it is needed."""

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
    """Compile the model and the beam search, once for each machine and version.

    Otherwise the first transcription does it. The result is kept beside the package where that can
    be written, or in the user's cache (NUMBA_CACHE_DIR chooses a folder).
    """
    import torch

    from ..acoustic.model import load_bundle
    from ..decoding.graph import load_graph
    from ..decoding.loading import has_beam
    from ..decoding.search import compile_for
    from ..pretrained import PRETRAINED

    began = time.monotonic()
    folder = model or PRETRAINED
    acoustic = load_bundle(folder, int8=True).model
    with torch.inference_mode():
        acoustic(torch.zeros(1, 1, acoustic.config.input_size))
    if has_beam(folder):
        compile_for(load_graph(folder))
    console.note(f"compiled in {time.monotonic() - began:.1f} s")
