"""Audio input: any file or pipe, read as blocks of 16 kHz mono float32 samples.

with open_audio("interview.m4a") as audio:
    for block in audio.blocks():
        stream.accept(block)
"""

from .audiofile import AudioFile
from .decoder import BLOCK_SECONDS
from .files import open_audio, open_raw
from .resample import SAMPLE_RATE, Resampler

__all__ = ["BLOCK_SECONDS", "SAMPLE_RATE", "AudioFile", "Resampler", "open_audio", "open_raw"]
