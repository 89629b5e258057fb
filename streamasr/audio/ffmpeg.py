"""Everything that FFmpeg reads, through PyAV: WAV, FLAC, Ogg, MP3, MP4/M4A, WebM, MKV, WMA…"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .bytestream import Readable, Window, tell_of_unread
from .decoder import Damaged, NotAudio, Samples, block_frames
from .frames import as_samples
from .headers import Stated
from .timeline import Timeline
from .tracks import candidates, choose_track, describe, sounding_track

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

__all__ = ["UNREADABLE", "FfmpegDecoder"]

MATROSKA = "matroska,webm"
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
# Containers whose header states the length; `WavPart` knows that of a WAV. Elsewhere FFmpeg
# guesses it from the bit rate.
STATING_LENGTH = {
    MP4,
    MATROSKA,
    "asf",
    "avi",
    "flac",
    "aiff",
    "au",
    "caf",
    "w64",
    "wv",
    "ape",
    "tta",
}
# Containers with timestamps of their own. Elsewhere FFmpeg counts bytes or frames.
TIMED = {MP4, MATROSKA, "asf", "flv", "nut", "ogg", "mpegts", "mpeg"}
# Those in which time begins at 0. Elsewhere it begins anywhere.
FROM_ZERO = {MP4, MATROSKA, "asf", "avi", "flv", "nut"}
LATEST_START = 60.0
"""A container that begins later than this was cut out of a longer one."""
TIME_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
# Encoder delay and padding make decoded and stated length differ by up to a codec frame.
TOLERANCE = 0.1
UNREADABLE = "is not a recording that can be read: not audio, damaged or cut short"


class FfmpegDecoder:
    """One audio track of a container.

    Args:
        source: where the bytes come from, at their start; FFmpeg goes back and forth in a `Window`.
        live: yield each decoded frame at once instead of collecting blocks.
        track: number or language of the track; None is the default one that is not silent.
        note: called with what a listener should know.
        options: for FFmpeg's demuxer.
        stated: what the header states and FFmpeg does not expose.

    Raises:
        NotAudio: FFmpeg cannot open it or it has no such audio track that can be decoded.
    """

    def __init__(
        self,
        source: Readable,
        *,
        live: bool,
        track: int | str | None,
        note: Callable[[str], None],
        options: Mapping[str, str] | None = None,
        stated: Stated = Stated(),  # noqa: B008  (immutable)
    ) -> None:
        import av

        self._source = source
        self._live = live
        self._stated = stated
        self._note = note
        self._chosen_by_user = track is not None
        try:
            # Playlists must not make FFmpeg open other files or addresses.
            whole = {"protocol_whitelist": "none", **(options or {})}
            self._container: InputContainer = av.open(source, "r", options=whole)
        except (av.FFmpegError, OSError):
            raise NotAudio(UNREADABLE) from None
        self._format = self._container.format.name
        try:
            if self._format == "tty" or self._format.endswith("_pipe"):
                raise NotAudio(UNREADABLE)  # a text or an image
            self._stream, self._tracks = choose_track(self._container, track)
        except NotAudio:
            self._container.close()
            raise
        context = self._stream.codec_context
        self.sample_rate: int = context.sample_rate
        self.channels: int = context.channels
        self._zero = self._beginning()
        self._end: float | None = None
        self.duration = self._stated_length()
        self._timeline = Timeline(self._zero, note)
        self._bad_inside = self._bad_at_end = 0

    def read(self) -> Iterator[tuple[Samples, int]]:
        """Yield samples of shape (frames, channels), and the rate."""
        waiting: list[Samples] = []
        frames = 0
        rate = self.sample_rate
        for samples, frame_rate in self._timed():
            if waiting and (frame_rate, samples.shape[1]) != (rate, waiting[0].shape[1]):
                yield np.concatenate(waiting), rate
                waiting, frames = [], 0
            rate = frame_rate
            most = block_frames(rate, samples.shape[1])
            for start in range(0, len(samples), most):  # an 8SVX is one frame
                waiting.append(samples[start : start + most])
                frames += len(waiting[-1])
                if self._live or frames >= most:
                    yield np.concatenate(waiting), rate
                    waiting, frames = [], 0
        if waiting:
            yield np.concatenate(waiting), rate
        self._timeline.end()
        self._check_complete()

    def _timed(self) -> Iterator[tuple[Samples, int]]:
        """Yield decoded frames, and the silence between them."""
        timed = self._format in TIMED
        for first, frame in enumerate(self._chosen_frames()):
            time = frame.time if timed or not first else None
            rate = frame.sample_rate
            exact = self._stream.codec_context.name.startswith("pcm_f")
            samples = as_samples(frame, clip=not exact)
            silent = round(self._timeline.silence_before(time) * rate)
            most = block_frames(rate, samples.shape[1])
            for start in range(0, silent, most):
                yield np.zeros((min(most, silent - start), samples.shape[1]), np.float32), rate
            self._timeline.advance(len(samples) / rate)
            yield samples, rate

    def _chosen_frames(self) -> "Iterator[AudioFrame]":
        """Yield the frames of one track, which is found out where the default one is silent."""
        listening = [self._stream]
        if len(self._tracks) > 1 and not self._chosen_by_user:
            listening = candidates(self._tracks, self._stream)

        def decide(track: "AudioStream") -> None:
            listening[:] = [track]
            why = ""
            if track is not self._stream:
                why = ", since the default one is silent"
                self._stream, self._end = track, None
                self._stated_length()
            if len(self._tracks) > 1 and not self._chosen_by_user:
                self._note(describe(self._tracks, track, why))

        frames = self._frames(listening)
        for _, frame in sounding_track(frames, self._stream, decide):
            yield frame

    def _frames(self, listening: "list[AudioStream]") -> "Iterator[tuple[AudioStream, AudioFrame]]":
        """Yield all frames of some tracks, stepping over packets that cannot be decoded."""
        import av

        packets = self._container.demux(listening)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except (av.FFmpegError, OSError):  # the container ends here; the generator too
                self._bad_inside += 1
                return
            track = next((each for each in listening if each is packet.stream), None)
            if track is None:
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                # Joined MP3 files carry their tags along.
                self._bad_at_end += bytes(packet)[:3] not in (b"ID3", b"TAG")
                continue
            for frame in decoded:
                self._bad_inside += self._bad_at_end
                self._bad_at_end = 0
                yield track, frame  # type: ignore[misc]  # an audio track's

    def _check_complete(self) -> None:
        bad = self._bad_inside
        if self._format != "mp3":  # tags after the last frame are no damage there
            bad += self._bad_at_end
        short = self._end is not None and self._end - self._timeline.position > TOLERANCE
        if bad or short:
            raise Damaged(self._end)
        # Attachments and cues may stand behind the sound of a Matroska file.
        if isinstance(self._source, Window) and self._format != MATROSKA:
            tell_of_unread(self._source.size() - self._source.seen, self._note)

    def _beginning(self) -> float:
        """Return the timestamp at which the recording begins: where other tracks do, too."""
        start = (self._container.start_time or 0) / 1e6
        if self._format not in FROM_ZERO:
            return start
        if start > LATEST_START:
            self._note(f"its timestamps begin at {start:.2f} s: times are counted from there")
            return start
        return min(0.0, start)

    def _stated_length(self) -> float | None:
        """Return the stated seconds of sound, and keep the position at which it shall end."""
        stream, container = self._stream, self._container
        base = stream.time_base or 0
        length = float((stream.duration or 0) * base) * self._stated.bytes_by_size
        if self._format == "caf" and stream.codec_context.name.startswith("pcm_"):
            # FFmpeg's duration is that of the bytes which are there.
            length = max(length, stream.frames / self.sample_rate)
        if self._format == "mp3":
            # FFmpeg falls back to a guess for a file longer than its header says.
            frame = (576 if self.sample_rate < 32_000 else 1_152) / self.sample_rate
            if 0 < length < self._stated.mp3_frames * frame + TOLERANCE:
                self._end = length
            return self._end
        if self._format not in STATING_LENGTH:
            return None
        if length:
            start = float((stream.start_time or 0) * base) - self._zero
            self._end = length + (start if self._format in TIMED else 0.0)
        # Matroska states the time at which the track ends, not its length.
        elif tag := TIME_TAG.fullmatch(stream.metadata.get("DURATION", "")):
            self._end = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - self._zero
        elif container.duration and len(container.streams) == 1:
            self._end = container.duration / 1e6 - self._zero
        return self._end

    def close(self) -> None:
        """Close the container; the bytes' source stays open."""
        self._container.close()
