"""Validate options before a model is loaded, which takes seconds."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import typer

from ..errors import ModelError, StreamasrError
from ..hotwords import Hotword

__all__ = [
    "check_address",
    "check_certificate",
    "check_gpu",
    "check_model",
    "finite",
    "folded_note",
]

_MOST_NAMED = 5


def check_model(model: Path | None) -> None:
    """Raise ModelError for a model folder that is not there."""
    if model is not None and not model.is_dir():
        raise ModelError(f"{model}: no such model folder")


def check_gpu(backend: str) -> None:
    """Raise ModelError where the kernels have no GPU to run on."""
    import torch

    if not torch.cuda.is_available():
        raise ModelError(
            f"--backend {backend} needs an NVIDIA GPU, and PyTorch sees none here: "
            "use auto or torch"
        )


def folded_note(hotwords: Sequence[Hotword]) -> str | None:
    """Return which hotwords are looked for in another spelling than the file's, if any are."""
    changed = [
        f"{phrase.text!r} is matched as {' '.join(phrase.words)!r}"
        for phrase in hotwords
        if phrase.is_folded
    ]
    if not changed:
        return None
    more = len(changed) - _MOST_NAMED
    tail = f"; and {more} more" if more > 0 else ""
    return f"hotwords have letters a to z: {'; '.join(changed[:_MOST_NAMED])}{tail}"


def check_address(host: str, port: int) -> None:
    """Raise StreamasrError for an address that cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise StreamasrError(
            f"{host}:{port} cannot be listened on ({error}): choose another --host or --port"
        ) from error


def check_certificate(certificate: Path, key: Path) -> None:
    """Raise StreamasrError for what is no certificate and its key."""
    for path in (certificate, key):
        if not path.is_file():
            raise StreamasrError(f"{path}: there is no such file")
    try:
        if b"ENCRYPTED" in key.read_bytes():
            return  # the server asks for its password
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:
        raise StreamasrError(
            f"{certificate}, {key}: not a certificate and its key, both PEM ({error})"
        ) from error


def finite(value: float | None) -> float | None:
    """Refuse inf and nan for an option that has no upper bound."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds")
    return value
