"""The models that come with the package."""

from pathlib import Path

__all__ = ["PRETRAINED"]

PRETRAINED = Path(__file__).parent / "en"
"""The folder of the bundled English model."""
