"""The beam search for many streams on a GPU; needs Triton, which importing this loads."""

from .search import CapturedStep, GpuSearch
from .state import GpuState, SearchOverflow

__all__ = ["CapturedStep", "GpuSearch", "GpuState", "SearchOverflow"]
