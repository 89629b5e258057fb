"""The search graph: a lexicon's prefix tree and an n-gram model as flat, mapped arrays."""

from .build import build_graph, graph_of
from .storage import GRAPH, SearchGraph, load_graph, save_graph

__all__ = ["GRAPH", "SearchGraph", "build_graph", "graph_of", "load_graph", "save_graph"]
