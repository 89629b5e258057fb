"""Settings of an adaptation."""

from __future__ import annotations

from pydantic import Field

from ..training.config import AugmentConfig
from ..validated import Settings
from .parameters import Method

__all__ = ["AdaptationConfig", "gentle_variation"]


def gentle_variation() -> AugmentConfig:
    """Return how the audio is varied: less than in training, for this voice is to be learned."""
    return AugmentConfig(
        from_epoch=0,
        speed=0.05,
        gain_db=4,
        noise_probability=0.2,
        snr_db=(15.0, 35.0),
        room_probability=0,
        silence_probability=0,
        padding_seconds=0.2,
        equaliser_db=0.5,
        low_pass_probability=0,
        frequency_masks=2,
        frequency_width=12,
        time_masks_per_second=0.4,
        time_width_seconds=0.15,
    )


class AdaptationConfig(Settings):
    """How a model is adapted.

    ``folds`` parts of the recordings are held out in turn, or as few of them as have
    ``held_out_seconds`` together: they decide how long to train and whether to keep the result.
    ``patience`` epochs without a lower loss there end the trainings, and so do ``epochs``; all
    together take at most ``minutes``. ``distillation`` is the weight of the distance to the first
    model's answers.

    Recordings without transcript need words of ``least_confidence`` in the mean; a transcript that
    is less likely than the best hypothesis by more than ``most_misfit`` nats a phone is taken for
    another recording's.
    """

    method: Method = "scales"
    rank: int = Field(4, gt=0, description="of the changes of low-rank")
    learning_rate: float = Field(1e-2, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(5.0, gt=0)
    distillation: float = Field(0.0, ge=0, lt=1)
    batch_seconds: float = Field(40.0, gt=0)
    least_confidence: float = Field(0.8, ge=0, le=1)
    most_misfit: float = Field(2.0, gt=0)
    folds: int = Field(3, gt=1)
    held_out_seconds: float = Field(90.0, gt=0)
    epochs: int = Field(6, gt=0)
    patience: int = Field(1, gt=0)
    minutes: float = Field(8.0, gt=0)
    seed: int = 1
    augment: AugmentConfig = Field(default_factory=gentle_variation)
