"""The rare formats that FFmpeg does not know and libsndfile does: HTK, MAT, NMS ADPCM…"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import soundfile

from .bytestream import Window, tell_of_unread
from .decoder import Damaged, NotAudio, Samples, block_frames

__all__ = ["SndfileDecoder", "known_to_sndfile"]

# libsndfile cuts a size that goes beyond the end of the file and says so only in its log.
CUT_SIZE = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
# Writers that miscount a header by a few bytes lose no audio.
TOLERANCE = 0.01


class SndfileDecoder:
    """A file read through libsndfile.

    Args:
        file: at its start; it stays open.
        note: called with what a listener should know.

    Raises:
        NotAudio: libsndfile does not know it.
    """

    def __init__(self, file: Window, note: Callable[[str], None]) -> None:
        self._window = file
        self._note = note
        self._file = _open(file)
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        available = self._file.frames / self.sample_rate
        self.duration: float | None = _stated_seconds(self._file.extra_info, available)

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        size = block_frames(self.sample_rate, self.channels)
        frames = 0
        while True:
            try:
                block: Samples = self._file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                break
            if not len(block):
                break
            frames += len(block)
            yield block, self.sample_rate
        if self.duration is not None and self.duration - frames / self.sample_rate > TOLERANCE:
            raise Damaged(self.duration)
        tell_of_unread(self._window.size() - self._window.seen, self._note)

    def close(self) -> None:
        """Close libsndfile's side of it."""
        self._file.close()


def known_to_sndfile(file: Any) -> bool:
    """Whether libsndfile recognises the beginning of a file, which may be all there is."""
    try:
        _open(file).close()
    except NotAudio:
        return False
    return True


def _open(file: Any) -> soundfile.SoundFile:
    head = file.read(2)
    file.seek(0)
    # MPEG is FFmpeg's: libmpg123 inside libsndfile writes about damage to stderr.
    if head[:2] == b"ID" or (len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        raise NotAudio("MPEG")
    try:
        return soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        raise NotAudio(str(error)) from None


def _stated_seconds(log: str, available: float) -> float:
    """Seconds that the header promises, given the seconds that the file has room for."""
    cut = CUT_SIZE.search(log)
    if cut is None or not int(cut[2]):
        return available
    return max(available, available * int(cut[1]) / int(cut[2]))
