"""The frontend's torchaudio leaves other people's alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import json, sys, torch
def attempt():
    try:
        import torchaudio
    except OSError as error:
        return type(error).__name__
    return torchaudio.__version__
def modules():
    return sorted(name for name in sys.modules if name.partition(".")[0] == "torchaudio")
if sys.argv[1] == "broken":
    def fail(path):
        raise OSError(path)
    torch.ops.load_library = fail
first = attempt() if "before" in sys.argv else None
known = modules()
from streamasr.acoustic._torchaudio import torchaudio as ours
from streamasr.acoustic.frontend import Frontend, FrontendConfig
frames = Frontend(FrontendConfig()).log_mel(torch.linspace(-1, 1, 4000).sin())
print(json.dumps([first, known, modules(), attempt(), frames.double().sum().item(), ours.__name__]))
"""


def run(*arguments: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_extension_that_cannot_load_is_left_so(when):
    first, known, found, afterwards, total, _ = run("broken", when)
    assert found == known
    assert first in (None, "OSError")
    assert afterwards == "OSError"
    assert total == pytest.approx(run("as it is")[4], rel=1e-6)


def test_the_mel_filters_are_torchaudios():
    """Slaney-free HTK triangles, computed here in float64 from the definition."""
    from streamasr.acoustic.frontend import Frontend, FrontendConfig

    c = FrontendConfig()
    torch.manual_seed(0)
    samples = torch.randn(4_000)
    window = torch.hann_window(c.win_length, periodic=True, dtype=torch.float64)
    left = (c.n_fft - c.win_length) // 2
    window = torch.nn.functional.pad(window, (left, c.n_fft - c.win_length - left))
    frames = samples.double().unfold(0, c.n_fft, c.hop_length) * window
    power = torch.fft.rfft(frames).abs() ** 2
    edges = torch.tensor([c.f_min, c.f_max], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + edges / 700)).tolist()
    mel = torch.linspace(low, high, c.n_mels + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, c.sample_rate / 2, c.n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    energy = power @ torch.minimum(rising, falling).clamp(min=0)
    expected = torch.log(energy + c.log_floor)
    found = Frontend(c).log_mel(samples).double()
    assert ((found - expected).norm() / expected.norm()).item() < 1e-5
