"""The fragment kernel's inline PTX, in small pieces; each says what it computes.

A piece works on tensors of 256 elements, one a thread. Under Triton's interpreter, which runs no
PTX, ``_interpreted`` takes this module's place, name by name. ``half`` is ``bf16`` or ``f16``.
"""

from __future__ import annotations

from functools import cache

from triton.language import core

from ._layout import WARPS

__all__ = [
    "exp2",
    "half_columns",
    "issue",
    "mma",
    "moments_over_warps",
    "pair_word",
    "poll",
    "quad",
    "reciprocal",
    "settle",
    "split_word",
    "sum_over_warps",
    "word_values",
]

LINE_BYTES = 64  # from one load of a lane to its next: four lanes read 16 bytes each
STATIC_SHARED = 48 * 1024  # what ptxas allows a program without asking for more
MOMENT_BYTES = 8 * WARPS + 16  # of a row: both moments of each warp; padded for the banks


def _plain(value):
    return getattr(value, "value", value)


def _asm(text, constraints, inputs, types, semantic, *, pure):
    return core.inline_asm_elementwise(
        text, constraints, inputs, types, is_pure=pure, pack=1, _semantic=semantic
    )


# --- Gates ---------------------------------------------------------------------------------------


@core.extern
def exp2(x, _semantic=None):
    """2 to the power of x, to 2 ulp; 0 and infinity where it leaves float32."""
    return _asm("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], core.float32, _semantic, pure=True)


@core.extern
def reciprocal(x, _semantic=None):
    """1 / x, to 1 ulp; 0 for infinity."""
    return _asm("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], core.float32, _semantic, pure=True)


@core.extern
def quad(x, _semantic=None):
    """The values of the four lanes of a quad, to all four: the gates of one unit."""
    text = "\n".join(f"shfl.sync.idx.b32 ${k}, $4, {k}, 0x1c1f, 0xffffffff;" for k in range(4))
    return _asm(text, "=&f,=&f,=&f,=&f,f", [x], (core.float32,) * 4, _semantic, pure=False)


# --- Words of the exchange -----------------------------------------------------------------------


@core.extern
def split_word(h, half, _semantic=None):
    """h in two halves: rounded to 16 bits, and above it what that leaves, rounded to 16 bits.

    Never the sentinel: a NaN is 0x7fff in both.
    """
    half = _plain(half)
    widen = "shl.b32 a, a, 16;\nmov.b32 f, a;"
    if half == "f16":
        widen = "mov.b32 {l, u}, a;\ncvt.f32.f16 f, l;"
    text = f"""{{
.reg .b32 a; .reg .f32 f; .reg .b16 l, u;
cvt.rn.{half}x2.f32 a, 0f00000000, $1;
{widen}
sub.f32 f, $1, f;
cvt.rn.{half}x2.f32 $0, f, $1;
}}"""
    return _asm(text, "=r,f", [h], core.int32, _semantic, pure=True)


@core.extern
def pair_word(h, half, _semantic=None):
    """h of this lane in 16 bits, and above it that of lane + 4 (lane ^ 4): the next unit."""
    text = f"""{{
.reg .f32 o;
shfl.sync.bfly.b32 o, $1, 4, 0x1f, 0xffffffff;
cvt.rn.{_plain(half)}x2.f32 $0, o, $1;
}}"""
    return _asm(text, "=r,f", [h], core.int32, _semantic, pure=False)


@core.extern
def word_values(word, half, _semantic=None):
    """The float32 values of a word's lower and upper half."""
    if _plain(half) == "f16":
        text = """{
.reg .b16 l, u;
mov.b32 {l, u}, $2;
cvt.f32.f16 $0, l;
cvt.f32.f16 $1, u;
}"""
    else:
        text = """{
.reg .b32 a;
shl.b32 a, $2, 16;
mov.b32 $0, a;
and.b32 a, $2, 0xffff0000;
mov.b32 $1, a;
}"""
    return _asm(text, "=&f,=f,r", [word], (core.float32,) * 2, _semantic, pure=True)


@core.extern
def half_columns(first, second, lane, _semantic=None):
    """Of two words, both lower halves in lanes of even columns of h (lane // 4), else both upper.

    Words in two halves so become two columns of a product, one of high and one of low halves.
    """
    text = """{
.reg .b32 odd, pick;
shr.u32 odd, $3, 2;
and.b32 odd, odd, 1;
mad.lo.s32 pick, odd, 0x2222, 0x5410;
prmt.b32 $0, $1, $2, pick;
}"""
    return _asm(text, "=r,r,r,r", [first, second, lane], core.int32, _semantic, pure=True)


# --- The product ---------------------------------------------------------------------------------


@core.extern
def mma(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3, half, _semantic=None):
    """c + A·B of each warp on the tensor cores, m16n8k16: A (16, 16), B (16, 8), 16-bit floats."""
    half = _plain(half)
    text = (
        f"mma.sync.aligned.m16n8k16.row.col.f32.{half}.{half}.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )
    return _asm(
        text,
        "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
        [a0, a1, a2, a3, b0, b1, c0, c1, c2, c3],
        (core.float32,) * 4,
        _semantic,
        pure=True,
    )


# --- Reading words that may not be there yet -----------------------------------------------------


def _loads(pointers, words):
    """One load for four words (one where a pointer has one), 64 bytes from one to the next."""
    lines = []
    for p, pointer in enumerate(pointers):
        if words == 1:
            lines.append(f"ld.relaxed.gpu.global.b32 ${p}, [{pointer}];")
            continue
        for i in range(words // 4):
            registers = ", ".join(f"${p * words + 4 * i + k}" for k in range(4))
            place = f"[{pointer}+{LINE_BYTES * i}]"
            lines.append(f"ld.relaxed.gpu.global.v4.b32 {{{registers}}}, {place};")
    return lines


def _largest(names):
    """Instructions that leave the largest of ``names`` in the register that they return."""
    lines, used = [], 0
    while len(names) > 1:
        merged = []
        for a, b in zip(names[::2], names[1::2], strict=False):
            lines.append(f"max.u32 m{used}, {a}, {b};")
            merged.append(f"m{used}")
            used += 1
        names = merged + names[len(names) & ~1 :]
    return lines, names[0], used


@cache
def _waiting(pointers, words, seen):
    """The loop of ``poll`` (``settle`` where words were loaded before: ``seen``)."""
    total = pointers * words
    tied = total if seen else 0
    names = [f"${total + 1 + tied + p}" for p in range(pointers)]
    largest, top, used = _largest([f"${i}" for i in range(total)])
    lines = [
        "{",
        f".reg .pred p; .reg .b32 n; .reg .b32 m<{used + 1}>;",
        f"mov.b32 n, ${total + 1 + tied + pointers};",
        *(["bra LOOK;"] if seen else []),
        "POLL:",
        *_loads(names, words),
        *(["LOOK:"] if seen else []),
        *largest,
        f"setp.ne.u32 p, {top}, 0xffffffff;",
        "@p bra DONE;",
        "add.s32 n, n, -1;",
        "setp.ge.s32 p, n, 0;",
        "@p bra POLL;",
        "DONE:",
        f"mov.b32 ${total}, n;",
        "}",
    ]
    constraints = ["=&r"] * (total + 1) + [str(i) for i in range(tied)] + ["l"] * pointers + ["r"]
    return "\n".join(lines), ",".join(constraints)


@core.extern
def poll(pointers, limit, words, _semantic=None):
    """Each thread reads its own ``words`` at each pointer, again until none is the sentinel.

    ``words`` is 1, or a multiple of 4 in fours that are 64 bytes apart. Returns all words, then
    the polls that are left of ``limit``: negative if they did not suffice.
    """
    pointers, words = list(pointers), _plain(words)
    text, constraints = _waiting(len(pointers), words, False)
    types = (core.int32,) * (len(pointers) * words + 1)
    return _asm(text, constraints, [*pointers, limit], types, _semantic, pure=False)


@core.extern
def issue(pointers, words, _semantic=None):
    """Begin to read the words that ``settle`` looks at: loads that nothing waits for yet."""
    pointers, words = list(pointers), _plain(words)
    total = len(pointers) * words
    text = "\n".join(_loads([f"${total + p}" for p in range(len(pointers))], words))
    constraints = ",".join(["=&r"] * total + ["l"] * len(pointers))
    return _asm(text, constraints, pointers, (core.int32,) * total, _semantic, pure=False)


@core.extern
def settle(seen, pointers, limit, words, _semantic=None):
    """``poll``, but look at the words first that ``issue`` has read."""
    pointers, words = list(pointers), _plain(words)
    total = len(pointers) * words
    text, constraints = _waiting(len(pointers), words, True)
    inputs = [*list(seen)[:total], *pointers, limit]
    types = (core.int32,) * (total + 1)
    return _asm(text, constraints, inputs, types, _semantic, pure=False)


# --- Sums over the warps, through shared memory --------------------------------------------------


def sums_bytes(sums, units):
    """Bytes of one buffer for ``sums`` sums; a row of 4U sums is padded by 8 for the banks."""
    stride, rows = 4 * units + 8, 4 if units == 16 else 8
    return 4 * WARPS * sums * rows * stride


def _tree(names):
    """Instructions that add ``names`` up in pairs, into the first of them."""
    lines = []
    while len(names) > 1:
        lines += [f"add.f32 {a}, {a}, {b};" for a, b in zip(names[::2], names[1::2], strict=True)]
        names = names[::2]
    return lines


def _sum_lines(sums, fours, units, partial, barrier):
    """Store partial sums at ``s``, wait for all warps, add the warps' up at ``l``, in ``$0 …``."""
    stride, rows = 4 * units + 8, 4 if units == 16 else 8
    part = 4 * rows * stride
    second = 4 * (32 if units == 16 else 4 * stride)
    lines = []
    for four in range(fours):
        place = four // 2 * WARPS * part + four % 2 * second
        values = ", ".join(partial(4 * four + k) for k in range(4))
        lines.append(f"st.shared.v4.f32 [s+{place}], {{{values}}};")
    lines += barrier
    for t in range(sums):
        names = [f"v{t * WARPS + w}" for w in range(WARPS)]
        lines += [
            f"ld.shared.f32 {name}, [l+{(t * WARPS + w) * part}];" for w, name in enumerate(names)
        ]
    for t in range(sums):
        names = [f"v{t * WARPS + w}" for w in range(WARPS)]
        lines += [*_tree(names), f"mov.f32 ${t}, {names[0]};"]
    return lines


# Offsets of a thread: $w is its warp's part and its lane's rows, $l the value that it sums.
def _places(thread, units):
    stride, rows = 4 * units + 8, 4 if units == 16 else 8
    return [
        f"shr.u32 w, {thread}, 5;",
        f"and.b32 n, {thread}, 3;",
        f"bfe.u32 q, {thread}, 2, 3;",
        f"mad.lo.u32 s, w, {4 * rows * stride}, s;",
        f"mad.lo.u32 s, n, {4 * stride}, s;",
        "mad.lo.u32 s, q, 16, s;",
        f"shr.u32 n, {thread}, {6 if units == 16 else 5};",
        f"and.b32 q, {thread}, {4 * units - 1};",
        f"mad.lo.u32 l, n, {4 * stride}, l;",
        "mad.lo.u32 l, q, 4, l;",
    ]


@cache
def _summing(sums, fours, units, alone):
    size = sums_bytes(sums, units)
    double = alone and 2 * size <= STATIC_SHARED
    partials = 4 * fours
    thread, turn = f"${sums + partials}", f"${sums + partials + 1}"
    lines = [
        "{",
        f".shared .align 16 .b8 sums[{(1 + double) * size}];",
        f".reg .b32 s, l, w, n, q; .reg .f32 v<{WARPS * sums}>;",
        "mov.b32 s, sums;",
        # Two buffers in turn need one barrier: nobody writes what another one still reads.
        *([f"mad.lo.u32 s, {turn}, {size}, s;"] if double else []),
        "mov.b32 l, s;",
        *_places(thread, units),
        *(["bar.sync 0;"] if alone and not double else []),
        *_sum_lines(sums, fours, units, lambda i: f"${sums + i}", ["bar.sync 0;"]),
        "}",
    ]
    constraints = ["=&f"] * sums + ["f"] * partials + ["r"] * 2
    return "\n".join(lines), ",".join(constraints)


@core.extern
def sum_over_warps(partials, thread, turn, sums, units, alone, _semantic=None):
    """Sums over the warps: each warp's products cover its own slice of K.

    ``partials`` are fours, a unit's gates ``i, f, g, o``; two fours make one of ``sums`` sums,
    which are ``(4 rows, 16 units, 4 gates)`` or ``(8, 8, 4)``, an element a thread. A four of
    lane ``4 n + q`` is unit n and row q; the second four is unit n + 8 of 16, or row q + 4.
    ``turn`` is 0 and 1 in turn; ``alone``: no other barrier comes between two calls.
    """
    partials, sums = list(partials), _plain(sums)
    fours, alone = len(partials) // 4, bool(_plain(alone))
    text, constraints = _summing(sums, fours, _plain(units), alone)
    inputs = [*partials, thread, turn]
    return _asm(text, constraints, inputs, (core.float32,) * sums, _semantic, pure=False)


@cache
def _summing_moments(sums, fours, units, tiles, split):
    size = sums_bytes(sums, units)
    partials = 4 * fours
    rows = 4 if split else 8  # of a tile
    inputs = iter(range(3 * sums, 3 * sums + partials + 2 * tiles + sums + 1))
    partial = [f"${next(inputs)}" for _ in range(partials)]
    moment = [[f"${next(inputs)}" for _ in range(tiles)] for _ in range(2)]
    row = [f"${next(inputs)}" for _ in range(sums)]
    thread = f"${next(inputs)}"
    lines = [
        "{",
        f".shared .align 16 .b8 sums[{size}];",
        f".shared .align 16 .b8 moments[{rows * tiles * MOMENT_BYTES}];",
        ".reg .b32 s, l, w, n, q, m; .reg .pred p;",
        f".reg .f32 x, y, o, v<{WARPS * sums}>, u<{2 * WARPS}>;",
        "mov.b32 s, sums;",
        "mov.b32 l, s;",
        *_places(thread, units),
        f"and.b32 n, {thread}, 31;",
        f"shr.u32 n, n, {3 if split else 2};",
        f"and.b32 q, {thread}, {7 if split else 3};",
        "setp.eq.u32 p, q, 0;",
        "mov.b32 m, moments;",
        f"mad.lo.u32 m, n, {MOMENT_BYTES}, m;",
        "mad.lo.u32 m, w, 8, m;",
    ]
    for tile in range(tiles):
        for name, given in zip("xy", moment, strict=True):
            lines.append(f"mov.f32 {name}, {given[tile]};")
            for step in (1, 2, 4) if split else (1, 2):
                lines.append(f"shfl.sync.bfly.b32 o, {name}, {step}, 0x1f, 0xffffffff;")
                lines.append(f"add.f32 {name}, {name}, o;")
        lines.append(f"@p st.shared.v2.f32 [m+{tile * rows * MOMENT_BYTES}], {{x, y}};")
    lines += _sum_lines(sums, fours, units, lambda i: partial[i], ["bar.sync 0;"])
    for t in range(sums):
        lines += ["mov.b32 m, moments;", f"mad.lo.u32 m, {row[t]}, {MOMENT_BYTES}, m;"]
        for k in range(WARPS // 2):
            into = ", ".join(f"u{4 * k + i}" for i in range(4))
            lines.append(f"ld.shared.v4.f32 {{{into}}}, [m+{16 * k}];")
        for i in range(2):
            names = [f"u{2 * k + i}" for k in range(WARPS)]
            lines += [*_tree(names), f"mov.f32 ${(1 + i) * sums + t}, {names[0]};"]
    constraints = ["=&f"] * (3 * sums) + ["f"] * (partials + 2 * tiles) + ["r"] * (sums + 1)
    return "\n".join([*lines, "}"]), ",".join(constraints)


@core.extern
def moments_over_warps(
    partials, sums_of, squares, rows, thread, sums, units, split, _semantic=None
):
    """``sum_over_warps``, and sum and sum of squares of the row of each sum, over lanes and warps.

    ``sums_of`` and ``squares`` hold, for each tile of h, what a thread has added up of its column's
    row; ``rows`` the row of each sum in its group. One buffer: another barrier must come before
    the next call.
    """
    sums, tiles = _plain(sums), len(list(sums_of))
    partials = list(partials)
    text, constraints = _summing_moments(
        sums, len(partials) // 4, _plain(units), tiles, bool(_plain(split))
    )
    inputs = [*partials, *sums_of, *squares, *rows, thread]
    return _asm(text, constraints, inputs, (core.float32,) * (3 * sums), _semantic, pure=False)
