"""Everything that FFmpeg reads, through PyAV: MP3, MP4/M4A, WebM, MKV, WMA, pipes…"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .decoder import Damaged, NotAudio, Samples, block_frames
from .raw import read_some

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

__all__ = ["FfmpegDecoder", "open_file", "open_pipe"]

# Containers whose header states the length. Elsewhere FFmpeg guesses it from the bit rate.
STATING_LENGTH = {
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "flac", "aiff", "au", "caf"),
    *("wav", "w64", "wv", "ape", "tta"),
}
TIME_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
# The flags' last bit says that the count of frames follows.
XING = re.compile(
    rb"\xff.{1,200}?(?:Xing|Info)\0\0\0[\x01\x03\x05\x07\x09\x0b\x0d\x0f](.{4})", re.DOTALL
)
# Encoder delay and padding make decoded and stated length differ by up to a codec frame.
TOLERANCE = 0.1
UNREADABLE = "is not a recording that can be read: not audio, damaged or cut short"
NO_INDEX = "cannot be read: its index (moov) is missing or damaged, so it was probably cut short"


class FfmpegDecoder:
    """One audio track, the default one, of a container.

    Args:
        file: where the bytes come from, at its start; needs only `read` when it is a pipe.
        live: yield each decoded frame at once instead of collecting blocks.
        mp3_frames: MP3 frames that an MP3's header states, 0 if it states none.

    Raises:
        NotAudio: FFmpeg cannot open it or it has no audio track that can be decoded.
    """

    def __init__(self, file: "BinaryIO | Pipe", *, live: bool, mp3_frames: int) -> None:
        import av

        self._file = file
        self._live = live
        self._mp3_frames = mp3_frames
        try:
            # Playlists must not make FFmpeg open other files or addresses.
            options = {"protocol_whitelist": "none"}
            source = file if isinstance(file, Pipe) else Nameless(file)
            self._container: InputContainer = av.open(source, "r", options=options)
        except (av.FFmpegError, OSError):
            raise NotAudio(UNREADABLE) from None
        try:
            self._stream = _audio_stream(self._container)
        except NotAudio:
            self._container.close()
            raise
        context = self._stream.codec_context
        self.sample_rate: int = context.sample_rate
        self.channels: int = context.channels
        self._from_zero = False
        self.duration: float | None = self._stated_length()
        self._decoded = self._start = 0.0
        self._bad_inside = self._bad_at_end = 0

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        waiting: list[Samples] = []
        frames = 0
        rate = self.sample_rate
        for frame in self._frames():
            samples = _samples(frame)
            changed = waiting and (
                frame.sample_rate != rate or samples.shape[1] != waiting[0].shape[1]
            )
            if changed:
                yield np.concatenate(waiting), rate
                waiting, frames = [], 0
            rate = frame.sample_rate
            waiting.append(samples)
            frames += len(samples)
            if self._live or frames >= block_frames(rate, samples.shape[1]):
                yield np.concatenate(waiting), rate
                waiting, frames = [], 0
        if waiting:
            yield np.concatenate(waiting), rate
        self._check_complete()

    def _frames(self) -> "Iterator[AudioFrame]":
        """Yield all frames, stepping over packets that cannot be decoded."""
        import av

        packets = self._container.demux(self._stream)
        first = True
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except (av.FFmpegError, OSError):  # the container ends here; the generator too
                self._bad_inside += 1
                return
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                # Joined MP3 files carry their tags along.
                self._bad_at_end += bytes(packet)[:3] not in (b"ID3", b"TAG")
                continue
            for frame in decoded:
                self._bad_inside += self._bad_at_end
                self._bad_at_end = 0
                if first and frame.time is not None:
                    self._start = frame.time
                first = False
                self._decoded += frame.samples / frame.sample_rate
                yield frame

    def _check_complete(self) -> None:
        bad = self._bad_inside
        if self._container.format.name != "mp3":  # tags after the last frame are no damage there
            bad += self._bad_at_end
        total = self.duration
        if total is not None and self._from_zero:
            total -= self._start
        if bad or (total is not None and total - self._decoded > TOLERANCE):
            raise Damaged(total)

    def _stated_length(self) -> float | None:
        stream, container = self._stream, self._container
        length = float((stream.duration or 0) * (stream.time_base or 0))
        if container.format.name == "mp3":
            # FFmpeg falls back to a guess for a file longer than its header says.
            frame = (576 if self.sample_rate < 32_000 else 1_152) / self.sample_rate
            return length if 0 < length < self._mp3_frames * frame + TOLERANCE else None
        if container.format.name not in STATING_LENGTH:
            return None
        if length:
            return length
        # Matroska states the time at which the track ends, not its length.
        self._from_zero = True
        if tag := TIME_TAG.fullmatch(stream.metadata.get("DURATION", "")):
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        if container.duration and len(container.streams) == 1:
            return container.duration / 1e6
        return None

    def close(self) -> None:
        """Close the container, and the file unless it is standard input."""
        self._container.close()
        if not isinstance(self._file, Pipe):
            self._file.close()


class Pipe:
    """A pipe for PyAV: replays the bytes already looked at, then reads what is there."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return read_some(self._file, size)


class Nameless:
    """A file for PyAV without its name: FFmpeg would take any `.raw` for video, `.ul` for µ-law."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable


def open_file(path: Path) -> FfmpegDecoder:
    """Open a regular file. FFmpeg gets the file, not its name, which may look like an address."""
    file = path.open("rb")
    head = file.read(10)
    mp3_frames = _stated_mp3_frames(head, file)
    file.seek(0)
    try:
        return FfmpegDecoder(file, live=False, mp3_frames=mp3_frames)
    except NotAudio as problem:
        file.close()
        if _is_mp4(head) and str(problem) == UNREADABLE:
            raise NotAudio(NO_INDEX) from None
        raise


def open_pipe(file: BinaryIO) -> FfmpegDecoder:
    """Open a pipe; it is not closed at the end.

    An MP4, whose index is usually at its end, is first copied to a temporary file; so is a CAF.
    """
    head = b""
    while len(head) < 8 and (data := read_some(file, 8 - len(head))):
        head += data
    if not head:
        raise NotAudio("is empty (0 bytes)")
    if not _is_mp4(head) and head[:4] != b"caff":
        return FfmpegDecoder(Pipe(head, file), live=True, mp3_frames=0)
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (the decoder closes it)
    copy.write(head)
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    try:
        return FfmpegDecoder(copy, live=False, mp3_frames=0)
    except NotAudio as problem:
        copy.close()
        raise NotAudio(NO_INDEX if str(problem) == UNREADABLE else str(problem)) from None


def _audio_stream(container: "InputContainer") -> "AudioStream":
    from av import AudioStream

    if container.format.name == "tty" or container.format.name.endswith("_pipe"):
        raise NotAudio(UNREADABLE)  # a text or an image
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise NotAudio("contains no audio track")
    if stream.codec_context is None or stream.codec_context.sample_rate == 0:
        raise NotAudio("its audio track is in a format that FFmpeg here cannot decode")
    return stream


def _samples(frame: "AudioFrame") -> Samples:
    """Return a frame as float32 of shape (frames, channels), full scale ±1."""
    data: npt.NDArray[Any] = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, len(frame.layout.channels))
    if data.dtype.kind == "u":  # unsigned 8-bit, silence at 128
        data = (data.astype(np.float32) - 128) / 128
    elif data.dtype.kind == "i":
        data = data / 2.0 ** (8 * data.dtype.itemsize - 1)
    with np.errstate(over="ignore"):  # becomes infinite, which is reported
        return np.ascontiguousarray(data, dtype=np.float32)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] == b"ftyp"


def _stated_mp3_frames(head: bytes, file: BinaryIO) -> int:
    """Frame count in the Xing or Info header, the first frame after the ID3 tag; 0 without."""
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    header = XING.match(file.read(2048))
    return int.from_bytes(header[1]) if header else 0
