"""How loops are compiled: those that are called from Python, and those that other loops call.

What Python calls has to take a dozen arrays out of their objects first, which is as much code to compile
as a loop itself. What is called by compiled loops alone goes without it. Both are kept on disk.

This file imports numba, and is imported where trees are first explained.
"""

from __future__ import annotations

from typing import Any, Final

from numba import njit

# Its stubs lack settings that it has.
_njit: Any = njit

loop: Final[Any] = _njit(cache=True)
"""Called from Python, one thread."""

_ONLY_PRANGE = {
    "prange": True,
    **dict.fromkeys(
        ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"),
        False,
    ),
}
"""What is spread over threads: `prange`, and no operation on arrays, each of which would become a
function of its own.
"""

parallel_loop: Final[Any] = _njit(cache=True, parallel=_ONLY_PRANGE)
"""Called from Python, over threads."""

inner_loop: Final[Any] = _njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Called by other loops alone."""
