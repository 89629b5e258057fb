"""From posteriors to words."""

from .greedy import GreedyDecoder, GreedyState

__all__ = ["GreedyDecoder", "GreedyState"]
