"""What a time-delay layer does behind its products, forward and backward, compiled by Numba.

Arrays are of timesteps by units, in float32, float64, or bfloat16 as its bits; sums and what is
per unit are float32 or float64. Each timestep's units are read into a buffer, so that whatever is
computed stays in the nearest cache. ``scale`` has factors for the units of each utterance, and
timestep ``n`` is one of utterance ``n % rows``. ``gates`` may have no timesteps: all are then 1.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

__all__ = ["finish", "gradient", "gradient_sums", "sums"]

BLOCK = 64
"""Timesteps that are summed up in the buffers' precision, before it is float64's turn."""


def _compiled(function):
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@intrinsic
def _float_of(_context, _bits):
    """Return the float32 that ``bits`` are."""

    def generate(context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


@intrinsic
def _bits_of(_context, _value):
    """Return the bits of a float32."""

    def generate(context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


def _read(source, target):
    """Copy ``source`` to ``target`` as floats: compiled only, from the overload below."""
    raise NotImplementedError


def _write(source, target):
    """Copy the floats of ``source`` to ``target``: compiled only, from the overload below."""
    raise NotImplementedError


@overload(_read)
def _read_any(source, target):
    if source.dtype != types.uint16:
        return _copied

    def read(source, target):
        for k in range(len(source)):
            target[k] = _float_of(np.uint32(source[k]) << np.uint32(16))

    return read


@overload(_write)
def _write_any(source, target):
    if target.dtype != types.uint16:
        return _copied

    def write(source, target):  # to the nearest, ties to even
        for k in range(len(source)):
            bits = _bits_of(source[k])
            half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            target[k] = np.uint16(np.uint32(bits + half) >> np.uint32(16))

    return write


def _copied(source, target):
    for k in range(len(source)):
        target[k] = source[k]


@_compiled
def sums(z, y, total, square):
    """Add the sums of the rectified ``z``, and of its squares, to ``total`` and ``square``.

    ``y (units,)`` is a buffer, here and below.
    """
    steps, units = z.shape
    part, part_square = np.zeros_like(y), np.zeros_like(y)
    for begin in range(0, steps, BLOCK):
        part[:] = 0
        part_square[:] = 0
        for n in range(begin, min(begin + BLOCK, steps)):
            _read(z[n], y)
            for k in range(units):
                value = y[k] if y[k] > 0 else y.dtype.type(0)
                part[k] += value
                part_square[k] += value * value
        for k in range(units):
            total[k] += part[k]
            square[k] += part_square[k]


@_compiled
def finish(z, r, gates, scale, seen, mean, inverse, bypass, out):
    """Write ``bypass * r`` and the rectified ``z``, normalised and weighed, where ``seen``."""
    steps, units = z.shape
    rows = len(scale)
    y, kept, gate = np.empty_like(mean), np.empty_like(mean), np.ones_like(mean)
    for n in range(steps):
        _read(r[n], kept)
        if seen[n]:
            factors = scale[n % rows]
            _read(z[n], y)
            if len(gates):
                _read(gates[n], gate)
            for k in range(units):
                value = y[k] if y[k] > 0 else y.dtype.type(0)
                weighed = (value - mean[k]) * inverse[k] * (factors[k] * gate[k])
                kept[k] = bypass * kept[k] + weighed
        else:
            for k in range(units):
                kept[k] = bypass * kept[k]
        _write(kept, out[n])


@_compiled
def gradient_sums(grad, z, gates, scale, seen, mean, inverse, total, product, grad_gates):
    """Sum up the gradient of the normalised units, by itself and times them.

    ``grad_gates``, if there are gates, gets theirs.
    """
    steps, units = z.shape
    rows = len(scale)
    y, g, gate = np.empty_like(mean), np.empty_like(mean), np.ones_like(mean)
    part, part_product = np.zeros_like(mean), np.zeros_like(mean)
    for begin in range(0, steps, BLOCK):
        part[:] = 0
        part_product[:] = 0
        for n in range(begin, min(begin + BLOCK, steps)):
            if not seen[n]:
                continue  # grad_gates is 0 there
            factors = scale[n % rows]
            _read(z[n], y)
            _read(grad[n], g)
            if len(gates):
                _read(gates[n], gate)
            for k in range(units):
                value = y[k] if y[k] > 0 else y.dtype.type(0)
                y[k] = (value - mean[k]) * inverse[k]
                g[k] *= factors[k]
                weighed = g[k] * gate[k]
                part[k] += weighed
                part_product[k] += weighed * y[k]
                g[k] *= y[k]
            if len(gates):
                _write(g, grad_gates[n])
        for k in range(units):
            total[k] += part[k]
            product[k] += part_product[k]


@_compiled
def gradient(grad, z, gates, scale, seen, mean, inverse, total, product, grad_z, grad_bias):
    """Write the gradient of ``z`` and add its sum to ``grad_bias``.

    ``total`` and ``product`` are the means of what ``gradient_sums`` sums up.
    """
    steps, units = z.shape
    rows = len(scale)
    y, g, gate = np.empty_like(mean), np.empty_like(mean), np.ones_like(mean)
    part = np.zeros_like(mean)
    for begin in range(0, steps, BLOCK):
        part[:] = 0
        for n in range(begin, min(begin + BLOCK, steps)):
            factors = scale[n % rows]
            _read(z[n], y)
            if seen[n]:
                _read(grad[n], g)
                if len(gates):
                    _read(gates[n], gate)
                for k in range(units):
                    g[k] *= factors[k] * gate[k]
            else:
                g[:] = 0
            for k in range(units):
                normal = (y[k] - mean[k]) * inverse[k]
                value = (g[k] - total[k] - normal * product[k]) * inverse[k]
                y[k] = value if y[k] > 0 else y.dtype.type(0)
                part[k] += y[k]
            _write(y, grad_z[n])
        for k in range(units):
            grad_bias[k] += part[k]
