"""Write the acoustic model as ONNX, its state ``(h, C)`` an input and an output.

The graph is written operator by operator, of ONNX's operator set 17: what PyTorch's exporters trace
would depend on the kernels that the model runs on here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from persistent_lstm import NORM_EPSILON, LayerWeights
from torch import Tensor, nn

from ..acoustic.model import AcousticModel, Bundle
from ..acoustic.model.tdnn import BYPASS, FactoredTDNN, TDNNLayer, middle_frames

__all__ = ["MODEL", "SECOND", "export_onnx"]

MODEL, SECOND = "model.onnx", "second.onnx"
OPSET = 17
IR_VERSION = 9

Shape = Sequence[str | int | None]
"""Numbers, and names of what varies."""


def export_onnx(bundle: Bundle, folder: Path) -> list[Path]:
    """Write ``model.onnx`` and, for a model with a second pass, ``second.onnx``; return the paths.

    ``model.onnx`` maps ``frames (T, B, I)``, ``h (L, B, H)`` and ``C (L, B, H)`` to ``log_probs
    (T, B, V + P)`` of characters and phones, ``encoded (T, B, E)``, ``h_n`` and ``C_n``; a stream
    begins with zeros. ``second.onnx`` maps ``encoded (T, 1, E)`` of a whole segment to ``log_probs
    (T, 1, P)`` of phones. Weights are float32. The tokens, the frontend's settings and the delay
    are among the metadata, as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graphs = [(MODEL, _acoustic_graph(bundle.model))]
    if bundle.model.config.has_second_pass:
        graphs.append((SECOND, _second_graph(bundle.model)))
    metadata = {
        "tokens": json.dumps(bundle.tokens.symbols),
        "phones": json.dumps(bundle.phones.symbols if bundle.phones else ()),
        "frontend": bundle.config.frontend.model_dump_json(),
        "delay_seconds": json.dumps(bundle.config.delay_seconds),
    }
    paths = []
    for name, graph in graphs:
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        paths.append(folder / name)
        onnx.save(model, paths[-1])
    return paths


class _Graph:
    """Nodes and constants of a graph that is being built; every method returns a value's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Tensor | NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        array = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def many(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.many(operator, inputs, 1, **attributes)[0]

    def linear(self, x: str, layer: nn.Linear) -> str:
        y = self.one("MatMul", x, self.constant(layer.weight.T))
        return y if layer.bias is None else self.one("Add", y, self.constant(layer.bias))

    def norm(self, x: str, size: int) -> str:
        ones = self.constant(np.ones(size, np.float32))
        return self.one("LayerNormalization", x, ones, axis=-1, epsilon=NORM_EPSILON)

    def padded(self, x: str, before: int, behind: int) -> str:
        """``x (T, B, D)`` with that many timesteps of zeros before and behind it."""
        return self.one("Pad", x, self.integers(before, 0, 0, behind, 0, 0))

    def residual_lstm(
        self, r: str, weights: LayerWeights, state: tuple[str, str]
    ) -> tuple[str, str, str]:
        """``r + LSTM(norm(r))``; also the states ``(1, B, H)`` behind it."""
        hidden = weights.w_hh.shape[1]
        inputs = [
            self.norm(r, hidden),
            self.constant(_gates(weights.w_ih)[None]),
            self.constant(_gates(weights.w_hh)[None]),
            self.constant(np.concatenate([_gates(weights.b_ih), _gates(weights.b_hh)])[None]),
            "",
            *state,
        ]
        y, h, C = self.many("LSTM", inputs, 3, hidden_size=hidden)
        y = self.one("Squeeze", y, self.integers(1))
        return self.one("Add", r, y), h, C

    def finished(
        self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
    ) -> onnx.GraphProto:
        """Return the graph."""

        def infos(values: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)
                for value, shape in values.items()
            ]

        return helper.make_graph(self.nodes, name, infos(inputs), infos(outputs), self.constants)

    def name(self, value: str, output: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [output]))


def _gates(weights: Tensor) -> NDArray[np.float32]:
    """Return rows ordered as ONNX has its gates, input, output, forget, cell, of i, f, g, o."""
    i, f, g, o = np.split(weights.detach().float().cpu().numpy(), 4)
    ordered: NDArray[np.float32] = np.concatenate([i, o, f, g])
    return ordered


def _acoustic_graph(model: AcousticModel) -> onnx.GraphProto:
    c, g = model.config, _Graph()
    r = g.linear("frames", model.input)
    if model.convolutions is not None:
        bins = g.integers(-1, 1, c.input_size // c.n_mels, c.n_mels)
        maps = g.one("Reshape", "frames", bins)
        for layer in model.convolutions.layers:
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                rows, columns = (int(p) for p in layer.padding)
                maps = g.one(
                    "Conv",
                    maps,
                    g.constant(layer.weight),
                    g.constant(layer.bias),
                    strides=list(layer.stride),
                    pads=[rows, columns, rows, columns],
                )
                maps = g.one("Relu", maps)
        seen = g.linear(g.one("Flatten", maps), model.convolutions.project)
        leading = g.one("Slice", g.one("Shape", "frames"), g.integers(0), g.integers(2))
        shape = g.one("Concat", leading, g.integers(c.hidden_size), axis=0)
        r = g.one("Add", r, g.one("Reshape", seen, shape))
    last: tuple[list[str], list[str]] = ([], [])
    for index, weights in enumerate(model.lstm.weights):
        places = g.integers(index), g.integers(index + 1), g.integers(0)
        before = (g.one("Slice", "h", *places), g.one("Slice", "C", *places))
        r, *after = g.residual_lstm(r, weights, before)
        for states, state in zip(last, after, strict=True):
            states.append(state)
    r = g.norm(r, c.hidden_size)
    logits = g.linear(r, model.head)
    heads = [c.vocab_size, c.phone_size] if c.phone_size else [c.vocab_size]
    parts = g.many("Split", [logits, g.integers(*heads)], len(heads), axis=-1)
    normalised = [g.one("LogSoftmax", part, axis=-1) for part in parts]
    g.name(g.one("Concat", *normalised, axis=-1), "log_probs")
    g.name(_second_input(g, model, r), "encoded")
    for states, output in zip(last, ("h_n", "C_n"), strict=True):
        g.name(g.one("Concat", *states, axis=0), output)
    carried: Shape = [c.num_layers, "B", c.hidden_size]
    return g.finished(
        "streamasr acoustic model",
        {"frames": ["T", "B", c.input_size], "h": carried, "C": carried},
        {
            "log_probs": ["T", "B", c.output_size],
            "encoded": ["T", "B", c.encoded_size or c.hidden_size],
            "h_n": carried,
            "C_n": carried,
        },
    )


def _second_input(g: _Graph, model: AcousticModel, r: str) -> str:
    """What the second pass reads, ``r`` for a model without one."""
    c = model.config
    if not c.tdnn:
        return r
    places = middle_frames(torch.arange(c.input_size), c.tdnn.frames, c.n_mels).tolist()
    first, behind = g.integers(places[0]), g.integers(places[-1] + 1)
    return g.one("Slice", "frames", first, behind, g.integers(2))


def _second_graph(model: AcousticModel) -> onnx.GraphProto:
    c, g = model.config, _Graph()
    assert model.tdnn is not None
    g.name(_time_delay_network(g, model.tdnn, "encoded"), "log_probs")
    return g.finished(
        "streamasr second pass",
        {"encoded": ["T", 1, c.encoded_size]},
        {"log_probs": ["T", 1, c.phone_size]},
    )


def _time_delay_network(g: _Graph, network: FactoredTDNN, x: str) -> str:
    c, front = network.config, network.front
    x = g.padded(x, c.delay, 0)
    maps = g.one("Reshape", x, g.integers(1, 1, -1, network.input_size // c.frames))
    for conv, pads in ((front.conv1, [1, 1, 1, 1]), (front.conv2, [0, 1, 0, 1])):
        assert conv.bias is not None
        filters = g.constant(conv.weight), g.constant(conv.bias)
        maps = g.one("Conv", maps, *filters, strides=list(conv.stride), pads=pads)
        maps = g.one("Relu", maps)
    rows = g.one("Transpose", maps, perm=[2, 0, 3, 1])
    rows = g.one("Reshape", rows, g.integers(0, 1, -1))
    offset, *offsets = network.offsets
    r = g.one("Relu", g.linear(g.linear(rows, front.down), front.up))
    r = g.one("Add", r, g.constant(offset))
    for layer, offset in zip(network.layers, offsets, strict=True):
        assert isinstance(layer, TDNNLayer)
        d = layer.dilation
        narrow = g.linear(_pairs(g, g.padded(r, d, d), d), layer.down)
        y = g.one("Relu", g.linear(_pairs(g, narrow, d), layer.up))
        y = g.one("Add", y, g.constant(offset))
        if layer.squeeze is not None and layer.excite is not None:
            squeezed = g.one("Relu", g.linear(_mean(g, r, layer.reach), layer.squeeze))
            gates = g.one("Sigmoid", g.linear(squeezed, layer.excite))
            y = g.one("Mul", y, g.one("Mul", gates, g.constant(torch.tensor([2.0]))))
        r = g.one("Add", g.one("Mul", r, g.constant(torch.tensor([BYPASS]))), y)
    if c.delay:
        r = g.one("Slice", r, g.integers(0), g.integers(-c.delay), g.integers(0))
    z = g.norm(g.linear(r, network.before_head), c.head_size)
    return g.one("LogSoftmax", g.linear(z, network.head), axis=-1)


def _mean(g: _Graph, x: str, reach: int) -> str:
    """The mean of ``x (T, 1, D)``, over all timesteps or ``reach`` to each side."""
    if not reach:
        return g.one("ReduceMean", x, axes=[0], keepdims=0)
    pool = {"kernel_shape": [2 * reach + 1], "pads": [reach, reach], "count_include_pad": 0}
    means = g.one("AveragePool", g.one("Transpose", x, perm=[1, 2, 0]), **pool)
    return g.one("Transpose", means, perm=[2, 0, 1])


def _pairs(g: _Graph, x: str, apart: int) -> str:
    """Join each timestep of ``x (T, B, D)`` with the one that is ``apart`` later."""
    early = g.one("Slice", x, g.integers(0), g.integers(-apart), g.integers(0))
    late = g.one("Slice", x, g.integers(apart), g.integers(2**62), g.integers(0))
    return g.one("Concat", early, late, axis=2)
