"""Transcribe recordings on all cores, a text beside each: python examples/batch.py FILE…"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from streamasr import AudioError, Recognizer

torch.set_num_threads(1)  # each recording has a thread; more would wait for each other
recognizer = Recognizer.from_pretrained()


def transcribe(path: Path) -> str:
    """Write the text of a recording; one that cannot be read is told, and the others go on."""
    try:
        text = recognizer.transcribe(path).text
    except AudioError as error:
        return f"failed: {error}"
    path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    return f"{path}: {len(text.split())} words"


with ThreadPoolExecutor() as pool:
    for line in pool.map(transcribe, map(Path, sys.argv[1:])):
        print(line)
