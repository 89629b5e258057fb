"""Build a model folder's search graph: ``python -m streamasr.decoding.graph ARPA LEXICON FOLDER``.

The folder's ``phones.txt``, or ``tokens.txt`` where it has none, says what the lexicon spells in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ...acoustic.model import read_spelling_tokens
from ...errors import StreamasrError
from . import GRAPH, build_graph, save_graph


def main(arguments: list[str]) -> int:
    """Build the graph; return the exit code."""
    if len(arguments) != 3:
        print("usage: python -m streamasr.decoding.graph ARPA LEXICON FOLDER", file=sys.stderr)
        return 2
    arpa, lexicon, folder = map(Path, arguments)
    try:
        graph = build_graph(arpa, lexicon, read_spelling_tokens(folder))
        save_graph(folder, graph)
    except StreamasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = (folder / GRAPH).stat().st_size / 1e6
    counts = f"{len(graph.text_ends)} words, {len(graph.lm.arcs)} n-grams above unigrams"
    print(f"{folder / GRAPH}: {counts}, {size:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
