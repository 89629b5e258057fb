"""The search graph: lexicon tree and n-gram automaton, mapped from one file of a model folder.

``graph.safetensors`` is laid out byte by byte as the safetensors format says (8 bytes: length of
the header, little-endian; the header, JSON; the arrays). Its arrays, with N tree nodes, W words at
nodes, V words of the lexicon, S states, A arcs and L words of the language model:

===================  =============  ======  ======================================================
``tree.nodes``       ``(N, 8)``     int32   see ``tree.Node``
``tree.words``       ``(W, 3)``     int32   see ``tree.TreeWord``
``text.bytes``       ``(C,)``       uint8   the lexicon's words, UTF-8, one behind another
``text.ends``        ``(V,)``       int32   where each word ends in ``text.bytes``
``lm.state_arcs``    ``(S + 1,)``   int32   see ``automaton.Automaton``, as all that follow
``lm.state_backoff`` ``(S,)``       uint32
``lm.arcs``          ``(A,)``       uint32
``lm.arc_states``    ``(A / 64,)``  uint64  rounded up
``lm.arc_ranks``     ``(A / 64,)``  int32   rounded up
``lm.unigram``       ``(L,)``       float32
``lm.unigram_next``  ``(L,)``       int32
``lm.arc_values``    ``(256,)``     float32
``lm.backoff_values````(256,)``     float32
===================  =============  ======  ======================================================

The header's ``__metadata__`` has ``format`` and ``version``, the spelling ``tokens`` (joined by
spaces), the language model's indices of ``<s>``, ``</s>`` and ``<unk>`` (``start``, ``end``,
``unknown``), and ``checksum``, the CRC-32 of the arrays in the order of the file.

Nothing in it is trusted: sizes, order, ranges and the checksum are tested on load, so that no
index can lead the search out of an array.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from .automaton import MOST_STATES, MOST_WORDS, Automaton
from .tree import MOST_TOKENS, Node, Tree, TreeWord, most_candidates

__all__ = ["GRAPH", "SearchGraph", "load_graph", "save_graph"]

GRAPH = "graph.safetensors"
FORMAT, VERSION = "streamasr-graph", 1
_MOST_NODES = 1 << 23
_DTYPES = {"I32": np.int32, "U32": np.uint32, "F32": np.float32, "U8": np.uint8, "U64": np.uint64}


@dataclass(frozen=True)
class SearchGraph:
    """What the beam search walks: read-only arrays, which threads and processes share.

    ``tokens`` are the symbols that spell the words; ``start``, ``end`` and ``unknown`` are the
    language model's ``<s>``, ``</s>`` and ``<unk>``.
    """

    tree: Tree
    lm: Automaton
    text_bytes: NDArray[np.uint8]
    text_ends: NDArray[np.int32]
    tokens: tuple[str, ...]
    start: int
    end: int
    unknown: int

    @property
    def start_state(self) -> int:
        """N-gram state at the beginning of a segment."""
        return int(self.lm.unigram_next[self.start])

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The lexicon's words."""
        text, ends = self.text_bytes.tobytes(), self.text_ends.tolist()
        return tuple(text[a:b].decode() for a, b in zip([0, *ends], ends, strict=False))

    def word(self, index: int) -> str:
        """Return one word of the lexicon."""
        begin = int(self.text_ends[index - 1]) if index else 0
        return self.text_bytes[begin : self.text_ends[index]].tobytes().decode()

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The place of each word in the lexicon."""
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def most_candidates(self) -> int:
        """The most hypotheses that one can become in a timestep."""
        return most_candidates(self.tree)

    @cached_property
    def lm_words(self) -> NDArray[np.int32]:
        """The language model's word of each word of the lexicon."""
        found = np.full(len(self.text_ends), self.unknown, np.int32)
        found[self.tree.words[:, TreeWord.WORD]] = self.tree.words[:, TreeWord.LM_WORD]
        return found

    @cached_property
    def start_scores(self) -> NDArray[np.float32]:
        """Log10 probability of each of the language model's words at the start of a segment."""
        return self.lm.scores_after(self.start)

    @cached_property
    def best_scores(self) -> NDArray[np.float32]:
        """The most that each of the language model's words can score in any context."""
        return self.lm.best_of_words()

    def spellings(self, words: Iterable[str]) -> dict[str, list[tuple[int, ...]]]:
        """Return the tokens of each spelling that the tree has of ``words``, of all at once.

        A word that the tree lacks has none.
        """
        found: dict[str, list[tuple[int, ...]]] = {word: [] for word in words}
        known = [word for word in found if word in self.index]
        if not known:
            return found
        order, in_order = self._words_in_order
        places = np.array([self.index[word] for word in known])
        begins = np.searchsorted(in_order, places)
        counts = np.searchsorted(in_order, places, side="right") - begins
        owners = np.repeat(np.arange(len(known)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = order[np.repeat(begins, counts) + within]
        # Of nodes at which no word ends and the one behind them, the first word is the same.
        nodes = np.searchsorted(self._columns[0], entries, side="right") - 1
        by_node = np.lexsort((nodes, owners))
        paths = self._paths(nodes[by_node])
        for owner, path in zip(owners[by_node].tolist(), paths, strict=True):
            found[known[owner]].append(path)
        return found

    @cached_property
    def _words_in_order(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        words = self.tree.words[:, TreeWord.WORD]
        order = np.argsort(words, kind="stable")
        return order, words[order]

    @cached_property
    def _columns(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The nodes' first words and first children, side by side in memory, to be searched in."""
        columns = (Node.FIRST_WORD, Node.FIRST_CHILD)
        words, children = (np.ascontiguousarray(self.tree.nodes[:, c]) for c in columns)
        return words, children

    def _paths(self, nodes: NDArray[np.int64]) -> list[tuple[int, ...]]:
        """Return the tokens from the root to each of ``nodes (n,)``."""
        steps = []
        while nodes.any():
            steps.append(np.where(nodes > 0, self.tree.nodes[nodes, Node.TOKENS] & 255, -1))
            parents = np.searchsorted(self._columns[1], nodes, side="right") - 1
            nodes = np.where(nodes > 0, parents, 0)
        rows = np.array(steps[::-1], np.int64).reshape(len(steps), len(nodes)).T.tolist()
        return [tuple(token for token in row if token >= 0) for row in rows]


def save_graph(folder: str | Path, graph: SearchGraph) -> None:
    """Write a model folder's search graph."""
    from safetensors.numpy import save

    arrays = _arrays(graph)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "tokens": " ".join(graph.tokens),
        "start": str(graph.start),
        "end": str(graph.end),
        "unknown": str(graph.unknown),
    }
    # The library decides on the order of the arrays, which the checksum follows.
    data = save(arrays, {**metadata, "checksum": "0" * 8})
    begin = 8 + int.from_bytes(data[:8], "little")
    checksum = f"{zlib.crc32(memoryview(data)[begin:]):08x}"
    (Path(folder) / GRAPH).write_bytes(save(arrays, {**metadata, "checksum": checksum}))


def load_graph(folder: str | Path) -> SearchGraph:
    """Map a model folder's search graph into memory; raises ModelError, one line."""
    path = Path(folder) / GRAPH
    try:
        graph = _load(path)
        _check(graph)
        _forget(graph.text_bytes)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path}: not a search graph, or damaged: {error}") from error
    return graph


def _load(path: Path) -> SearchGraph:
    data = np.memmap(path, np.uint8, "r")
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > len(data) - 8:
        raise ValueError("the header is cut off")
    header = json.loads(data[8 : 8 + size].tobytes())
    metadata = header.pop("__metadata__")
    if metadata.get("format") != FORMAT:
        raise ValueError("it holds something else")
    if metadata["version"] != str(VERSION):
        raise ValueError(f"its version is {metadata['version']}, this program reads {VERSION}")
    body = data[8 + size :]
    if f"{zlib.crc32(body.data):08x}" != metadata["checksum"]:
        raise ValueError("the checksum differs")
    arrays = {name: _array(body, entry) for name, entry in header.items()}
    lm = {name.removeprefix("lm."): array for name, array in arrays.items() if name[:3] == "lm."}
    return SearchGraph(
        Tree(arrays["tree.nodes"], arrays["tree.words"]),
        Automaton(**lm),
        arrays["text.bytes"],
        arrays["text.ends"],
        tuple(metadata["tokens"].split(" ")),
        *(int(metadata[name]) for name in ("start", "end", "unknown")),
    )


def _forget(array: NDArray[Any]) -> None:
    """Give back the memory of the mapped file that ``array`` lies in.

    To check the file it was read to its end; a search reads a small part of it again, which the
    system still has in its cache.
    """
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def _array(body: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    """Return one array of the file, without copying it."""
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if not 0 <= begin <= end <= len(body) or begin % dtype.itemsize:
        raise ValueError("an array lies outside of the file")
    return np.asarray(body[begin:end]).view(dtype).reshape(entry["shape"])


def _arrays(graph: SearchGraph) -> dict[str, NDArray[Any]]:
    lm = {f"lm.{name}": getattr(graph.lm, name) for name in Automaton.__dataclass_fields__}
    tree = {"tree.nodes": graph.tree.nodes, "tree.words": graph.tree.words}
    text = {"text.bytes": graph.text_bytes, "text.ends": graph.text_ends}
    return {name: np.ascontiguousarray(a) for name, a in {**tree, **text, **lm}.items()}


def _require(right: object, what: str) -> None:
    if not right:
        raise ValueError(what)


def _check(graph: SearchGraph) -> None:
    """Raise ValueError for arrays that do not fit each other."""
    _check_tree(graph.tree, len(graph.text_ends), len(graph.lm.unigram), len(graph.tokens))
    _check_automaton(graph.lm)
    ends = graph.text_ends
    _require(
        ends.ndim == 1 and ends.dtype == np.int32 and graph.text_bytes.dtype == np.uint8, "text"
    )
    _require((np.diff(ends, prepend=0) >= 0).all(), "the words' text does not ascend")
    _require(ends[-1] == graph.text_bytes.size, "the words' text has another length")
    for special in (graph.start, graph.end, graph.unknown):
        _require(0 <= special < len(graph.lm.unigram), "<s>, </s> or <unk> is no word")


def _check_tree(tree: Tree, lexicon: int, vocabulary: int, tokens: int) -> None:
    nodes, words = tree.nodes, tree.words
    _require(2 <= tokens <= MOST_TOKENS, "the number of tokens")
    _require(nodes.dtype == words.dtype == np.int32, "the tree's type")
    _require(nodes.shape[1:] == (8,) and 0 < len(nodes) <= _MOST_NODES, "the tree's nodes")
    _require(words.shape[1:] == (3,) and len(words), "the tree's words")
    _check_cells(nodes[:, Node.FIRST_WORD], nodes[:, Node.WORDS], 0, len(words), "words")
    masks = np.ascontiguousarray(nodes[:, Node.MASK : Node.MASK + 2]).view(np.uint64).ravel()
    children = np.bitwise_count(masks).astype(np.int32)
    _check_cells(nodes[:, Node.FIRST_CHILD], children, 1, len(nodes), "children")
    _require(not (masks >> np.uint64(tokens - 1) >> np.uint64(1)).any(), "a child's token")
    token, parent = nodes[1:, Node.TOKENS] & 255, nodes[:, Node.TOKENS] >> 8
    _require(((token > 0) & (token < tokens)).all(), "a node's token")
    _require(((parent >= 0) & (parent < tokens)).all(), "a parent's token")
    _require(((words >= 0) | [False, False, True]).all(), "a word below 0")
    _require((words[:, TreeWord.WORD] < lexicon).all(), "a word outside of the lexicon")
    _require((words[:, TreeWord.LM_WORD] < vocabulary).all(), "a word outside of the vocabulary")
    scores = nodes[:, [Node.LOOK_AHEAD, Node.BEST_CHILD]].view(np.float32)
    best = np.ascontiguousarray(words[:, TreeWord.BEST]).view(np.float32)
    _require(np.isfinite(scores).all() and np.isfinite(best).all(), "a score is not finite")


def _check_cells(
    first: NDArray[np.int32], count: NDArray[np.int32], begin: int, end: int, what: str
) -> None:
    """Check that cells of ``count`` elements each tile the places from ``begin`` to ``end``."""
    ends = begin + np.cumsum(count, dtype=np.int64)
    _require((count >= 0).all() and (first == ends - count).all(), f"{what} are not in order")
    _require(ends[-1] == end, f"the number of {what}")


def _check_automaton(lm: Automaton) -> None:
    states, arcs = len(lm.state_backoff), len(lm.arcs)
    vocabulary = len(lm.unigram)
    expected = {
        "state_arcs": (np.int32, (states + 1,)),
        "state_backoff": (np.uint32, (states,)),
        "arcs": (np.uint32, (arcs,)),
        "arc_states": (np.uint64, (-(-arcs // 64),)),
        "arc_ranks": (np.int32, (-(-arcs // 64),)),
        "unigram": (np.float32, (vocabulary,)),
        "unigram_next": (np.int32, (vocabulary,)),
        "arc_values": (np.float32, (256,)),
        "backoff_values": (np.float32, (256,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(lm, name)
        _require(array.dtype == dtype and array.shape == shape, f"the shape of lm.{name}")
    _require(0 < states <= MOST_STATES and 0 < vocabulary <= MOST_WORDS, "the number of states")
    first = lm.state_arcs
    _require(first[0] == 0 and first[-1] == arcs, "the arcs' number")
    _require((first[1:] >= first[:-1]).all(), "the states' arcs do not ascend")
    words = lm.arcs & np.uint32(0xFFFFFF)
    _require((words < vocabulary).all(), "an arc's word")
    ranks = np.bitwise_count(lm.arc_states).astype(np.int32)
    _require((lm.arc_ranks == np.cumsum(ranks) - ranks).all(), "the arcs' ranks")
    _require(lm.first_arc_state + int(ranks.sum()) == states, "the arcs' states")
    if arcs % 64:
        _require(not lm.arc_states[-1] >> np.uint64(arcs % 64), "a state without an arc")
    ascends = words[1:] > words[:-1]
    begins = first[1:-1]
    ascends[begins[(begins > 0) & (begins < arcs)] - 1] = True
    _require(ascends.all(), "a state's arcs do not ascend")
    # A back-off leads to an earlier state, so that following them comes to an end.
    backoff = lm.state_backoff & np.uint32(0xFFFFFF)
    _require(backoff[0] == 0 and (backoff[1:] < np.arange(1, states)).all(), "a back-off state")
    _require(((lm.unigram_next >= 0) & (lm.unigram_next < states)).all(), "a unigram's state")
    for name in ("unigram", "arc_values", "backoff_values"):
        _require(np.isfinite(getattr(lm, name)).all(), f"lm.{name} is not finite")


def text_arrays(words: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return ``text.bytes`` and ``text.ends`` of a list of words."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([len(word) for word in encoded], dtype=np.int32)
    return np.frombuffer(b"".join(encoded), np.uint8), ends.astype(np.int32)
