"""What hotwords do for rare words, and to everything else.

    python benchmarks/hotwords.py dev.tsv

The list holds every word of the manifest that the model's language model lacks. All recordings
that have one, and as many that have none, are transcribed without and with the whole list. The
last line on stdout is JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from streamasr import Recognizer
from streamasr.decoding.graph import load_graph
from streamasr.hotwords import Hotword
from streamasr.manifest import Utterance, normalise, read_manifest
from streamasr.pretrained import PRETRAINED
from streamasr.wer import count_errors


def unknown_words(model: Path, words: list[str]) -> list[str]:
    """Return those of ``words`` that the language model of a model folder lacks."""
    graph = load_graph(model)
    known = {graph.words[place] for place in np.flatnonzero(graph.lm_words != graph.unknown)}
    return [word for word in words if word not in known]


def measure(recognizer: Recognizer, utterances: list[Utterance], listed: set[str]) -> Any:
    """Return how many listed words were said, found, and heard where nobody said them; and WER."""
    texts = [recognizer.transcribe(u.path).plain_text for u in track(utterances, transient=True)]
    said = found = wrong = 0
    for utterance, text in zip(utterances, texts, strict=True):
        spoken = Counter(w for w in normalise(utterance.transcript).split() if w in listed)
        heard = Counter(w for w in text.split() if w in listed)
        said += spoken.total()
        found += (spoken & heard).total()
        wrong += (heard - spoken).total()
    wer = count_errors([u.transcript for u in utterances], texts).wer
    return {"said": said, "found": found, "false_alarms": wrong, "wer": wer}


def main(
    manifest: Path,
    model: Annotated[Path, typer.Option(help="Model folder.")] = PRETRAINED,
    weight: Annotated[float, typer.Option(help="Of each hotword.")] = 2.0,
) -> None:
    """Measure without and with the list."""
    utterances = read_manifest(manifest)
    spoken = [normalise(u.transcript).split() for u in utterances]
    listed = unknown_words(model, sorted({word for words in spoken for word in words}))
    has = [any(word in listed for word in words) for words in spoken]
    rare = [u for u, yes in zip(utterances, has, strict=True) if yes]
    others = [u for u, yes in zip(utterances, has, strict=True) if not yes]
    others = others[:: max(1, len(others) // len(rare))][: len(rare)]
    results: dict[str, Any] = {"hotwords": len(listed), "utterances": len(rare)}
    for name, hotwords in (("without", []), ("with", [Hotword(w, weight) for w in listed])):
        recognizer = Recognizer.from_pretrained(model, decoder="beam", hotwords=hotwords)
        results[name] = {
            "with_rare_words": measure(recognizer, rare, set(listed)),
            "others": measure(recognizer, others, set(listed)),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    typer.run(main)
