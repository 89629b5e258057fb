"""Choose the beam search's weights on labelled recordings, and calibrate its confidence."""

from .bootstrap import bootstrap_interval
from .calibration import calibrated
from .run import Trial, Tuning, tune

__all__ = ["Trial", "Tuning", "bootstrap_interval", "calibrated", "tune"]
