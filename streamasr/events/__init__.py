"""What recognition tells, and how it is written down: events, transcripts, files that grow."""

from .event import Event, agreement, event_schema

__all__ = ["Event", "agreement", "event_schema"]
