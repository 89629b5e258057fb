"""Many callers, one model: ``streamasr serve``."""

from .app import create_app
from .settings import ServeSettings

__all__ = ["ServeSettings", "create_app"]
