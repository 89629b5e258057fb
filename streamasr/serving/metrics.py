"""Metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["Metrics"]

_LATENCIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)  # memory, CPU time, open files
        self.streams = Gauge("streamasr_streams", "Open streams.", registry=r)
        self.refused = Counter("streamasr_refused", "Streams refused: full.", registry=r)
        self.opened = Counter("streamasr_opened", "Streams opened.", ["protocol"], registry=r)
        self.errors = Counter("streamasr_errors", "Streams ended early.", ["reason"], registry=r)
        self.audio_seconds = Counter("streamasr_audio_seconds", "Audio recognised.", registry=r)
        self.waiting_seconds = Gauge(
            "streamasr_waiting_seconds", "Audio queued before the model.", registry=r
        )
        self.tick_seconds = Histogram(
            "streamasr_tick_seconds",
            "A pass of the model over all streams with audio.",
            buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
            registry=r,
        )
        self.rows = Histogram(
            "streamasr_rows",
            "Streams in a pass.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
            registry=r,
        )
        self.latency = Histogram(
            "streamasr_latency_seconds",
            "From the arrival of a word's last sample to the event that shows it.",
            ["type"],
            buckets=_LATENCIES,
            registry=r,
        )
        self.upload_rtf = Histogram(
            "streamasr_upload_rtf",
            "Real-time factor of uploads.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
            registry=r,
        )
