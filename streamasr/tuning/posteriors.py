"""Posteriors of recordings, computed once for all that is tried behind the acoustic model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from ..acoustic import AcousticOutput
from ..api import Recognizer
from ..audio import open_audio
from ..manifest import Utterance

__all__ = ["Posteriors", "posteriors", "stored_posteriors"]

Posteriors = tuple[Tensor, Tensor | None]
"""Of a recording, ``log_probs (T, V)``, and ``encoded (T, E)`` where there is a second pass."""


def posteriors(recognizer: Recognizer, utterance: Utterance) -> Posteriors:
    """Return what the beam search of ``recognizer`` reads of a recording, decoded whole.

    Chunks do not change the words. Raises AudioError for a recording that cannot be read.
    """
    acoustic = recognizer.acoustic
    state, outputs = acoustic.initial_state(), []
    with open_audio(utterance.path) as audio:
        for block in audio.blocks():
            output, state = acoustic(torch.from_numpy(block), state)
            outputs.append(output)
    output, _ = acoustic(acoustic.closing_silence(), state)
    whole = AcousticOutput.joined([*outputs, output])
    return whole.log_probs[:, recognizer.bundle.spelling_part], whole.encoded


def stored_posteriors(recognizer: Recognizer, utterance: Utterance, folder: Path) -> Posteriors:
    """Do as ``posteriors``, once: the next call reads them from ``folder``.

    A file belongs to an acoustic model and to a recording as it was: its path, size and
    time of change.
    """
    status, known = utterance.path.stat(), hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        known.update((recognizer.bundle.folder / name).read_bytes())
    known.update(f"{utterance.path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    path = folder / f"{known.hexdigest()[:20]}.pt"
    if path.exists():
        stored: dict[str, Tensor | None] = torch.load(path, weights_only=True)
        log_probs = stored["log_probs"]
        assert log_probs is not None
        return log_probs, stored["encoded"]
    log_probs, encoded = posteriors(recognizer, utterance)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # Copies: a view would be stored with all that it was cut out of.
    copy = None if encoded is None else encoded.clone()
    torch.save({"log_probs": log_probs.clone(), "encoded": copy}, partial)
    partial.replace(path)
    return log_probs, encoded
