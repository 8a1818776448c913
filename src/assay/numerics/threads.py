"""Threads of torch for factorisations of small matrices.

On two threads each waits for the other at every step; where the machine has other work, that is nearly
all of the time: eigenvalues of 60 rows took 208 ms on two threads and 0.6 on one, of 200 rows 8.3 s and
67 ms, of 500 rows 21 s and 0.55 s, on two busy cores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

SMALL = 512
"""Rows of a matrix up to which one thread is asked."""


@contextlib.contextmanager
def few_threads(size: int) -> Iterator[None]:
    """One thread for torch's arithmetic inside the block where matrices have so few rows.

    >>> with few_threads(60):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if size <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
