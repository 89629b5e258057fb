"""What adapting to a speaker is worth: WER before and after, of this speaker and of others.

    python benchmarks/adaptation.py dev.tsv --seconds 180 --out adaptation.jsonl

Of each speaker of a manifest, ``--seconds`` of recordings are adapted on and the rest is tested on.
A line of JSON per speaker is appended to ``--out``; those that are there already, with the same
settings, are not repeated, so that a long measurement can be made in pieces (``--most``). The
last thing printed is a summary of all lines of these settings.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from streamasr import Recognizer
from streamasr.adaptation import AdaptationConfig, adapt
from streamasr.audio import open_audio
from streamasr.manifest import Utterance, read_manifest
from streamasr.pretrained import PRETRAINED
from streamasr.tuning.bootstrap import bootstrap_interval
from streamasr.wer import ErrorCounts, count_errors


def shuffled(utterances: Sequence[Utterance], seed: int) -> list[Utterance]:
    """Return ``utterances`` in an order that depends on the seed alone."""
    order = np.random.default_rng(seed).permutation(len(utterances))
    return [utterances[int(place)] for place in order]


def first_seconds(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """Return the first of ``utterances``, of about ``seconds`` together."""
    lengths = np.cumsum([u.duration for u in utterances])
    return [*utterances[: max(1, int(np.searchsorted(lengths, seconds, side="right")))]]


def errors(recognizer: Recognizer, utterances: Sequence[Utterance]) -> tuple[int, int]:
    """Return the word errors in ``utterances``, and their words."""
    texts = []
    for utterance in utterances:
        with open_audio(utterance.path) as audio:
            samples = np.concatenate([*audio.blocks()])
        texts.append(recognizer.transcribe(samples, sample_rate=16_000).plain_text)
    counts = count_errors([u.transcript for u in utterances], texts)
    return counts.substitutions + counts.deletions + counts.insertions, counts.words


def _count(counts: ErrorCounts | None) -> int | None:
    """Return the errors that cross-validation found, None for recordings without transcripts."""
    if counts is None:
        return None
    return counts.substitutions + counts.deletions + counts.insertions


class Measurement:
    """The speakers of a manifest, adapted to one by one with the same settings."""

    def __init__(
        self,
        manifest: Path,
        seconds: float,
        test_seconds: float,
        others: int,
        own: bool,
        text: bool,
        seed: int,
    ) -> None:
        self._seconds, self._test_seconds = seconds, test_seconds
        self._others, self._own, self._text, self._seed = others, own, text, seed
        self._by_speaker: dict[str, list[Utterance]] = {}
        for utterance in read_manifest(manifest):
            self._by_speaker.setdefault(utterance.speaker, []).append(utterance)
        self._first = Recognizer.from_pretrained(text_style="plain")
        self.speakers = sorted(self._by_speaker)

    def measure(self, speaker: str, config: AdaptationConfig) -> dict[str, Any]:
        """Adapt to a speaker; return errors before and after, in words, and what it took."""
        everything = shuffled(self._by_speaker[speaker], self._seed)
        known = first_seconds(everything, self._seconds)
        test = first_seconds(everything[len(known) :], self._test_seconds)
        given = [replace(u, transcript="") for u in known] if self._own else known
        others = [
            utterance
            for other in self.speakers
            if other != speaker
            for utterance in shuffled(self._by_speaker[other], 0)[: self._others]
        ]
        began, cpu = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = adapt(PRETRAINED, given, Path(folder) / "model", config)
            took = time.perf_counter() - began, time.process_time() - cpu
            adapted = Recognizer.from_pretrained(Path(folder) / "model", text_style="plain")
            after, others_after = errors(adapted, test), errors(adapted, others)
            with_text = {}
            if self._text:
                text = Path(folder) / "known.txt"
                text.write_text("\n".join(u.transcript.lower() for u in known))
                for name, model in (("before", PRETRAINED), ("after", Path(folder) / "model")):
                    reader = Recognizer.from_pretrained(model, text=text, text_style="plain")
                    with_text[f"{name}_with_text"] = errors(reader, test)[0]
        return {
            "speaker": speaker,
            "seconds": sum(u.duration for u in known),
            "words": after[1],
            **with_text,
            "before": errors(self._first, test)[0],
            "after": after[0],
            "others_words": others_after[1],
            "others_before": errors(self._first, others)[0],
            "others_after": others_after[0],
            "improved": found.improved,
            "validated_before": _count(found.before),
            "validated_after": _count(found.after),
            "losses": [round(loss, 3) for loss in found.losses],
            "left_out": len(found.rejected),
            "took_seconds": round(took[0], 1),
            "cpu_seconds": round(took[1], 1),
        }


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the errors of all speakers together, and how many have fewer."""

    def total(name: str) -> int:
        return sum(line[name] for line in lines)

    def interval(before: str, after: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the change of errors, the speakers drawn anew."""
        if not total(before):
            return None
        speakers = [line["speaker"] for line in lines]
        apart = [line[after] - line[before] for line in lines]
        errors = [line[before] for line in lines]
        low, high = bootstrap_interval(apart, errors, speakers)
        return round(100 * low, 1), round(100 * high, 1)

    def change(before: str, after: str) -> float | None:
        return round(100 * (total(after) / total(before) - 1), 1) if total(before) else None

    return {
        "speakers": len(lines),
        "words": total("words"),
        "wer_before": round(100 * total("before") / total("words"), 2),
        "wer_after": round(100 * total("after") / total("words"), 2),
        "change_of_errors_percent": change("before", "after"),
        "interval_percent": interval("before", "after"),
        "with_text": {
            name: change("before", f"{name}_with_text")
            for name in ("before", "after")
            if all(f"{name}_with_text" in line for line in lines)
        },
        "better": sum(line["after"] < line["before"] for line in lines),
        "worse": sum(line["after"] > line["before"] for line in lines),
        "kept": total("improved"),
        "others_change_of_errors_percent": change("others_before", "others_after"),
        "mean_seconds": round(total("seconds") / len(lines), 1),
        "mean_cpu_seconds": round(total("cpu_seconds") / len(lines), 1),
    }


def main(
    manifest: Annotated[Path, typer.Argument(help="Recordings of several speakers.")],
    out: Annotated[Path, typer.Option("--out", help="Lines of JSON, which are added to.")],
    seconds: Annotated[float, typer.Option("--seconds", help="To adapt on.")] = 60.0,
    test_seconds: Annotated[float, typer.Option("--test-seconds", help="To test on, at most.")] = (
        1e9
    ),
    others: Annotated[
        int, typer.Option("--others", help="Recordings of each other speaker to test on.")
    ] = 0,
    own: Annotated[
        bool, typer.Option("--own", help="Adapt on the model's own transcripts.")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="Test with the known transcripts as text, too.")
    ] = False,
    first: Annotated[int, typer.Option("--first", help="Speakers to leave out before.")] = 0,
    most: Annotated[int, typer.Option("--most", help="Speakers to measure now.")] = 1000,
    settings: Annotated[str, typer.Option("--settings", help="Of the adaptation, as JSON.")] = "{}",
    seed: Annotated[int, typer.Option("--seed", help="Of the order of recordings.")] = 0,
) -> None:
    """Measure, and print a summary."""
    torch.set_num_threads(1)
    config = AdaptationConfig.model_validate_json(settings)
    job = {
        "manifest": manifest.name,
        "asked_seconds": seconds,
        "own": own,
        "settings": json.loads(settings),
        "seed": seed,
        "others_each": others,
        "text": text,
    }
    known: list[dict[str, Any]] = []
    if out.exists():
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        known = [line for line in lines if job.items() <= line.items()]
    measurement = Measurement(manifest, seconds, test_seconds, others, own, text, seed)
    speakers = measurement.speakers[first:]
    missing = [s for s in speakers if s not in {line["speaker"] for line in known}]
    for speaker in missing[:most]:
        line = job | measurement.measure(speaker, config)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        known.append(line)
    print(json.dumps(job | summary(known)))


if __name__ == "__main__":
    typer.run(main)
