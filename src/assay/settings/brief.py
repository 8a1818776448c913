"""Settings that are data, in a few words: a table of rows is told by its kind and shape."""

from __future__ import annotations

from typing import Any

_DEEPEST = 8  # lists within lists that are written out
_MOST_ENTRIES = 32  # of a list that is written out

_MOST_WRITTEN = 1000  # characters of its entries


def short_repr(value: Any, depth: int = 0) -> str:
    """Settings that are data, by kind and shape; lists and tuples of many entries by their number.

    >>> short_repr([0.5, 1.0]), short_repr([0.0] * 1000)
    ('[0.5, 1.0]', '<list of 1000 entries>')
    """
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"<{type(value).__name__} of shape {tuple(shape)}>"
    # Deeper than anything that is meant: a list may hold itself.
    if isinstance(value, list | tuple) and depth > _DEEPEST:
        return f"<{type(value).__name__}>"
    if isinstance(value, list | tuple):
        written = [short_repr(part, depth + 1) for part in value[: _MOST_ENTRIES + 1]]
        # Also of entries that are themselves too many to be written.
        much = sum(map(len, written)) > _MOST_WRITTEN or any(part[:1] == "<" for part in written)
        if len(value) > _MOST_ENTRIES or much:
            return f"<{type(value).__name__} of {len(value)} entries>"
    try:
        return repr(value)
    except Exception:  # an object of somebody's own that cannot say what it is
        return f"<{type(value).__name__}>"
