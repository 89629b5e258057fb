"""Adapting a model: from a manifest to a model folder that is no worse than the one before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
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
from ..wer import ErrorCounts, count_errors
from .collection import OwnTranscripts, Recording, Rejected, collect
from .config import AdaptationConfig
from .loop import AdaptationLoop
from .material import Learner, split
from .parameters import Adapter

__all__ = ["Adaptation", "Report", "adapt"]

Report = Callable[[str, int, int], None]
"""Called with a stage's name, what is done of it, and of how much."""

_IDENTITY = "identity.txt"
_TRIALS = 2
"""Models that are tried on the held-out part: the best one, and one half way to it."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What became of an adaptation.

    Attributes:
        improved: whether the model in ``folder`` is an adapted one, and not a copy of the first.
        before, after: errors in the held-out recordings, by the first model and by the adapted one;
            None where nobody transcribed them.
        losses: of the held-out recordings before the first epoch and after each.
        seconds: of audio that were trained on, and held out.
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

    Rows without a transcript are transcribed by the model itself. The adapted model is kept if it
    makes no more errors in held-out recordings and has a lower loss on them; otherwise
    ``output`` is a copy of ``model``. Killed, the same call goes on where it stood, from the folder
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
    parts = split(recordings, config.held_out, config.seed)
    rejected += unfit
    found = {id(r): example for r, example in zip(recordings, examples, strict=True)}
    train, held_out = ([found[id(r)] for r in part] for part in (parts.train, parts.held_out))

    before = _errors(model, place, parts.held_out, "before", report)
    batches = learner.batches(train), learner.batches(held_out)
    loop = AdaptationLoop(learner.adapter, learner.objective, *batches, config)
    _train(loop, work / "checkpoint.pt", config, report)

    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    after = before
    improved = False
    if loop.best_epoch > 0:
        adapter = loop.best()
        for _ in range(_TRIALS):
            _write(made, model, bundle, adapter)
            after = _errors(made, place, parts.held_out, "after", report)
            improved = before is None or after is None or after.wer <= before.wer
            if improved:
                break
            # Half the change is nearly as good, and half as far from what went well before.
            adapter.weaken(0.5)
            shutil.rmtree(made)
    if not improved:
        shutil.copytree(model, made)
    seconds = (sum(r.seconds for r in parts.train), sum(r.seconds for r in parts.held_out))
    result = Adaptation(
        output,
        improved,
        before,
        after,
        tuple(loop.losses),
        seconds,
        tuple(rejected),
        tuple(failed),
    )
    made.rename(output)
    shutil.rmtree(work)
    return result


def _train(
    loop: AdaptationLoop, checkpoint: Path, config: AdaptationConfig, report: Report
) -> None:
    """Train from the checkpoint on, if there is one, until more would not help."""
    if checkpoint.exists():
        loop.load(checkpoint)
    total = config.epochs * loop.updates
    done = loop.epoch * loop.updates

    def count() -> None:
        nonlocal done
        done += 1
        report("training", done, total)

    while not loop.finished:
        loop.advance(count)
        loop.save(checkpoint)


def _recognizer(model: Path, device: torch.device) -> Recognizer:
    options = RecognizerOptions(os.fspath(model), device=str(device), text_style="plain")
    return Recognizer.from_options(options)


def _errors(
    model: Path, device: torch.device, held_out: Sequence[Recording], name: str, report: Report
) -> ErrorCounts | None:
    """Return the errors of a model as users hear it; None where no person wrote the texts."""
    if not all(recording.labelled for recording in held_out):
        return None
    recognizer = _recognizer(model, device)
    texts = []
    for recording in held_out:
        transcript = recognizer.transcribe(recording.samples, sample_rate=SAMPLE_RATE)
        texts.append(transcript.plain_text)
        report(f"errors {name}", len(texts), len(held_out))
    return count_errors([recording.text for recording in held_out], texts)


def _write(folder: Path, model: Path, bundle: Bundle, adapter: Adapter) -> None:
    """Write the adapted model with all else that the first one's folder holds."""
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
