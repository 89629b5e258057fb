"""Text of the recurrent language model as a row of pieces, in memory or in a file."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..language import Pieces
from ..language.pieces import BOUNDARY
from ..manifest import read_manifest

__all__ = ["encode", "encode_to_file", "learn_pieces", "read_sentences"]

_BLOCK = 50_000  # sentences encoded at once: some 100 MB


def read_sentences(path: Path) -> Iterator[str]:
    """Yield a text's lines (``.xz`` is unpacked), or a manifest's transcripts in lower case."""
    if path.suffix == ".tsv":
        yield from (utterance.transcript.lower() for utterance in read_manifest(path))
        return
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as lines:
        yield from lines


def learn_pieces(sentences: Iterable[str], size: int) -> Pieces:
    """Return the ``size`` pieces that spell a text best, by sentencepiece's BPE."""
    try:
        import sentencepiece
    except ImportError as error:
        raise ConfigError("sentencepiece is missing: pip install 'streamasr[train]'") from error
    counts = Counter(word for sentence in sentences for word in sentence.split())
    # Words with their counts, as sentencepiece reads them: a hundredth of the text.
    lines = (f"{word}\t{count}" for word, count in sorted(counts.items()))
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            pad_id=-1,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        # Its last sentence says what to change; the rest is where in its source.
        reason = str(error).strip().rsplit("] ", 1)[-1]
        raise ConfigError(f"no {size} pieces can be learned from this text: {reason}") from error
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = [found.id_to_piece(place) for place in range(len(found))]
    return Pieces([BOUNDARY, *(name for name in names if not name.startswith("<"))])


def encode(sentences: Iterable[str], pieces: Pieces) -> NDArray[np.int16]:
    """Return a text as one row of pieces, ``</s>`` behind each sentence.

    Raises ConfigError for more than 32,768 pieces.
    """
    return np.concatenate([np.empty(0, np.int16), *_encoded_blocks(sentences, pieces)])


def encode_to_file(sentences: Iterable[str], pieces: Pieces, path: Path) -> NDArray[np.int16]:
    """Write what ``encode`` returns to ``path`` and return it mapped into memory.

    200 million words take 550 MB of disk, and some 300 MB of memory meanwhile.
    """
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for block in _encoded_blocks(sentences, pieces):
            file.write(block.tobytes())
    if not partial.stat().st_size:
        partial.unlink()
        raise ConfigError("the text is empty")
    partial.replace(path)
    return np.memmap(path, np.int16, mode="r")


def _encoded_blocks(sentences: Iterable[str], pieces: Pieces) -> Iterator[NDArray[np.int16]]:
    """Yield the pieces of some sentences after the other."""
    if len(pieces) > np.iinfo(np.int16).max + 1:
        raise ConfigError(f"{len(pieces)} pieces are too many: at most 32768")
    spelling = _Spelling(pieces)
    rest = iter(sentences)
    while block := list(islice(rest, _BLOCK)):
        words: list[str] = []
        for sentence in block:
            words += sentence.split()
            words.append(BOUNDARY)
        yield spelling.encode(words)


class _Spelling(dict[str, int]):
    """Place of each word in a growing table of spellings: a word is spelled once."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__({BOUNDARY: 0})
        self._pieces = pieces
        self._spelled: list[tuple[int, ...]] = [(0,)]
        self._flat = np.zeros(1, np.int16)
        self._sizes = np.ones(1, np.int64)

    def __missing__(self, word: str) -> int:
        self[word] = len(self)
        self._spelled.append(self._pieces.encode(word))
        return len(self) - 1

    def encode(self, words: list[str]) -> NDArray[np.int16]:
        """Return the pieces of all ``words`` in a row."""
        places = np.fromiter(map(self.__getitem__, words), np.int64, len(words))
        if new := self._spelled[len(self._sizes) :]:
            added = np.fromiter((p for word in new for p in word), np.int16)
            self._flat = np.concatenate([self._flat, added])
            self._sizes = np.concatenate([self._sizes, np.array([*map(len, new)], np.int64)])
        sizes = self._sizes[places]
        starts = (np.cumsum(self._sizes) - self._sizes)[places]
        # Place in the row less the row's place of the word's first piece: 0, 1, … within a word.
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        encoded: NDArray[np.int16] = self._flat[np.repeat(starts, sizes) + within]
        return encoded
