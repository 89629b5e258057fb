"""Files that libsndfile reads: WAV, FLAC, Ogg, AIFF, AU, CAF, W64…"""

import os
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import soundfile

from .decoder import Damaged, NotAudio, Samples, block_frames

__all__ = ["SndfileDecoder"]

# Sizes that a program writes which cannot go back to the header: FFmpeg 0xFFFFFFFF, SoX
# 0x7FFFF000, arecord 0x7FFFFFFF or 0x80000000. They promise nothing.
STREAMING_SIZE = 0x7FFF0000
# libsndfile cuts a size that goes beyond the end of the file and says so only in its log.
CUT_SIZE = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
RIFF_SIZE = re.compile(r"^RIFF : (\d+)", re.MULTILINE)
UNKNOWN_FRAMES = 2**62
# Writers that miscount a header by a few bytes lose no audio.
TOLERANCE = 0.01


class SndfileDecoder:
    """A file read through libsndfile, and through FFmpeg from where libsndfile gives up.

    Raises:
        NotAudio: libsndfile cannot read all of it.
    """

    def __init__(self, path: Path) -> None:
        try:
            # soundfile encodes a name strictly, which fails for one that is not UTF-8.
            name = path if sys.platform == "win32" else os.fsencode(path)
            self._file = soundfile.SoundFile(name)
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a name in .raw
            raise NotAudio(str(error)) from None
        log: str = self._file.extra_info
        frames: int = self._file.frames
        # A FLAC whose writer did not know its length loses its last block here, and a WAV of
        # the same kind, with a data size of 0, seems empty; FFmpeg reads both to the end.
        if frames >= UNKNOWN_FRAMES or (frames == 0 and _unfinished_riff(log, path)):
            self._file.close()
            raise NotAudio("of unknown length")
        self._path = path
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self._available: float = frames / self.sample_rate
        self.duration: float | None = _stated_seconds(log, self._available)

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        size = block_frames(self.sample_rate, self.channels)
        frames = 0
        failed = False
        while True:
            try:
                block: Samples = self._file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                failed = True
                break
            if not len(block):
                break
            frames += len(block)
            yield block, self.sample_rate
        decoded = frames / self.sample_rate
        if failed or frames < self._file.frames:
            whole = yield from self._salvage(decoded)
            # libsndfile calls some whole Opus files malformed.
            if not (whole and self._file.format == "OGG"):
                raise Damaged(self.duration)
            decoded = self._available
        if self.duration is not None and self.duration - decoded > TOLERANCE:
            raise Damaged(self.duration)
        if self._file.format == "OGG" and _ends_within_page(self._path):
            raise Damaged(None, "cut short")

    def _salvage(self, start: float) -> Generator[tuple[Samples, int], None, bool]:
        """Yield what FFmpeg, which steps over damage, decodes after `start` seconds.

        Returns whether it decoded all that the file states, without meeting damage.
        """
        from .ffmpeg import TOLERANCE as CODEC_DELAY
        from .ffmpeg import open_file

        seconds = 0.0
        try:
            decoder = open_file(self._path)
        except NotAudio:
            return False
        try:
            skip = round(start * decoder.sample_rate)
            for block, rate in decoder.read():
                if len(block) > skip:
                    yield block[skip:], rate
                skip = max(0, skip - len(block))
                seconds += len(block) / rate
        except Damaged:
            return False
        finally:
            decoder.close()
        return self._available - seconds <= CODEC_DELAY

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _stated_seconds(log: str, available: float) -> float:
    """Seconds that the header promises, given the seconds that the file has room for."""
    cut = CUT_SIZE.search(log)
    if cut is None:
        return available
    stated, actual = int(cut[1]), int(cut[2])
    if stated >= STREAMING_SIZE or actual == 0:
        return available
    return max(available, available * stated / actual)


def _unfinished_riff(log: str, path: Path) -> bool:
    riff = RIFF_SIZE.search(log)
    return riff is not None and int(riff[1]) + 8 < path.stat().st_size


def _ends_within_page(path: Path) -> bool:
    """Whether the last page of an Ogg file (RFC 3533) is longer than what is left of the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * 65_307))  # the longest page is 65,307 bytes
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return False
    header = tail[page : page + 27]
    if len(header) < 27:
        return True
    table = tail[page + 27 : page + 27 + header[26]]
    return page + 27 + header[26] + sum(table) > len(tail)
