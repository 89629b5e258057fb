"""WER, RTF, start-up and memory beside other recognizers, on the same recordings, in one run.

    pip install pocketsphinx
    pip install --no-deps useful-moonshine-onnx tokenizers onnxruntime
    npm pack @moonshine-ai/moonshine-js && tar xzf moonshine-ai-*.tgz
    python benchmarks/peer.py dev.tsv --every 8 --repeats 5 \\
        --moonshine package/dist/model/tiny/quantized

Each recognizer is a process of its own, held to one core and one thread. They take each recording
in turn, so that what else the machine does meets them alike; medians are over repeats. All get
samples: streamasr in chunks, pocketsphinx (its US English models and trigram model) and Moonshine
tiny (27 M parameters, int8, ONNX) whole utterances. Peers that are not installed are named and left
out. The last line on stdout is JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

Transcribe = Callable[[NDArray[np.float32]], str]

RATE = 16_000


def streamasr(decoder: str, chunk_ms: int) -> Transcribe:
    """Load the bundled model."""
    import torch

    from streamasr import Recognizer

    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(decoder=decoder, device="cpu")
    return lambda samples: (
        recognizer.transcribe(samples, sample_rate=RATE, chunk_ms=chunk_ms).plain_text
    )


def pocketsphinx() -> Transcribe:
    """Load pocketsphinx with what it brings."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def transcribe(samples: NDArray[np.float32]) -> str:
        decoder.start_utt()
        decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        result = decoder.hyp()
        return result.hypstr if result else ""

    return transcribe


def moonshine(folder: Path) -> Transcribe:
    """Load Moonshine tiny from a folder with its two ONNX files."""
    import onnxruntime
    from moonshine_onnx import MoonshineOnnxModel, load_tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = lambda path: session(path, options)
    model, tokenizer = MoonshineOnnxModel(folder, "tiny"), load_tokenizer()
    return lambda samples: tokenizer.decode_batch(model.generate(samples[None]))[0]


def _serve(load: Callable[..., Transcribe], arguments: tuple[Any, ...], pipe: Connection) -> None:
    """Load, held to one core; then answer each ``samples`` with text and seconds."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    began = time.perf_counter()
    transcribe = load(*arguments)
    started = time.perf_counter() - began
    transcribe(np.zeros(RATE, np.float32))
    pipe.send(started)
    while (samples := pipe.recv()) is not None:
        began, used = time.perf_counter(), time.process_time()
        text = transcribe(samples)
        pipe.send((text, time.perf_counter() - began, time.process_time() - used))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Peer:
    """A recognizer in a process of its own, and what it has taken and said.

    ``seconds`` and ``cpu`` are totals, one for each repeat.
    """

    def __init__(self, load: Callable[..., Transcribe], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(load, arguments, theirs), daemon=True).start()
        theirs.close()
        self.start_up: float = self._pipe.recv()
        self.texts: list[str] = []
        self.seconds: list[float] = []
        self.cpu: list[float] = []

    def begin(self) -> None:
        """Begin a repeat."""
        self.texts.clear()
        self.seconds.append(0.0)
        self.cpu.append(0.0)

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Transcribe an utterance."""
        self._pipe.send(samples)
        text, seconds, cpu = self._pipe.recv()
        self.texts.append(text)
        self.seconds[-1] += seconds
        self.cpu[-1] += cpu

    def close(self) -> float:
        """End the process; return the most MB that it has been resident with."""
        self._pipe.send(None)
        peak: float = self._pipe.recv()
        return peak


def _start(chunk_ms: int, moonshine_folder: Path | None) -> dict[str, Peer]:
    peers = {
        "streamasr": Peer(streamasr, "beam", chunk_ms),
        "streamasr greedy": Peer(streamasr, "greedy", chunk_ms),
    }
    if find_spec("pocketsphinx"):
        peers["pocketsphinx"] = Peer(pocketsphinx)
    else:
        print("pocketsphinx is not installed: left out")
    if moonshine_folder and find_spec("moonshine_onnx"):
        peers["moonshine tiny"] = Peer(moonshine, moonshine_folder)
    else:
        print("moonshine: its package or --moonshine FOLDER is missing: left out")
    return peers


def main(
    manifest: Path,
    every: Annotated[int, typer.Option(help="Every N-th utterance.")] = 8,
    repeats: Annotated[int, typer.Option(help="Medians are over so many.")] = 5,
    moonshine: Annotated[
        Path | None, typer.Option(help="Folder of encoder_model.onnx, decoder_model_merged.onnx.")
    ] = None,
    chunk_ms: int = 1280,
) -> None:
    """Measure all that are installed on the same utterances."""
    from streamasr.audio import open_audio
    from streamasr.manifest import read_manifest
    from streamasr.wer import count_errors

    utterances = read_manifest(manifest)[::every]
    recordings = []
    for utterance in utterances:
        with open_audio(utterance.path) as source:
            recordings.append(np.concatenate([*source.blocks()]).astype(np.float32))
    audio = sum(map(len, recordings)) / RATE
    peers = _start(chunk_ms, moonshine)
    for _ in range(repeats):
        for peer in peers.values():
            peer.begin()
        for samples in recordings:
            for peer in peers.values():
                peer.hear(samples)
    results = {}
    for name, peer in peers.items():
        counts = count_errors([u.transcript for u in utterances], peer.texts)
        results[name] = {
            "wer": counts.wer,
            "cer": counts.cer,
            "rtf": median(peer.seconds) / audio,
            "rtf_least": min(peer.seconds) / audio,
            "rtf_most": max(peer.seconds) / audio,
            "cpu": median(peer.cpu) / audio,
            "start_up_s": peer.start_up,
            "peak_mb": peer.close(),
        }
        print(f"{name:18}" + "".join(f"  {key} {v:.4g}" for key, v in results[name].items()))
    ours = results["streamasr"]
    ratios = {
        name: {key: ours[key] / figures[key] for key in ("wer", "rtf", "cpu")}
        for name, figures in results.items()
        if name != "streamasr"
    }
    about = {
        "manifest": manifest.name,
        "utterances": len(utterances),
        "hours": audio / 3600,
        "chunk_ms": chunk_ms,
        "repeats": repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps({**about, "results": results, "ours to theirs": ratios}))


if __name__ == "__main__":
    typer.run(main)
