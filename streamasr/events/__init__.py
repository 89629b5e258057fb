"""The output of recognition: events, transcript formats, and files that are saved as they grow."""

from .event import Event, agreement, event_schema

__all__ = ["Event", "agreement", "event_schema"]
