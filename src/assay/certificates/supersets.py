"""Lists of subsets and of supersets, in the one order that everything in this wing relies on.

A superset a >= phi of a selection phi shows the selection and some of the features that are free.
Hard stability asks all of them, soft stability those within a radius, the Lipschitz check all masks
there are.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from assay.certificates.noise import Masks


def subsets(count: int, at_most: int | None = None) -> Masks:
    """All subsets of `count` features as masks, or those of at most so many: (subsets, count).

    All of them stand in binary order (bit b of the row number is feature b), which saved
    certificates rely on; those of limited size by size, which never lists the others.

    >>> subsets(2).astype(int).tolist(), subsets(3, at_most=1).astype(int).tolist()
    ([[0, 0], [1, 0], [0, 1], [1, 1]], [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    """
    if at_most is None or at_most >= count:
        # Feature b is in subset number i where bit b of i is set.
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
        every: Masks = bits == 1
        return every
    # By size, so that the subsets that are too large are never counted through.
    members: list[tuple[int, ...]] = []
    for size in range(at_most + 1):
        members.extend(combinations(range(count), size))
    masks: Masks = np.zeros((len(members), count), dtype=np.bool_)
    for row, chosen in enumerate(members):
        masks[row, list(chosen)] = True
    return masks


def supersets(selection: Masks, radius: int | None = None) -> Masks:
    """The supersets of a selection that add at most `radius` features, or all: (supersets, n).

    In the order of `subsets` of the free features; the selection itself comes first.
    """
    free = np.flatnonzero(~selection)
    added = subsets(len(free), radius)
    masks = np.tile(selection, (len(added), 1))
    masks[:, free] = added
    return masks


def count_supersets(room: int, radius: int) -> int:
    """How many supersets add at most `radius` of `room` free features."""
    return sum(math.comb(room, added) for added in range(min(room, radius) + 1))
