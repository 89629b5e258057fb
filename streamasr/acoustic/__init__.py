"""From samples to posteriors: the acoustic model, advanced chunk by chunk, many streams at once."""

from .batch import ContinuousBatch, Ended
from .rows import AcousticOutput
from .second_pass import SecondPass, SecondPassInput, SecondPassState
from .stage import AcousticStage, AcousticState

__all__ = [
    "AcousticOutput",
    "AcousticStage",
    "AcousticState",
    "ContinuousBatch",
    "Ended",
    "SecondPass",
    "SecondPassInput",
    "SecondPassState",
]
