"""The truth about quality: error rates by decoder, chunk, speaker and noise; confidence; times.

    python benchmarks/quality.py dev.tsv --noise noise --limit 60 --out quality

Writes quality.json and quality.png and prints the former. Other recognizers: benchmarks/peer.py.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track

from streamasr import Recognizer, Transcript
from streamasr.audio import open_audio
from streamasr.manifest import Utterance, normalise, read_manifest
from streamasr.pretrained import PRETRAINED
from streamasr.samples import rechunk
from streamasr.wer import ErrorCounts, aligned_words, count_errors

CHUNKS_MS = (80, 160, 320, 640, 0)  # 0: the whole recording at once
SNRS_DB = (20, 10, 5)
Samples = NDArray[np.float32]


def load(utterances: Sequence[Utterance]) -> list[Samples]:
    """Return the samples of each recording."""
    found = []
    for utterance in utterances:
        with open_audio(utterance.path) as audio:
            found.append(np.concatenate([*audio.blocks()]))
    return found


def transcribe(recognizer: Recognizer, samples: Samples, chunk_ms: int) -> Transcript:
    """Stream ``samples`` through a new listener."""
    stream = recognizer.stream(partials=False)
    size = recognizer.chunk_samples(chunk_ms) if chunk_ms else max(1, len(samples))
    for chunk in rechunk([samples], size):
        stream.accept(chunk)
    return stream.finish()


def run(
    name: str, recognizer: Recognizer, recordings: Sequence[Samples], chunk_ms: int
) -> list[Transcript]:
    """Transcribe all, under a progress bar."""
    bar = track(recordings, description=name, transient=True)
    return [transcribe(recognizer, samples, chunk_ms) for samples in bar]


def without_language_model(folder: Path, work: Path) -> Path:
    """Return a model folder like ``folder`` whose beam search has the lexicon alone."""
    for path in folder.iterdir():
        if path.name != "beam.json":
            (work / path.name).symlink_to(path.resolve())
    settings = json.loads((folder / "beam.json").read_text())
    (work / "beam.json").write_text(json.dumps({**settings, "lm_weight": 0.0}))
    return work


def mixed(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add ``noise``, as often as it takes, at a ratio of powers."""
    noise = np.resize(noise, len(samples))
    power = float(np.mean(samples**2) / max(float(np.mean(noise**2)), 1e-12))
    scaled = noise * np.sqrt(power / 10 ** (snr_db / 10))
    return np.clip(samples + scaled, -1, 1).astype(np.float32)


def noises(folder: Path) -> dict[str, list[Samples]]:
    """Return the clips of each kind: the part of a file's name before ``__`` or the last dash."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".opus", ".wav", ".flac", ".ogg"):
            kinds.setdefault(path.stem.split("__")[0], []).append(path)
    return {
        kind: load([Utterance(path, 0, "", "") for path in paths[:4]])
        for kind, paths in kinds.items()
    }


def confusions(references: Sequence[str], found: Sequence[Transcript]) -> list[dict[str, Any]]:
    """Return the thirty commonest pairs of a word that was said and another that was heard."""
    pairs: Counter[tuple[str, str]] = Counter()
    for reference, transcript in zip(references, found, strict=True):
        said = normalise(reference).split()
        for kind, i, j in aligned_words(reference, [w.text for w in transcript.words]):
            if kind == "substitute":
                pairs[said[i], transcript.words[j].text] += 1
    return [{"said": a, "heard": b, "times": n} for (a, b), n in pairs.most_common(30)]


def calibration(references: Sequence[str], found: Sequence[Transcript]) -> dict[str, Any]:
    """Return the share of right words in ten bins of confidence, and ECE (Guo et al. 2017)."""
    confident, right = [], []
    for reference, transcript in zip(references, found, strict=True):
        equal = {
            j
            for kind, _, j in aligned_words(reference, [w.text for w in transcript.words])
            if kind == "equal"
        }
        confident += [word.confidence for word in transcript.words]
        right += [index in equal for index in range(len(transcript.words))]
    scores, hits = np.array(confident), np.array(right)
    place = np.minimum((scores * 10).astype(int), 9)
    bins = [
        {"confidence": float(scores[place == b].mean()), "right": float(hits[place == b].mean())}
        | {"words": int((place == b).sum())}
        for b in range(10)
        if (place == b).any()
    ]
    error = sum(b["words"] * abs(b["confidence"] - b["right"]) for b in bins)
    return {"bins": bins, "ece": error / max(1, len(scores))}


def word_times(
    recognizer: Recognizer, recordings: Sequence[Samples], references: Sequence[str], lexicon: Path
) -> Iterator[list[tuple[float, float]]]:
    """Yield start and end of each reference word by the model's own forced alignment."""
    from streamasr.training.alignment import align, ctc_graph
    from streamasr.training.labels import Pronunciations

    bundle = recognizer.bundle
    spoken = Pronunciations(lexicon, bundle.spelling_tokens)
    for samples, reference in zip(recordings, references, strict=True):
        words = normalise(reference).split()
        if not bundle.phones or any(word not in spoken for word in words):
            yield []
            continue
        acoustic = recognizer.acoustic
        whole = torch.cat([torch.from_numpy(samples), acoustic.closing_silence()])
        output, _ = acoustic(whole, acoustic.initial_state())
        # A space would be one more phone: silence, which is optional, stands for it.
        graph = ctc_graph([[t for w in words for t in spoken[w][0]]], bundle.phones.blank, 0)
        owner = [-1] + [n for n, w in enumerate(words) for _ in spoken[w][0] for _ in (0, 1)]
        (path,) = align([output.log_probs[:, bundle.spelling_part].numpy()], [graph])
        if path is None:
            yield []
            continue
        steps = [(owner[s], t) for t, s in enumerate(path) if graph.words[s] >= 0]
        step, late = bundle.config.frontend.step_seconds, bundle.config.delay_seconds
        by_word: list[list[int]] = [[t for n, t in steps if n == k] for k in range(len(words))]
        yield [(times[0] * step - late, (times[-1] + 1) * step - late) for times in by_word]


def rates(references: Sequence[str], found: Sequence[Transcript]) -> ErrorCounts:
    """Count the errors of ``found``."""
    return count_errors(references, [transcript.plain_text for transcript in found])


def figure(results: dict[str, Any], path: Path) -> None:
    """Draw noise, calibration, speakers and chunks."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    drawing, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    noise, reliability, speakers, chunks = axes.flat
    for kind, by_snr in results.get("noise", {}).items():
        noise.plot([*by_snr], [100 * w for w in by_snr.values()], marker="o", label=kind)
    noise.set(title="noise", xlabel="signal-to-noise ratio, dB", ylabel="WER, %")
    if results.get("noise"):
        noise.legend(fontsize=6)
    bins = results["calibration"]["bins"]
    reliability.plot([0, 1], [0, 1], color="grey", lw=0.8)
    reliability.plot([b["confidence"] for b in bins], [b["right"] for b in bins], marker="o")
    ece = results["calibration"]["ece"]
    reliability.set(title=f"confidence, ECE {ece:.3f}", xlabel="confidence", ylabel="right")
    named = results["speakers"]
    speakers.barh([*named], [100 * w for w in named.values()])
    speakers.set(title="speakers", xlabel="WER, %")
    sizes = results["chunks"]
    chunks.bar([*sizes], [100 * c["wer"] for c in sizes.values()])
    chunks.set(title="chunks", xlabel="ms", ylabel="WER, %")
    drawing.savefig(path)


def main(
    manifest: Path,
    noise: Annotated[Path | None, typer.Option(help="Folder of noise clips.")] = None,
    limit: Annotated[int, typer.Option(help="Recordings, spread over the manifest.")] = 60,
    noisy: Annotated[int, typer.Option(help="Recordings for each kind of noise and ratio.")] = 8,
    model: Annotated[Path, typer.Option(help="Model folder.")] = PRETRAINED,
    threads: Annotated[int, typer.Option(help="Threads for torch.")] = 2,
    out: Path = Path("quality"),
) -> None:
    """Measure, print, store."""
    torch.set_num_threads(threads)
    utterances = read_manifest(manifest)
    utterances = utterances[:: max(1, len(utterances) // limit)][:limit]
    recordings, references = load(utterances), [u.transcript for u in utterances]
    beam = Recognizer.from_pretrained(model, decoder="beam")
    results: dict[str, Any] = {
        "manifest": manifest.name,
        "utterances": len(utterances),
        "model": beam.fingerprint,
    }

    chunked = {str(ms or "whole"): run(f"{ms} ms", beam, recordings, ms) for ms in CHUNKS_MS}
    main_run = chunked["320"]
    results["chunks"] = {
        size: {
            "wer": rates(references, found).wer,
            "same_text": sum(a.text == b.text for a, b in zip(found, main_run, strict=True)),
        }
        for size, found in chunked.items()
    }
    greedy = Recognizer.from_pretrained(model, decoder="greedy")
    with tempfile.TemporaryDirectory() as work:
        lexicon = Recognizer.from_pretrained(
            without_language_model(model, Path(work)), decoder="beam"
        )
        for name, recognizer in (("greedy", greedy), ("lexicon", lexicon), ("beam", beam)):
            streamed = rates(references, run(name, recognizer, recordings, 320))
            offline = rates(references, run(name, recognizer, recordings, 0))
            results.setdefault("decoders", {})[name] = {
                "streamed": streamed.wer,
                "offline": offline.wer,
                "cer": streamed.cer,
            }
    results["speakers"] = {
        speaker: rates(
            [r for r, u in zip(references, utterances, strict=True) if u.speaker == speaker],
            [t for t, u in zip(main_run, utterances, strict=True) if u.speaker == speaker],
        ).wer
        for speaker in sorted({u.speaker for u in utterances})
    }
    results["confusions"] = confusions(references, main_run)
    results["calibration"] = calibration(references, main_run)
    truth = word_times(beam, recordings, references, model / "lexicon.txt")
    errors = []
    for times, reference, transcript in zip(truth, references, main_run, strict=True):
        for kind, i, j in aligned_words(reference, [w.text for w in transcript.words]):
            if kind == "equal" and times:
                word = transcript.words[j]
                errors.append([abs(word.start - times[i][0]), abs(word.end - times[i][1])])
    if errors:
        names = ("start", "end")
        results["word_times_ms"] = {
            name: {
                f"p{p}": 1000 * float(np.percentile(np.array(errors)[:, k], p)) for p in (50, 90)
            }
            for k, name in enumerate(names)
        }
    few, few_references = recordings[:noisy], references[:noisy]
    clean = rates(few_references, main_run[:noisy]).wer
    for kind, clips in noises(noise).items() if noise else ():
        results.setdefault("noise", {})[kind] = {"clean": clean} | {
            str(snr): rates(
                few_references,
                run(
                    f"{kind} {snr} dB",
                    beam,
                    [mixed(s, clips[n % len(clips)], snr) for n, s in enumerate(few)],
                    320,
                ),
            ).wer
            for snr in SNRS_DB
        }
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    figure(results, out.with_suffix(".png"))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
