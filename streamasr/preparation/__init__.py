"""Manifests from the data sets of others: Common Voice, Kaldi, NeMo, Lhotse, LibriSpeech."""

from .run import KINDS, Kind, Prepared, parts_folder, prepare
from .spelling import as_said

__all__ = ["KINDS", "Kind", "Prepared", "as_said", "parts_folder", "prepare"]
