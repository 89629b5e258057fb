"""Inline PTX of an exchange that counts: programs add to a counter, and wait for it.

Under Triton's interpreter ``_interpreted`` takes this module's place, name by name.
"""

from __future__ import annotations

from triton.language import core

__all__ = ["arrive", "wait_for"]


@core.extern
def wait_for(pointer, wanted, limit, _semantic=None):
    """Wait until the counter at ``pointer`` is ``wanted`` at least; what was stored before is seen.

    Returns the polls that are left of ``limit``: negative if they did not suffice.
    """
    text = """{
.reg .pred p; .reg .b32 n, v;
mov.b32 n, $3;
POLL:
ld.acquire.gpu.global.b32 v, [$1];
setp.ge.s32 p, v, $2;
@p bra DONE;
add.s32 n, n, -1;
setp.ge.s32 p, n, 0;
@p bra POLL;
DONE:
mov.b32 $0, n;
}"""
    return core.inline_asm_elementwise(
        text,
        "=r,l,r,r",
        [pointer, wanted, limit],
        core.int32,
        is_pure=False,
        pack=1,
        _semantic=_semantic,
    )


@core.extern
def arrive(pointer, amount, _semantic=None):
    """Add ``amount`` to the counter, once a program, after all that its threads have stored."""
    text = """{
.reg .pred p; .reg .b32 t;
bar.sync 0;
mov.u32 t, %tid.x;
setp.eq.u32 p, t, 0;
@p fence.acq_rel.gpu;
@p red.relaxed.gpu.global.add.u32 [$1], $2;
mov.b32 $0, 0;
}"""
    return core.inline_asm_elementwise(
        text,
        "=r,l,r",
        [pointer, amount],
        core.int32,
        is_pure=False,
        pack=1,
        _semantic=_semantic,
    )
