"""What a timestep of the LSTM costs: each backend beside the others and beside the floor."""

from .backends import BACKENDS, Backend, backends_here
from .cells import DTYPES, Cell, Problem, cells_of
from .environment import environment
from .floor import Floor, floor_of
from .measure import Measured, measure
from .sweep import Profile, Row, Settings, plans, profile

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "Cell",
    "Floor",
    "Measured",
    "Problem",
    "Profile",
    "Row",
    "Settings",
    "backends_here",
    "cells_of",
    "environment",
    "floor_of",
    "measure",
    "plans",
    "profile",
]
