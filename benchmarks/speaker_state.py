"""Does a model that begins with the state of the words before make fewer errors?

    python benchmarks/speaker_state.py dev.tsv --each 8

Each utterance begins with a fresh state, with that after the speaker's utterance before, and with
that after another speaker's. Prints JSON: errors in words of each way, on the same utterances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track

from streamasr import Recognizer
from streamasr.acoustic import AcousticOutput, AcousticState
from streamasr.audio import open_audio
from streamasr.manifest import Utterance, read_manifest
from streamasr.wer import count_errors

WAYS = ("fresh", "same speaker", "other speaker")


def hear(
    recognizer: Recognizer, samples: torch.Tensor, before: AcousticState | None
) -> tuple[str, AcousticState]:
    """Return the text of a whole utterance that begins with a state, and the state after it."""
    acoustic = recognizer.acoustic
    start = acoustic.initial_state()
    if before is not None:
        start = replace(start, lstm=before.lstm)
    output, after = acoustic(samples, start)
    closing, _ = acoustic(acoustic.closing_silence(), after)
    whole = AcousticOutput.joined([output, closing])
    return recognizer.words.transcript(whole, len(samples) / 16_000).text, after


def load(utterance: Utterance) -> torch.Tensor:
    """Return the samples of an utterance."""
    with open_audio(utterance.path) as audio:
        return torch.from_numpy(np.concatenate([*audio.blocks()]))


def measure(
    recognizer: Recognizer, speakers: Sequence[Sequence[Utterance]]
) -> dict[str, list[str]]:
    """Return what is heard of all but each speaker's first utterance, by the way it begins."""
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    last = [hear(recognizer, load(own[0]), None)[1] for own in speakers]
    for number, own in enumerate(track(speakers, transient=True)):
        state = last[number]
        for utterance in own[1:]:
            samples = load(utterance)
            text, after = hear(recognizer, samples, None)
            found["fresh"].append(text)
            # As in a long session: the state goes on from utterance to utterance.
            text, state = hear(recognizer, samples, state)
            found["same speaker"].append(text)
            found["other speaker"].append(hear(recognizer, samples, last[number - 1])[0])
            last[number] = after
    return found


def main(
    manifest: Annotated[Path, typer.Argument(help="Recordings of several speakers.")],
    each: Annotated[int, typer.Option("--each", help="Utterances of each speaker.")] = 8,
    speakers: Annotated[int, typer.Option("--speakers", help="The first so many.")] = 1000,
) -> None:
    """Measure, and print JSON."""
    torch.set_num_threads(1)
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in read_manifest(manifest):
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    chosen = [own[: each + 1] for _, own in sorted(by_speaker.items())][:speakers]
    found = measure(Recognizer.from_pretrained(), chosen)
    references = [utterance.transcript for own in chosen for utterance in own[1:]]
    counts = {way: count_errors(references, texts) for way, texts in found.items()}
    errors = {w: c.substitutions + c.deletions + c.insertions for w, c in counts.items()}
    result = {
        "manifest": manifest.name,
        "utterances": len(references),
        "words": counts["fresh"].words,
        "errors": errors,
        "wer": {way: round(100 * count.wer, 2) for way, count in counts.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    typer.run(main)
