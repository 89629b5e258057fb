"""What the trainer hoards, and when it lets go."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from pathlib import Path
from streamasr.training.memory import give_freed_memory_back, keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

keep_freed_memory()
blocks = [torch.ones(1_000_000) for _ in range(50)]
del blocks
kept = resident()
give_freed_memory_back()
print(kept - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: glibc and /proc")
def test_freed_memory_is_kept_until_it_is_given_back():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 150
