"""How far an interval of a mean reaches: Student's, widened by the studentised bootstrap.

The bootstrap of (mean* - mean) / (s* / sqrt(n)) sees the skewness of the values (Hall 1988), of which
a few show less than their law has; by simulation its part is stretched for few values, and left out
of those that have no tails (`docs/studies/intervals.md`). To read on: Hall, "The bootstrap and
Edgeworth expansion" (1992), section 3.10.

Resampling is a matrix product of counts with the table, so that many columns share one set of draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.numerics import rng
from assay.numerics.pieces import pieces

Floats: TypeAlias = NDArray[np.float64]

# Entries of one resampling matrix (16 MB), so that memory does not grow
# with the resamples.
BLOCK = 1 << 21

# Relative to the largest value of a column: sums that are equal in exact
# arithmetic differ by less than this, whatever the order of summation.
TIE = 1e-12
_ROUNDING = 64 * np.finfo(np.float64).eps

# Times that the studentised bootstrap may reach further than Student's interval.
_WIDEST = 10.0

# What the bootstrap adds to Student's interval counts from a kurtosis of 2.5 - 10 / n on, wholly from 1
# above it, and by 2 / n at least: a few rounded values hide their tails, and only many show that they
# have none.
_NO_TAILS = 2.5
_SHOWN_BY_FEW = 10.0
_LEAST_TAILS = 2.0


def studentised(values: Floats, level: float, seed: int, resamples: int) -> Floats:
    """The hull of Student's interval and the studentised bootstrap's: (k, 2) of values (n, k)."""
    from scipy.special import stdtrit

    n = len(values)
    observed = values.mean(axis=0)
    # Powers of values have no overflow, and no cancellation, about the mean in units of the largest.
    scale = np.max(np.abs(values - observed), axis=0)
    constant = scale <= TIE * np.max(np.abs(values), axis=0)
    scale[constant] = 1.0
    deviations = (values - observed) / scale
    error = deviations.std(axis=0, ddof=1) / np.sqrt(n)
    quantile = float(stdtrit(n - 1, (1 + level) / 2))
    student = quantile * error
    shares = np.array([(1 - level) / 2, (1 + level) / 2])
    ratios = _quantiles(_ratios(deviations, seed, resamples), shares)
    # The largest ratios stand for means that were overestimated: they bound it from below.
    tails = _tails(deviations)
    low = -_stretched(student, ratios[1] * error, n, tails)
    high = _stretched(student, -ratios[0] * error, n, tails)
    bounds = np.stack([observed + scale * low, observed + scale * high], axis=1)
    # A column whose values are all the same has that value as both bounds, to the last bit.
    bounds[constant] = values[0, constant][:, None]
    return bounds


def unseen_reach(values: Floats, unseen: Floats, weight: float, level: float) -> Floats:
    """How far Student's interval of each column (n, k) would reach, had a further value of this weight,
    `unseen` (k,), been seen: (k,). NaN values are left out.

    Few values may all lie close together where another, far off, is rare; what it may be has to be known
    from elsewhere.
    """
    from scipy.special import stdtrit

    n = np.count_nonzero(~np.isnan(values), axis=0)
    mean = np.nanmean(values, axis=0)
    # The variance of n values and a part of one: that within them, and that of the two means.
    share = weight / (n + weight)
    variance = (1 - share) * np.nanvar(values, axis=0) + share * (1 - share) * (unseen - mean) ** 2
    reach: Floats = stdtrit(n - 1, (1 + level) / 2) * np.sqrt(variance / n)
    return reach


def _tails(deviations: Floats) -> Floats:
    """From 2 / n, values without tails, to 1, values that may have them: (k,) of deviations (n, k)."""
    n = len(deviations)
    squares = deviations**2
    variance = squares.mean(axis=0)
    # The least kurtosis that there can be is 1, that of two values; a uniform law has 1.8.
    kurtosis = (squares**2).mean(axis=0) / np.where(variance > 0, variance, 1.0) ** 2
    least = _NO_TAILS - _SHOWN_BY_FEW / n
    tails: Floats = np.clip(kurtosis - least, _LEAST_TAILS / n, 1.0)
    return tails


def _stretched(student: Floats, bootstrap: Floats, n: int, tails: Floats) -> Floats:
    """How far the interval of n values reaches to one side of the mean: (k,)."""
    # A sample's skewness falls short of its law's, and so does what resamples add to Student's.
    reach = student + np.maximum(bootstrap - student, 0.0) * tails * n / (n - 5)
    return np.minimum(reach, _WIDEST * student)


def _ratios(deviations: Floats, seed: int, resamples: int) -> Floats:
    """The studentised means (resamples, k) of resampled deviations (n, k) from the mean.

    NaN where a resample has no spread of its own: it says nothing of how far means lie off.
    """
    n = len(deviations)
    ratios = np.empty((resamples, deviations.shape[1]))
    for piece, counts in bootstrap_counts(n, seed, resamples):
        means = counts @ deviations / n
        squares = counts @ deviations**2 / n
        variance = np.maximum(squares - means**2, 0.0)
        spread = np.sqrt(variance / (n - 1))
        # What is left of two numbers that cancel is their rounding, and no spread.
        flat = (spread <= TIE) | (variance <= _ROUNDING * squares)
        # Means that tie with the observed one are no evidence to either side.
        means[np.abs(means) <= TIE] = 0.0
        ratios[piece] = np.where(flat, np.nan, means / np.where(flat, 1.0, spread))
    return ratios


def _quantiles(ratios: Floats, shares: Floats) -> Floats:
    """The order statistics of every column of ratios (resamples, k) at the shares (2,): (2, k); 0
    where a column has no ratio at all.
    """
    # NaN is sorted behind all others.
    ordered = np.sort(ratios, axis=0)
    last = np.count_nonzero(~np.isnan(ratios), axis=0) - 1
    columns = np.arange(ratios.shape[1])
    # Outwards to the next one, which makes the interval no shorter.
    low = ordered[np.floor(shares[0] * last).astype(np.intp), columns]
    high = ordered[np.ceil(shares[1] * last).astype(np.intp), columns]
    ends: Floats = np.nan_to_num(np.stack([low, high]))
    return ends


def bootstrap_counts(n: int, seed: int, resamples: int) -> Iterator[tuple[slice, Floats]]:
    """How often each of n inputs was drawn in each resample, piece by piece: (resamples, counts
    (piece, n)).
    """
    generator = rng.shared(seed, f"bootstrap {n}")
    for piece in pieces(resamples, n, BLOCK):
        size = piece.stop - piece.start
        inputs = generator.integers(0, n, (size, n))
        # Each resample counts in n cells of its own, so that one bincount serves
        # them all.
        cells = inputs + n * np.arange(size)[:, None]
        counts = np.bincount(cells.reshape(-1), minlength=size * n).reshape(size, n)
        yield piece, counts.astype(np.float64)
