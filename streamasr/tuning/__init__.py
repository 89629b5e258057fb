"""Choose the beam search's weights on labelled recordings, and calibrate its confidence."""

from .bootstrap import bootstrap_interval
from .calibration import calibrated
from .posteriors import Posteriors, posteriors, stored_posteriors
from .run import Trial, Tuning, tune

__all__ = [
    "Posteriors",
    "Trial",
    "Tuning",
    "bootstrap_interval",
    "calibrated",
    "posteriors",
    "stored_posteriors",
    "tune",
]
