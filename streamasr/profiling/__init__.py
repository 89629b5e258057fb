"""Profile a timestep of the LSTM: each backend beside the others and beside the floor."""

from .backends import BACKENDS, Backend, backends_here
from .cells import DTYPES, Cell, Problem, cells_of
from .floor import Floor, floor_of
from .sweep import Profile, Row, Settings, plans, profile

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "Cell",
    "Floor",
    "Problem",
    "Profile",
    "Row",
    "Settings",
    "backends_here",
    "cells_of",
    "floor_of",
    "plans",
    "profile",
]
