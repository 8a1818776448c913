"""Whether several judges put the same things in the same order: Kendall's W.

The judges are metrics and the things are methods, so that a low W says that "the best explanation"
depends on who is asked, which a mean of ranks would hide.

The W of true means has no interval that holds: it is a step function of them, so that a W of 1 is
found in few samples where two means are nearly the same, and in all of them where none are. What has
one is the mean of W over inputs, each with its own ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import InputError
from assay.numerics import statistics
from assay.numerics.statistics import Floats, Indices
from assay.numerics.studentised import unseen_reach

# Of the spread that one unseen input may have; by simulation the least that holds for most laws
# (`docs/studies/intervals.md`).
_UNSEEN = 0.75

# Of an input whose judges do not agree, likewise.
_DISAGREEING = 1 / 12

# The share of inputs with one and the same W from which on the two are thought of.
_SAME_FOR_UNSEEN = 0.6
_SAME_FOR_DISAGREEING = 0.5


@final
@dataclass(frozen=True)
class MeanConcordance:
    """The mean of W over inputs.

    Fields:
        w: the mean; NaN where no input has a W.
        low, high: its interval; NaN of fewer than 8 inputs.
        n: inputs that have a W.
    """

    w: float
    low: float
    high: float
    n: int


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
    return float(concordances(scores[None])[0])


def concordances(tables: Floats) -> Floats:
    """Kendall's W of each of many tables (r, judges, things) of finite scores: (r,)."""
    count, judges, things = tables.shape
    if judges < 2 or things < 2:
        return np.full(count, np.nan)
    below = (tables[:, :, None, :] < tables[:, :, :, None]).sum(axis=3)
    tied = (tables[:, :, None, :] == tables[:, :, :, None]).sum(axis=3)
    # Tied things share the mean of their places, from 1 on.
    places = below + (tied + 1) / 2
    sums = places.sum(axis=1)
    spread = ((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    # t^3 - t of a group is t^2 - 1 of each of its t members.
    ties = (tied.astype(np.float64) ** 2 - 1).sum(axis=(1, 2))
    largest = judges**2 * (things**3 - things) - judges * ties
    found: Floats = np.where(largest > 0, 12 * spread / np.where(largest > 0, largest, 1), np.nan)
    return found


def mean_concordance(tables: Floats, level: float = 0.95, seed: int = 0) -> MeanConcordance:
    """The mean of Kendall's W over inputs, each of which has a table (inputs, judges, things) of its
    own, with an interval over inputs.

    Inputs without all scores, and those where every judge ties all things, are left out. The interval
    is that of a mean (`statistics.interval`). Few inputs may all have one W where others would not: where
    six in ten have, it reaches at least three quarters as far as if one input more had been seen, with
    the largest spread that a W of this mean can have; where half of them have, it reaches below the mean
    at least as far as Student's with a twelfth of an input more whose judges do not agree, W = 1 /
    judges. An interval that ends at 1, or at the one W that nearly all have, holds in more than 95 % of
    samples (`docs/studies/intervals.md`). Of two judges and two things W is 0 or 1, and its mean a
    rate (Wilson 1927). No model evaluations.
    """
    complete = ~np.isnan(tables).any(axis=(1, 2))
    w = concordances(tables[complete])
    w = w[~np.isnan(w)]
    n = len(w)
    if n == 0:
        return MeanConcordance(math.nan, math.nan, math.nan, 0)
    mean = float(w.mean())
    if n < statistics.FEWEST:
        return MeanConcordance(mean, math.nan, math.nan, n)
    if tables.shape[1:] == (2, 2):
        return MeanConcordance(mean, *statistics.wilson(round(float(w.sum())), n, level), n)
    low, high = mean_intervals(w[:, None], tables.shape[1], level, seed)[0]
    return MeanConcordance(mean, float(low), float(high), n)


def mean_intervals(
    w: Floats, judges: int, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Floats:
    """The interval of the mean of each column of W over inputs (n, k), as of `mean_concordance`: (k,
    2).
    """
    bounds = statistics.intervals(w, level, seed, resamples)
    means = np.nanmean(w, axis=0)
    reach = _least_reach(means, np.count_nonzero(~np.isnan(w), axis=0), level)
    disagreeing = unseen_reach(w, np.full(len(means), 1 / judges), _DISAGREEING, level)
    same = _most_frequent(w)
    # Of inputs that differ the spread is seen, and need not be thought of.
    reach[same < _SAME_FOR_UNSEEN] = 0.0
    disagreeing[same < _SAME_FOR_DISAGREEING] = 0.0
    low = np.maximum(np.minimum(bounds[:, 0], means - np.maximum(reach, disagreeing)), 0.0)
    high = np.minimum(np.maximum(bounds[:, 1], means + reach), 1.0)
    return np.stack([low, high], axis=1)


def _most_frequent(w: Floats) -> Floats:
    """The share of inputs that have the most frequent W of their column (n, k): (k,)."""
    shares = np.zeros(w.shape[1])
    for k, column in enumerate(w.T):
        values = column[~np.isnan(column)]
        # W of equal ranks may differ by rounding.
        _, counts = np.unique(np.round(values, 9), return_counts=True)
        shares[k] = counts.max(initial=0) / max(len(values), 1)
    return shares


def _least_reach(mean: Floats, n: Indices, level: float) -> Floats:
    """How far Student's interval would reach for one unseen input, as far off as it can be, shrunk."""
    from scipy.special import stdtrit

    # No mean of numbers in [0, 1] has a larger variance; half an input of each end keeps it above 0.
    centre = (n * mean + 0.5) / (n + 1)
    spread = np.sqrt(centre * (1 - centre) / (n + 1))
    reach: Floats = _UNSEEN * stdtrit(n - 1, (1 + level) / 2) * spread / np.sqrt(n)
    return reach
