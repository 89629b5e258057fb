"""FFmpeg's frames as samples."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .decoder import LOUDEST, Samples

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = ["as_samples"]


def as_samples(frame: "AudioFrame", *, clip: bool = False) -> Samples:
    """Return a frame as float32 of shape (frames, channels), full scale ±1.

    With `clip`, values beyond `LOUDEST` are cut to it: what a damaged MP3 may decode to.
    """
    data: npt.NDArray[Any] = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))
    if data.dtype.kind == "u":  # unsigned 8-bit, silence at 128
        data = (data.astype(np.float32) - 128) / 128
    elif data.dtype.kind == "i":
        data = data / 2.0 ** (8 * data.dtype.itemsize - 1)
    with np.errstate(over="ignore"):  # becomes infinite, which is reported
        samples = np.ascontiguousarray(data, dtype=np.float32)
    if clip and samples.size and not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):
        # NaN stays, and is reported.
        return samples.clip(-LOUDEST, LOUDEST)
    return samples
