"""What language models are worth beside the same acoustic model: size, perplexity and WER of each.

    python benchmarks/language_models.py --on dev.tsv --every 5 --text heldout.txt FOLDER FOLDER...

A FOLDER has a search graph, a recurrent language model, beam.json, or several of these; what it
lacks is --model's, whose acoustic model hears the recordings once. Perplexities are a word's, each
sentence by itself: of the n-gram model over the words that it knows and the ends of sentences, with
the share of those that it does not know (OOV); of the recurrent one over all words, spelled. The
change of WER is that from the first FOLDER, with a 95 % interval over speakers. With --own FILE,
each FOLDER is measured without and with that text at run time, and "mixed" perplexities are of
all words, those unknown to both models taken for rare ones. The last line on stdout is JSON.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track

from streamasr import Recognizer
from streamasr.decoding import BeamConfig, BeamDecoder
from streamasr.decoding.arrays import lm_arrays
from streamasr.decoding.graph import GRAPH, SearchGraph, load_graph
from streamasr.decoding.kernel import lm_score
from streamasr.decoding.letters import RULES, read_rules
from streamasr.decoding.mixture import Mixture
from streamasr.decoding.settings import SETTINGS
from streamasr.language import OwnText, load_rescorer, read_own_text
from streamasr.language.storage import WEIGHTS
from streamasr.manifest import Utterance, normalise, read_manifest
from streamasr.pretrained import PRETRAINED
from streamasr.training.language import perplexity
from streamasr.training.language_text import read_sentences
from streamasr.tuning import Posteriors, bootstrap_interval, stored_posteriors
from streamasr.wer import count_errors


def ngram_perplexity(graph: SearchGraph, sentences: Iterable[str]) -> tuple[float, float]:
    """Return the perplexity of known words and sentences' ends, and the share of unknown words."""
    arrays = lm_arrays(graph.lm)
    total, scored, words, unknown = 0.0, 0, 0, 0
    for sentence in sentences:
        state = np.int32(graph.start_state)
        for word in (*sentence.split(), None):
            number = graph.end
            if word is not None:
                words += 1
                place = graph.index.get(word)
                number = graph.unknown if place is None else int(graph.lm_words[place])
            score, state = lm_score(state, np.int32(number), arrays)
            if number == graph.unknown:
                unknown += 1
            else:
                total += float(score)
                scored += 1
    return 10 ** (-total / max(1, scored)), unknown / max(1, words)


def mixed_perplexity(graph: SearchGraph, own: OwnText | None, sentences: Iterable[str]) -> float:
    """Return the perplexity of all words and sentences' ends, by the graph and somebody's text."""
    mixture = Mixture(own or OwnText([]), graph, *(() if own else (1e-9,)))
    texts = [sentence.split() for sentence in sentences]
    total = sum(mixture.lm_score(words) for words in texts)
    return float(10 ** (-total / max(1, sum(len(words) + 1 for words in texts))))


def errors(
    recognizer: Recognizer,
    model: Path,
    known: list[Posteriors],
    utterances: list[Utterance],
    own: OwnText | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Return each utterance's word errors and words, and the seconds that decoding took."""
    bundle = recognizer.bundle
    config = BeamConfig.model_validate_json((model / SETTINGS).read_bytes())
    decoder = BeamDecoder(
        bundle.spelling_tokens,
        bundle.config.frontend.step_seconds,
        load_graph(model),
        config,
        rescorer=load_rescorer(model),
        second=recognizer.acoustic.second_pass,
        rules=read_rules(bundle.folder / RULES),
        own=own,
    )
    counts, began = [], time.process_time()
    for utterance, (log_probs, encoded) in zip(utterances, known, strict=True):
        words, state = decoder(log_probs, decoder.initial_state(partials=False), encoded)
        said = " ".join(word.text for word in (*words, *decoder.finish(state)[0]))
        counts.append(count_errors([utterance.transcript], [said]))
    wrong = [each.substitutions + each.deletions + each.insertions for each in counts]
    return np.array(wrong), np.array([c.words for c in counts]), time.process_time() - began


def completed(folder: Path, model: Path, into: Path) -> Path:
    """Return a folder in which links to ``model``'s files stand for those that ``folder`` lacks."""
    into.mkdir(parents=True)
    for name in (GRAPH, WEIGHTS, "pieces.txt", SETTINGS):
        source = folder / name if (folder / name).exists() else model / name
        (into / name).symlink_to(source.resolve())
    return into


def main(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...")],
    on: Annotated[list[Path], typer.Option(metavar="MANIFEST", help="To recognise.")],
    text: Annotated[list[Path] | None, typer.Option(help="To know the perplexity of.")] = None,
    model: Annotated[Path, typer.Option(help="Model folder.")] = PRETRAINED,
    every: Annotated[int, typer.Option(help="Take each N-th recording only.")] = 1,
    own: Annotated[Path | None, typer.Option(metavar="FILE", help="Text at run time.")] = None,
    stored: Annotated[Path, typer.Option(help="Where posteriors are kept.")] = Path("posteriors"),
) -> None:
    """Measure each folder."""
    import tempfile

    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(model, decoder="greedy")
    sets = {path.stem: read_manifest(path)[::every] for path in on}
    known = {
        name: [stored_posteriors(recognizer, u, stored) for u in track(part, name, transient=True)]
        for name, part in sets.items()
    }
    texts = {path.stem: [normalise(s) for s in read_sentences(path)] for path in text or ()}
    first: dict[str, NDArray[np.int64]] = {}
    results: list[dict[str, Any]] = []
    known_perplexities: dict[tuple[str, Path], float] = {}
    runs = [(folder, None) for folder in folders]
    if own:
        runs = [(folder, each) for folder in folders for each in (None, read_own_text(own))]
    with tempfile.TemporaryDirectory() as scratch:
        for number, (folder, said) in enumerate(runs):
            whole = completed(folder, model, Path(scratch) / str(number))
            graph, rescorer = load_graph(whole), load_rescorer(whole)
            found: dict[str, Any] = {
                "folder": folder.name,
                "own": own.name if own and said else "",
                "graph_mb": round((whole / GRAPH).stat().st_size / 1e6, 1),
                "ngrams": len(graph.lm.arcs),
                "recurrent_mb": round((whole / WEIGHTS).stat().st_size / 1e6, 1),
            }
            for name, lines in texts.items():
                ngrams, oov = ngram_perplexity(graph, lines)
                found[f"ngram_perplexity_{name}"] = round(ngrams, 1)
                found[f"oov_percent_{name}"] = round(100 * oov, 2)
                if own:
                    mixed = mixed_perplexity(graph, said, lines)
                    found[f"mixed_perplexity_{name}"] = round(mixed, 1)
                if rescorer is not None:
                    key = name, (whole / WEIGHTS).resolve()
                    if key not in known_perplexities:  # of most folders it is --model's
                        known_perplexities[key] = round(perplexity(rescorer, lines), 1)
                    found[f"recurrent_perplexity_{name}"] = known_perplexities[key]
            for name, utterances in sets.items():
                wrong, words, seconds = errors(recognizer, whole, known[name], utterances, said)
                change = wrong - first.setdefault(name, wrong)
                speakers = [utterance.speaker for utterance in utterances]
                low, high = bootstrap_interval(change, words, speakers)
                found[f"wer_percent_{name}"] = round(100 * float(wrong.sum() / words.sum()), 2)
                found[f"change_{name}"] = [round(100 * bound, 2) for bound in (low, high)]
                found[f"decoding_seconds_{name}"] = round(seconds, 1)
            assert all(not isinstance(v, float) or math.isfinite(v) for v in found.values())
            print("  ".join(f"{key} {value}" for key, value in found.items()), flush=True)
            results.append(found)
    print(json.dumps(results))


if __name__ == "__main__":
    typer.run(main)
