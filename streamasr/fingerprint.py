"""Fingerprint a model folder, so that a result can name the model that made it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import ModelError

__all__ = ["fingerprint"]


def fingerprint(folder: Path) -> str:
    """Return 12 hex digits of all that words depend on: weights, language models, settings.

    The model card and hidden files do not count. Raises ModelError if the folder cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix != ".md" and not path.name.startswith("."):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                whole.update(path.name.encode(errors="surrogateescape") + b"\0" + digest)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"{folder}: no such model folder") from error
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror})") from error
    return whole.hexdigest()[:12]
