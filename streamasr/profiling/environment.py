"""Device, versions and commit of a profile."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from .. import __version__

__all__ = ["environment"]


def environment() -> dict[str, object]:
    """Return device, versions and the commit, for JSON.

    STREAMASR_COMMIT names the commit of files that were copied out of their git checkout.
    """
    commit = os.environ.get("STREAMASR_COMMIT") or _commit()
    return {"device": _device(), "versions": _versions(), "commit": commit}


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _versions() -> dict[str, str | None]:
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = None
    versions = {
        "streamasr": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "triton": triton,
    }
    if torch.cuda.is_available():
        versions["cuda"] = torch.version.cuda
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        versions["cudnn"] = str(cudnn)
    return versions


def _commit() -> str | None:
    """The commit of this file's repository, ``-dirty`` if changed since; None if not tracked."""
    file = Path(__file__).resolve()
    tracked = ["ls-files", "--error-unmatch", file.name]
    describe = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
    answer = ""
    for command in (tracked, describe):
        try:
            done = subprocess.run(
                ["git", "-C", str(file.parent), *command],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        answer = done.stdout.strip()
    return answer
