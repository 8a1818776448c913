"""Whether several judges put the same things in the same order: Kendall's W.

The judges are metrics and the things are methods, so that a low W says that "the best explanation"
depends on who is asked, which a mean of ranks would hide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import InputError
from assay.numerics.statistics import Floats


def kendall_w(table: ArrayLike) -> float:
    """The concordance of judges (rows) about things (columns), from 0 to 1.

    W = 12 S / (m^2 (k^3 - k) - m T), S the sum of squared deviations of the k rank sums and T the
    correction for ties, sum of t^3 - t over all groups of ties      (Kendall and Smith 1939)

    NaN for one judge, for one thing, and where every judge ties all things.

    >>> kendall_w([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    1.0
    >>> kendall_w([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    0.0
    """
    scores = np.asarray(table, dtype=np.float64)
    if scores.ndim != 2 or not np.all(np.isfinite(scores)):
        raise InputError(
            expected="a table (judges, things) of finite scores",
            got=f"shape {scores.shape}" if scores.ndim != 2 else "NaN or infinity",
            advice="Leave out the things that a judge has no score of.",
        )
    judges, things = scores.shape
    if judges < 2 or things < 2:
        return float("nan")
    # Tied things share the mean of their places.
    places = np.stack([_mean_places(row) for row in scores])
    sums = places.sum(axis=0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    largest = judges**2 * (things**3 - things) - judges * _ties(places)
    return 12 * spread / largest if largest > 0 else float("nan")


def _mean_places(row: Floats) -> Floats:
    """The place of each thing, from 1 on; tied ones share the mean of theirs."""
    _, group, sizes = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    shared: Floats = last - (sizes - 1) / 2
    return shared[group]


def _ties(places: Floats) -> float:
    """The sum of t^3 - t over all groups of tied things, of all judges."""
    total = 0.0
    for row in places:
        _, sizes = np.unique(row, return_counts=True)
        total += float((sizes.astype(np.float64) ** 3 - sizes).sum())
    return total
