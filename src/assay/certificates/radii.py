"""Noise designs and the radii they certify, in whole numbers: no float makes 0.28 of 0.29, or a
guarantee of a tie.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assay.certificates.noise import Integers, Masks

Side = Literal["incremental", "decremental"]


def winner(scores: Integers) -> int:
    """The class with the most votes, the lowest index at a tie."""
    return int(scores.sum(axis=0).argmax())


def leads(
    scores: Integers,
    top: int,
    scale: int,
    rounding_tolerance: int = 0,
    unsure: NDArray[np.bool_] | None = None,
) -> Integers:
    """How far class `top` is ahead of every other class in each draw, at the least: (draws, classes
    - 1).

    `scores` (draws, classes) are whole numbers in 0..scale, each off by at most `slack`; an unsure
    draw counts as lost.
    """
    lead = scores[:, [top]] - np.delete(scores, top, axis=1) - 2 * rounding_tolerance
    if unsure is not None:
        lead = np.where(unsure[:, None], -scale, lead)
    bounded: Integers = np.maximum(lead, -scale)
    return bounded


def strict_radius(gap: int, kept: int, scale: int = 1) -> int:
    """The largest r with 2 * scale * kept * r < gap: max(0, ceil(gap / (2 scale kept)) - 1).

    The published r = gap / (2 lambda) allows a tie; here the margin stays above zero, whatever the
    tie rule.

    >>> strict_radius(gap=2, kept=1), strict_radius(gap=64, kept=8)
    (0, 3)
    """
    return max(0, -(-gap // (2 * scale * kept)) - 1)


def linear_radius(lead: Integers, counts: Integers, scale: int) -> int:
    """The strict radius with one constant per feature: how many of the largest 2 scale counts fit
    below every gap.
    """
    return _reach(
        lead.sum(axis=0), np.broadcast_to(2 * scale * counts, (lead.shape[1], len(counts)))
    )


def vote_aware_radius(lead: Integers, masks: Masks, scale: int) -> int:
    """The largest k for which no k features can touch enough winning draws: never below the strict
    radius.

    A touched draw that leads rival B by l loses at most l + scale of the gap, and feature i touches
    draw j only if S[j, i] = 1: w_i = sum_j S[j, i] (l_j + scale); the k largest w_i must sum to
    less than the gap, for every B. `masks` (draws, m) are the columns of the features that may be
    flipped.
    """
    return _reach(lead.sum(axis=0), (lead + scale).T @ masks.astype(np.int64))


def _reach(gaps: Integers, losses: Integers) -> int:
    """How many of the largest losses (rivals, m) fit strictly below each gap (rivals,)."""
    spent = np.cumsum(-np.sort(-losses, axis=1), axis=1)
    return int((spent < gaps[:, None]).sum(axis=1).min())


def bernoulli_radius(gap: Fraction, kept: int, levels: int, room: int, side: Side) -> int:
    """The radius under independent Bernoulli noise with an expected gap of at least `gap`: not
    capped at 1/(2 lambda).

    With probability rho = (1 - lambda)^r no flipped feature is kept, independently of the votes:
    the gap stays positive while rho (1 + gap) > 1 (adding to the selection), or rho > 1 - gap
    (removing from the whole).

    >>> bernoulli_radius(Fraction(1), kept=1, levels=8, room=64, side="incremental")
    5
    """
    if gap <= 0:
        return 0
    need = 1 / (1 + gap) if side == "incremental" else 1 - gap
    dropped, rho, radius = Fraction(levels - kept, levels), Fraction(1), 0
    while radius < room and rho * dropped > need:
        rho, radius = rho * dropped, radius + 1
    return radius


def binomial_bounds(
    hits: Integers, trials: int, miss: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One-sided Clopper-Pearson (1934) bounds, each of which fails with probability at most `miss`."""
    from scipy.stats import beta

    lower = np.where(hits > 0, beta.ppf(miss, np.maximum(hits, 1), trials - hits + 1), 0.0)
    upper = np.where(hits < trials, beta.isf(miss, hits + 1, np.maximum(trials - hits, 1)), 1.0)
    return np.maximum(lower - 1e-12, 0.0), np.minimum(upper + 1e-12, 1.0)


def expected_gap(scores: Integers, top: int, scale: int, miss: float, loose: int = 0) -> Fraction:
    """A lower bound on the expected lead of class `top` from independent draws, wrong with
    probability at most `miss`.

    Both sides of every class are bounded at once, since the leading class is read off the same
    draws: votes by Clopper and Pearson (1934), probabilities by Hoeffding (1963). Each class's sum
    of scores may be off by `loose`.
    """
    draws, classes = scores.shape
    each, total = miss / (2 * classes), scores.sum(axis=0)
    low, high = np.maximum(total - loose, 0), np.minimum(total + loose, draws * scale)
    if scale == 1:
        lower, upper = binomial_bounds(low, draws, each)[0], binomial_bounds(high, draws, each)[1]
    else:
        width = math.sqrt(math.log(1 / each) / (2 * draws)) + 1e-12
        lower, upper = low / (draws * scale) - width, high / (draws * scale) + width
    rival, own = Fraction(float(np.delete(upper, top).max())), Fraction(float(lower[top]))
    return own - (min(rival, 1 - own) if scale == 1 else rival)


def fully_stable(incremental: int, decremental: int, room: int) -> bool:
    """Whether the two radii of a consistent selection leave no superset between them: every one
    keeps the class.
    """
    return incremental + decremental >= room - 1


def supersets(selection: Masks, start: int, stop: int) -> Masks:
    """Supersets start to stop - 1 of a selection (stop - start, n): bit b of the number adds the
    b-th free feature.
    """
    free = np.flatnonzero(~selection)
    masks = np.tile(selection, (stop - start, 1))
    masks[:, free] = np.arange(start, stop)[:, None] >> np.arange(len(free)) & 1 == 1
    return masks


def enumerated_radii(classes: Integers, room: int) -> tuple[int, int]:
    """The true radii (adding, removing from the whole) from the class at every superset, in the
    order of `supersets`.

    The second is -1 when the whole itself has another class than the selection.
    """
    added = np.bitwise_count(np.arange(2**room))
    broken = added[classes != classes[0]].astype(np.int64)
    return int(broken.min(initial=room + 1)) - 1, int((room - broken).min(initial=room + 1)) - 1
