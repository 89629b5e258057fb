"""Adapting a model: from a manifest to a model folder that is no worse than the one before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ..acoustic.model import Bundle, load_bundle, save_bundle
from ..acoustic.stage import usable_device
from ..api import Recognizer
from ..audio import SAMPLE_RATE
from ..errors import ConfigError
from ..failures import Failure
from ..fingerprint import fingerprint
from ..manifest import Utterance
from ..options import RecognizerOptions
from ..wer import ErrorCounts
from .collection import OwnTranscripts, Recording, Rejected, collect
from .config import AdaptationConfig
from .material import Learner, folds
from .parameters import Adapter
from .validation import CrossValidation, Report

__all__ = ["Adaptation", "Report", "adapt"]

TRANSCRIPTS = "transcripts.txt"
"""In the adapted model's folder, what people said that was said: text for ``--text``."""
_IDENTITY = "identity.txt"


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What became of an adaptation.

    Attributes:
        improved: whether the model in ``folder`` is an adapted one, and not a copy of the first.
        before, after: errors in the recordings that were held out in turn, by the first model and
            by those adapted to the other recordings; None where nobody transcribed them.
        losses: of held-out recordings before the first epoch and after each.
        seconds: of audio that is adapted to, and that was held out in turn.
        rejected: recordings that were left out, and why.
        failed: recordings that could not be read.
    """

    folder: Path
    improved: bool
    before: ErrorCounts | None
    after: ErrorCounts | None
    losses: tuple[float, ...]
    seconds: tuple[float, float]
    rejected: tuple[Rejected, ...]
    failed: tuple[Failure, ...]


def adapt(
    model: Path,
    utterances: Sequence[Utterance],
    output: Path,
    config: AdaptationConfig | None = None,
    *,
    device: str | None = None,
    report: Report = lambda *_: None,
) -> Adaptation:
    """Fine-tune a model on ``utterances`` and write it to the folder ``output``.

    Rows without a transcript are transcribed by the model itself. Models that are adapted to a part
    of the recordings are tested on the others: if these make no more errors there than ``model``,
    and have a lower loss, one is adapted to all recordings in the same way; otherwise ``output`` is
    a copy of ``model``. Killed, the same call goes on where it stood, from the folder
    ``<output>.work``, which is removed in the end.

    Raises:
        ConfigError: ``output`` exists, too few recordings can be used, or the work folder is of
            other recordings or settings.
        ModelError: ``model`` is no usable model folder.
    """
    config = config or AdaptationConfig()
    if output.exists():
        raise ConfigError(f"{output}: exists; give --output a new folder")
    place = usable_device(device)
    bundle = load_bundle(model)
    work = output.with_name(output.name + ".work")
    _claim(work, _identity(model, utterances, config))
    recordings, rejected, failed = collect(
        utterances,
        cache(lambda: _recognizer(model, place)),
        OwnTranscripts(work / "transcripts.jsonl"),
        least_confidence=config.least_confidence,
        report=lambda done, of: report("reading", done, of),
    )
    learner = Learner(bundle, config, place)
    examples, recordings, unfit = learner.examples(recordings, config.most_misfit)
    rejected += unfit
    splits = folds(recordings, config.folds, config.held_out_seconds, config.seed)
    by_recording = {id(r): example for r, example in zip(recordings, examples, strict=True)}
    validation = CrossValidation(learner, splits, by_recording, config, work, report)
    made = work / "model"

    def transcribe(
        adapter: Adapter | None, recordings: Sequence[Recording], name: str
    ) -> list[str]:
        if adapter is not None:
            _write(made, model, bundle, adapter)
        folder = model if adapter is None else made
        return _transcribe(_recognizer(folder, place), recordings, name, report)

    validation.run(transcribe)
    if validation.improved:
        _write(made, model, bundle, validation.refit())
        texts = [recording.text for recording in recordings if recording.labelled]
        (made / TRANSCRIPTS).write_text("\n".join([*texts, ""]), encoding="utf-8")
    else:
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(model, made)
    held_out = [recording for split in splits for recording in split.held_out]
    result = Adaptation(
        output,
        validation.improved,
        validation.before,
        validation.after,
        tuple(validation.losses),
        (sum(r.seconds for r in recordings), sum(r.seconds for r in held_out)),
        tuple(rejected),
        tuple(failed),
    )
    made.rename(output)
    shutil.rmtree(work)
    return result


def _recognizer(model: Path, device: torch.device) -> Recognizer:
    options = RecognizerOptions(os.fspath(model), device=str(device), text_style="plain")
    return Recognizer.from_options(options)


def _transcribe(
    recognizer: Recognizer, recordings: Sequence[Recording], name: str, report: Report
) -> list[str]:
    """Return what users would read of each recording, without punctuation."""
    texts = []
    for recording in recordings:
        transcript = recognizer.transcribe(recording.samples, sample_rate=SAMPLE_RATE)
        texts.append(transcript.plain_text)
        report(f"errors {name}", len(texts), len(recordings))
    return texts


def _write(folder: Path, model: Path, bundle: Bundle, adapter: Adapter) -> None:
    """Write the adapted model with all else that the first one's folder holds."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    adapted, frontend = adapter.export(bundle.config.frontend)
    settings = bundle.config.model_copy(update={"frontend": frontend})
    save_bundle(folder, settings, adapted, bundle.tokens, phones=bundle.phones)


def _claim(work: Path, identity: str) -> None:
    """Make the work folder, or take over that of the same job; raises ConfigError for another's."""
    path = work / _IDENTITY
    if path.exists() and path.read_text() != identity:
        raise ConfigError(
            f"{work}: left by an adaptation of other recordings or settings: finish that one, or "
            "remove the folder"
        )
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(identity)


def _identity(model: Path, utterances: Sequence[Utterance], config: AdaptationConfig) -> str:
    """Digest all that decides the result."""
    rows = []
    for utterance in utterances:
        try:
            status = utterance.path.stat()
            known = [status.st_size, status.st_mtime_ns]
        except OSError:
            known = []
        rows.append([str(utterance.path.resolve()), utterance.transcript, known])
    parts = [fingerprint(model), config.model_dump(mode="json"), rows]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
