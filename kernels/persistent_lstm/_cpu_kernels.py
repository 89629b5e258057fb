"""The LSTM step for CPUs and layers beside it, compiled by Numba: float32 but for the weights.

Legend: L layers, B rows, T timesteps, P positions (the timesteps of all rows, in order of time), I
input size, H hidden size, K columns of a matrix, N its rows, filled up to a multiple of TILE. A
packed matrix is ``(N / TILE, K, TILE)``: int8, uint16 for the bits of float16, or float32.

Every output of a product is one chain of multiply-adds in order of k, whatever is computed beside
it, and all loops are in a fixed order: a row has the same bits in any batch and any chunking.

All of it is one file: Numba's cache notices changes in the file of the outermost function only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "TILE", "WIDTH", "convolve", "linear", "run_layers"]

TILE = 64
"""Rows of a matrix that lie together; a packed matrix is filled up to a multiple of them."""
WIDTH = 16
"""Values of a vector, and channels that lie together."""
LANES = 32
"""Partial sums of a normalisation."""
LINE, AHEAD = 64, 2048
"""Bytes of a cache line, and how far ahead weights are fetched."""

EPSILON = np.float32(1e-5)  # types.NORM_EPSILON
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


def _compiled(function: Any) -> Any:
    # Without reference counts: nothing here makes an array.
    options = {"nogil": True, "error_model": "numpy", "_nrt": False}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that a cache could be in
        return njit(**options)(function)


def _tile(columns: int, vectors: int, step: int = TILE, add: bool = False) -> Any:
    """Return a product of ``WIDTH * vectors`` outputs for each of ``columns`` columns.

    It is written for LLVM, which keeps no sums in registers when it compiles loops to the same end.
    Vectors have 16 values; where registers have fewer, LLVM takes two or four of them.

    Args:
        columns: of x that share the weights that are read.
        vectors: of outputs.
        step: elements from one k's weights to the next's.
        add: to what stands in the output, rather than overwrite it.
    """
    width, real, address = WIDTH, ir.FloatType(), ir.IntType(64)
    vector, lanes = ir.VectorType(real, width), ir.VectorType(ir.IntType(32), width)

    @intrinsic
    def tile(_context, w, w_at, x, x_at, x_step, out, out_at, out_step, K):
        """Multiply ``w[w_at:]``, (K, step), by columns of ``x``; ``*_at`` count elements."""
        stored, size = {
            types.int8: (ir.IntType(8), 1),
            types.uint16: (ir.HalfType(), 2),
            types.float32: (real, 4),
        }[w.dtype]
        weights = ir.VectorType(stored, width)

        def generate(context, builder, signature, arguments):
            def place(index, at, itemsize):
                array = context.make_array(signature.args[index])(
                    context, builder, arguments[index]
                )
                start = builder.ptrtoint(array.data, address)
                return builder.add(start, builder.mul(at, constant(itemsize)))

            def constant(value):
                return ir.Constant(address, value)

            def pointer(start, offset, to):
                return builder.inttoptr(builder.add(start, offset), to.as_pointer())

            x_step, out_step, K = arguments[4], arguments[7], arguments[8]
            w_start = place(0, arguments[1], size)
            x_rows = [
                builder.add(place(2, arguments[3], 4), builder.mul(x_step, constant(4 * column)))
                for column in range(columns)
            ]
            out_start = place(5, arguments[6], 4)
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{width}f32",
            )
            outputs = [
                [
                    pointer(
                        builder.add(out_start, builder.mul(out_step, constant(4 * column))),
                        constant(4 * width * v),
                        vector,
                    )
                    for v in range(vectors)
                ]
                for column in range(columns)
            ]
            zeros = ir.Constant(vector, [0.0] * width)
            initial = [
                [builder.load(one, align=4) if add else zeros for one in row] for row in outputs
            ]
            entry = builder.block
            loop = builder.append_basic_block("tile.loop")
            done = builder.append_basic_block("tile.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, w_k = builder.phi(address), builder.phi(address)
            k.add_incoming(constant(0), entry)
            w_k.add_incoming(w_start, entry)
            sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(columns)]
            for row, before in zip(sums, initial, strict=True):
                for one, value in zip(row, before, strict=True):
                    one.add_incoming(value, entry)
            if columns <= 2:  # as fast as weights arrive, and processors do not look past a page
                byte = ir.IntType(8).as_pointer()
                number = ir.IntType(32)
                prefetch = cgutils.get_or_insert_function(
                    builder.module,
                    ir.FunctionType(ir.VoidType(), [byte, number, number, number]),
                    "llvm.prefetch.p0",
                )
                to_read = [ir.Constant(number, value) for value in (0, 3, 1)]
                for line in range(0, width * vectors * size, LINE):
                    ahead = builder.add(w_k, constant(AHEAD + line))
                    builder.call(prefetch, [builder.inttoptr(ahead, byte), *to_read])
            wide = []
            for v in range(vectors):
                loaded = builder.load(pointer(w_k, constant(width * v * size), weights), align=size)
                if size == 1:
                    loaded = builder.sitofp(loaded, vector)
                elif size == 2:
                    loaded = builder.fpext(loaded, vector)
                wide.append(loaded)
            added = []
            undefined = ir.Constant(vector, ir.Undefined)
            for column in range(columns):
                value = builder.load(
                    pointer(x_rows[column], builder.mul(k, constant(4)), real), align=4
                )
                first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
                spread = builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * width))
                added.append(
                    [
                        builder.call(multiply_add, [wide[v], spread, sums[column][v]])
                        for v in range(vectors)
                    ]
                )
            k_next = builder.add(k, constant(1))
            k.add_incoming(k_next, loop)
            w_k.add_incoming(builder.add(w_k, constant(step * size)), loop)
            for before, after in zip(sums, added, strict=True):
                for one, next_one in zip(before, after, strict=True):
                    one.add_incoming(next_one, loop)
            builder.cbranch(builder.icmp_signed("<", k_next, K), loop, done)
            builder.position_at_end(done)
            for row, values in zip(outputs, added, strict=True):
                for one, value in zip(row, values, strict=True):
                    builder.store(value, one, align=4)
            return context.get_dummy_value()

        whole = types.intp
        return types.void(w, whole, x, whole, whole, out, whole, whole, whole), generate

    return tile


# Columns x vectors that fill the registers: 32 of 16 values, or 16 of 8 (fewer on other CPUs).
WIDE = bool(get_host_cpu_features().get("avx512f", False))
tile_1 = _tile(1, 4)
tile_2 = _tile(2, 4 if WIDE else 2)
tile_4 = _tile(4, 4 if WIDE else 1)
tile_6 = _tile(6, 4 if WIDE else 1)
tile_12 = _tile(12, 2)
STEP_2, STEP_4 = (64, 64) if WIDE else (32, 16)
bins_10, bins_4, bins_1 = (_tile(bins, 1, WIDTH, add=True) for bins in (10, 4, 1))


@_compiled
def product(w, x, out):
    """Write ``w (N / TILE, K, TILE)`` times rows of ``x (n, K)`` to ``out (n, N)``."""
    tiles, K, _ = w.shape
    n, N = out.shape
    for tile in range(tiles):
        at, first = tile * K * TILE, tile * TILE
        b = 0
        while b < n:
            left = n - b
            if WIDE and left >= 12:
                for s in range(0, TILE, 32):
                    tile_12(w, at + s, x, b * K, K, out, b * N + first + s, N, K)
                b += 12
            elif left >= 6:
                for s in range(0, TILE, STEP_4):
                    tile_6(w, at + s, x, b * K, K, out, b * N + first + s, N, K)
                b += 6
            elif left >= 4:
                for s in range(0, TILE, STEP_4):
                    tile_4(w, at + s, x, b * K, K, out, b * N + first + s, N, K)
                b += 4
            elif left >= 2:
                for s in range(0, TILE, STEP_2):
                    tile_2(w, at + s, x, b * K, K, out, b * N + first + s, N, K)
                b += 2
            else:
                tile_1(w, at, x, b * K, K, out, b * N + first, N, K)
                b += 1


@_compiled
def linear(w, scale, bias, x, out):
    """Write ``scale * (w x) + bias`` for each row of ``x (n, K)`` to ``out (n, N)``."""
    product(w, x, out)
    for row in range(out.shape[0]):
        values = out[row]
        for j in range(len(scale)):
            values[j] = fma(values[j], scale[j], bias[j])


@intrinsic
def _float_of_bits(_context, _bits):
    """Return the float32 that has these bits."""

    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _bits_of_float(_context, _value):
    """Return the bits of a float32."""

    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def fma(_context, _a, _b, _c):
    """Return ``a * b + c``: said outright, as compilers choose differently from loop to loop."""

    def generate(_context, builder, _signature, arguments):
        real = ir.FloatType()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(real, [real] * 3), "llvm.fmuladd.f32"
        )
        return builder.call(function, arguments)

    real = types.float32
    return real(real, real, real), generate


@_compiled
def exponential(x):
    """Return ``exp(x)``, for x beyond ±87 that of ±87, for NaN NaN.

    Cephes' expf (Moshier): 2 to a whole power times a polynomial, which vectorises.
    """
    # In this order a NaN is neither less nor greater, and stays.
    x = np.float32(-87) if x < np.float32(-87) else x
    x = np.float32(87) if x > np.float32(87) else x
    # Adding 1.5 * 2**23 rounds to a whole number, which stands in the lowest bits.
    shifted = fma(x, np.float32(1.44269504088896341), np.float32(12582912))
    n = shifted - np.float32(12582912)
    r = fma(n, np.float32(-0.693359375), x)
    r = fma(n, np.float32(2.12194440e-4), r)
    p = np.float32(1.9875691500e-4)
    p = fma(p, r, np.float32(1.3981999507e-3))
    p = fma(p, r, np.float32(8.3334519073e-3))
    p = fma(p, r, np.float32(4.1665795894e-2))
    p = fma(p, r, np.float32(1.6666665459e-1))
    p = fma(p, r, np.float32(5.0000001201e-1))
    p = fma(p, r * r, r) + ONE
    power = np.int32(np.int32(_bits_of_float(shifted) << np.int32(23)) + np.int32(0x3F800000))
    return p * _float_of_bits(power)


@_compiled
def sigmoid(x):
    """Return ``1 / (1 + exp(-x))``."""
    return ONE / (ONE + exponential(-x))


@_compiled
def tanh(x):
    """Return the hyperbolic tangent: Cephes' tanhf, with its polynomial for small values."""
    s = x * x
    p = np.float32(-5.70498872745e-3)
    p = fma(p, s, np.float32(2.06390887954e-2))
    p = fma(p, s, np.float32(-5.37397155531e-2))
    p = fma(p, s, np.float32(1.33314422036e-1))
    p = fma(p, s, np.float32(-3.33332819422e-1))
    small = fma(p, s * x, x)
    large = ONE - TWO / (ONE + exponential(x + x))
    return small if abs(x) < np.float32(0.625) else large


@_compiled
def cell(a, s_ih, bias, g, s_hh, C, h, y, residual):
    """Step one row by the gate equations of ``reference.py``.

    ``a (N,)`` is W_ih x and ``g (N,)`` is W_hh h, both yet to be scaled; ``C``, ``h`` and ``y`` are
    ``(H,)``. With ``residual``, h is added to y.
    """
    H = len(C)
    for j in range(H):
        at_i, at_f, at_g, at_o = j, H + j, 2 * H + j, 3 * H + j
        i = sigmoid(fma(g[at_i], s_hh[at_i], fma(a[at_i], s_ih[at_i], bias[at_i])))
        f = sigmoid(fma(g[at_f], s_hh[at_f], fma(a[at_f], s_ih[at_f], bias[at_f])))
        u = tanh(fma(g[at_g], s_hh[at_g], fma(a[at_g], s_ih[at_g], bias[at_g])))
        o = sigmoid(fma(g[at_o], s_hh[at_o], fma(a[at_o], s_ih[at_o], bias[at_o])))
        c = fma(f, C[j], i * u)
        C[j] = c
        v = o * tanh(c)
        h[j] = v
        y[j] = y[j] + v if residual else v


@_compiled
def _sum(row, mean, square, parts):
    """Return the sum of ``row - mean``, or of its squares, in LANES partial sums."""
    H = len(row)
    for j in range(LANES):
        parts[j] = ZERO
    for start in range(0, H, LANES):
        for j in range(min(LANES, H - start)):
            d = row[start + j] - mean
            parts[j] = fma(d, d, parts[j]) if square else parts[j] + d
    total = ZERO
    for j in range(LANES):
        total += parts[j]
    return total


@_compiled
def normalise(r, z, parts):
    """Write rows of ``r (P, H)`` to ``z``, with mean 0 and variance 1."""
    H = np.float32(r.shape[1])
    for p in range(r.shape[0]):
        row, out = r[p], z[p]
        mean = _sum(row, ZERO, False, parts) / H
        inverse = ONE / np.sqrt(_sum(row, mean, True, parts) / H + EPSILON)
        for j in range(len(row)):
            out[j] = (row[j] - mean) * inverse


@_compiled
def run_layers(x, y, rows, starts, weights, state, scratch, residual):
    """Run layers one after another, each over all positions.

    Args:
        x: ``(P, I)``, input.
        y: ``(P, H)``, output; with ``residual`` it is a copy of x, and I = H.
        rows: ``(P,)``, the row of each position.
        starts: ``(T + 1,)``, the first position of each timestep, and the end.
        weights: W_ih ``(L, N / TILE, I, TILE)``, W_hh ``(L, N / TILE, H, TILE)``, their scales
            and the sum of the biases, ``(L, 4H)`` each. I = H where there is more than one layer.
        state: h and C, ``(L, B, H)`` each, overwritten.
        scratch: ``(P, H)``, ``(P, N)``, ``(B, H)``, ``(B, N)`` and ``(LANES,)``.
    """
    w_ih, w_hh, s_ih, s_hh, bias = weights
    hs, Cs = state
    z, a, h_live, g, parts = scratch
    for layer in range(len(bias)):
        if residual:
            normalise(y, z, parts)
            product(w_ih[layer], z, a)
        elif layer == 0:
            product(w_ih[layer], x, a)
        else:
            product(w_ih[layer], y, a)
        h, C = hs[layer], Cs[layer]
        for t in range(len(starts) - 1):
            first, count = starts[t], starts[t + 1] - starts[t]
            for b in range(count):
                source, target = h[rows[first + b]], h_live[b]
                for j in range(len(source)):
                    target[j] = source[j]
            product(w_hh[layer], h_live[:count], g[:count])
            for b in range(count):
                p, row = first + b, rows[first + b]
                scaled, added = s_ih[layer], bias[layer]
                cell(a[p], scaled, added, g[b], s_hh[layer], C[row], h[row], y[p], residual)


@_compiled
def convolve(w, bias, x, out, dilation):
    """Convolve 3 frames by 3 bins, every frame and every other bin, and set what is negative to 0.

    Args:
        w: ``(C / WIDTH, 3, 3 * D, WIDTH)``: blocks of output channels, frames, bins and input
            channels.
        bias: ``(C,)``.
        x: ``(B, F, W + 2, D)``, with zeros for the first and the last bin.
        out: ``(B, F - 2 * dilation, V + 2, C)``, V half of W, rounded up; the first and the last
            bin are left as they are.
        dilation: frames from one that is seen to the next.
    """
    B, F, width, D = x.shape
    _, frames, bins, C = out.shape
    bins -= 2
    for b in range(B):
        for f in range(frames):
            start = ((b * frames + f) * (bins + 2) + 1) * C
            here = out[b, f]
            for g in range(1, bins + 1):
                for c in range(C):
                    here[g, c] = bias[c]
            for block in range(C // WIDTH):
                for d in range(3):
                    at = (block * 3 + d) * 3 * D * WIDTH
                    row = (b * F + f + d * dilation) * width
                    g = 0
                    while g < bins:
                        seen, to = (row + 2 * g) * D, start + g * C + block * WIDTH
                        if WIDE and g + 10 <= bins:
                            bins_10(w, at, x, seen, 2 * D, out, to, C, 3 * D)
                            g += 10
                        elif g + 4 <= bins:
                            bins_4(w, at, x, seen, 2 * D, out, to, C, 3 * D)
                            g += 4
                        else:
                            bins_1(w, at, x, seen, 2 * D, out, to, C, 3 * D)
                            g += 1
            for g in range(1, bins + 1):
                for c in range(C):
                    value = here[g, c]
                    here[g, c] = ZERO if value < ZERO else value  # a NaN stays
