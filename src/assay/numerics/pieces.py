"""Long work in pieces of bounded memory: the one place that decides how much is held at once.

Model calls are cut by the engine, which measures; everything around them (masks, noise, designs,
resampling) is cut here, by counting. No algorithm of its own: blocking, as in any dense linear
algebra, so that what is held stays within memory and, for a small limit, within the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

CELLS = 1 << 22  # numbers held at once: 32 MiB in float64


def pieces(total: int, cells_each: int, limit: int = CELLS) -> Iterator[slice]:
    """Slices of 0..total, each of at most `limit` numbers where one item holds `cells_each`.

    A piece holds one item at least, also where that alone is over the limit.

    >>> list(pieces(5, cells_each=10, limit=20))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, limit // max(1, cells_each))
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
