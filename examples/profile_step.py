"""What a timestep of the LSTM costs here, by backend: python examples/profile_step.py"""

import time

import torch
from persistent_lstm import LayerWeights, lstm, lstm_reference

L, B, T, H = 4, 1, 32, 512
torch.manual_seed(0)
weights = [
    LayerWeights(
        *(
            (torch.randn(*size) * H**-0.5).half().float()
            for size in ((4 * H, H), (4 * H, H), (4 * H,), (4 * H,))
        )
    )
    for _ in range(L)
]
x = torch.randn(T, B, H)
with torch.inference_mode():
    exact, _ = lstm_reference(
        x.double(), [LayerWeights(*(w.double() for w in layer)) for layer in weights]
    )
    for backend in ("torch", "cpu"):
        y, state = lstm(x, weights, backend=backend)  # compiled, packed
        began = time.perf_counter()
        for _ in range(20):
            y, state = lstm(x, weights, backend=backend)
        microseconds = 1e6 * (time.perf_counter() - began) / 20 / T
        error = (y.double() - exact).norm() / exact.norm()
        print(f"{backend:6} {microseconds:8.1f} µs a timestep, relative error {error:.1e}")
