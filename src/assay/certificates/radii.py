"""From votes to radii, in whole numbers: no float makes 0.28 of 0.29, or a guarantee of a tie.

The published radius is (p_A - p_B) / (2 lambda) of the two largest shares of votes (Xue, Alur and
Wong 2023, Theorem 3.3). Here shares are counts, constants are counts, and the gap has to stay above
zero. Three inequalities: one Lipschitz constant for each feature (`linear_radius`, of which
`strict_radius` is the case of equal constants), the votes that the flipped features can touch
(`vote_aware_radius`), and independent noise (`bernoulli_radius`, from an `expected_gap` that holds
with a confidence). `enumerated_radii` are the true ones.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.certificates.noise import Integers, Masks
from assay.certificates.supersets import subsets

Side: TypeAlias = Literal["incremental", "decremental"]

_ROUNDING = 1e-12  # by which bounds of shares, computed in double precision, are widened


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
    """How far class `top` leads every rival in each draw, at the least: (draws, classes - 1).

    `scores` (draws, classes) are whole numbers in 0..scale, each off by at most
    `rounding_tolerance`; an unsure draw counts as lost.
    """
    rivals = np.delete(scores, top, axis=1)
    # Both the leader's score and the rival's may be off.
    lead = scores[:, [top]] - rivals - 2 * rounding_tolerance
    if unsure is not None:
        lead = np.where(unsure[:, None], -scale, lead)
    # No lead is worse than a draw that is wholly lost.
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
    """The strict radius with one constant per feature: flipping i costs at most 2 scale counts_i.

    So many of the largest constants fit below every rival's gap. `lead` (draws, rivals), `counts`
    (m,) of the features that may be flipped.
    """
    losses = np.broadcast_to(2 * scale * counts, (lead.shape[1], len(counts)))
    return _losses_below(lead.sum(axis=0), losses)


def vote_aware_radius(lead: Integers, masks: Masks, scale: int) -> int:
    """The largest k for which no k features can touch enough winning draws: never below the strict.

    A touched draw that leads rival B by l loses at most l + scale of the gap, and feature i touches
    draw j only if S[j, i] = 1: w_i = sum_j S[j, i] (l_j + scale); the k largest w_i must sum to
    less than the gap, for every B. `masks` (draws, m) are the columns of the features that may be
    flipped.
    """
    # A draw that is touched goes from a lead of l to one of -scale at the worst.
    losses = (lead + scale).T @ masks.astype(np.int64)
    return _losses_below(lead.sum(axis=0), losses)


def _losses_below(gaps: Integers, losses: Integers) -> int:
    """How many of the largest losses (rivals, m) add up to strictly less than each gap (rivals,)."""
    # The worst k features are the k with the largest losses.
    largest_first = -np.sort(-losses, axis=1)
    totals = np.cumsum(largest_first, axis=1)
    return int((totals < gaps[:, None]).sum(axis=1).min())


def bernoulli_radius(gap: Fraction, kept: int, levels: int, room: int, side: Side) -> int:
    """The radius under independent noise with an expected gap of at least `gap`.

    With probability rho = (1 - lambda)^r no flipped feature is kept, independently of the votes:
    the gap stays positive while rho (1 + gap) > 1 (adding to the selection), or rho > 1 - gap
    (removing from the whole). It is not capped at 1/(2 lambda).

    >>> bernoulli_radius(Fraction(1), kept=1, levels=8, room=64, side="incremental")
    5
    """
    if gap <= 0:
        return 0
    least = 1 / (1 + gap) if side == "incremental" else 1 - gap
    dropped = Fraction(levels - kept, levels)
    rho = Fraction(1)
    radius = 0
    # Step by step in fractions: a logarithm would round at the border.
    while radius < room and rho * dropped > least:
        rho = rho * dropped
        radius += 1
    return radius


def binomial_bounds(
    hits: Integers, trials: int, miss: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One-sided Clopper-Pearson (1934) bounds: each fails with probability at most `miss`."""
    from scipy.stats import beta

    # The quantiles do not exist at no hits and at all, where the bounds are 0 and 1.
    some = np.maximum(hits, 1)
    missed = np.maximum(trials - hits, 1)
    lower = np.where(hits > 0, beta.ppf(miss, some, trials - hits + 1), 0.0)
    upper = np.where(hits < trials, beta.isf(miss, hits + 1, missed), 1.0)
    return np.maximum(lower - _ROUNDING, 0.0), np.minimum(upper + _ROUNDING, 1.0)


def expected_gap(
    scores: Integers,
    top: int,
    scale: int,
    miss: float,
    loose: int = 0,
    classes: int | None = None,
) -> Fraction:
    """A lower bound on the expected lead of class `top` from independent draws.

    Wrong with probability at most `miss`. Votes (`scale` 1) are bounded by Clopper and Pearson
    (1934), probabilities by Hoeffding (1963). Each class's sum of scores may be off by `loose`.
    `classes` are those of the model, of which `scores` may leave out some that got no votes.
    """
    draws = len(scores)
    classes = scores.shape[1] if classes is None else classes
    # Both sides of every class: the leader is read off the same draws.
    miss_each = miss / (2 * classes)
    sums = scores.sum(axis=0)
    # What the sums may have been without rounding: (classes,).
    lowest = np.maximum(sums - loose, 0)
    highest = np.minimum(sums + loose, draws * scale)
    if scale == 1:
        lower = binomial_bounds(lowest, draws, miss_each)[0]
        upper = binomial_bounds(highest, draws, miss_each)[1]
    else:
        width = math.sqrt(math.log(1 / miss_each) / (2 * draws)) + _ROUNDING
        lower = lowest / (draws * scale) - width
        upper = highest / (draws * scale) + width
    leader = Fraction(float(lower[top]))
    rival = Fraction(float(np.delete(upper, top).max()))
    if scale == 1:
        # Shares of votes add up to one, which probabilities of a model need not.
        rival = min(rival, 1 - leader)
    return leader - rival


def fully_stable(incremental: int, decremental: int, room: int) -> bool:
    """Whether the two radii of a consistent selection leave no superset between them."""
    return incremental + decremental >= room - 1


def enumerated_radii(classes: Integers, room: int) -> tuple[int, int]:
    """The true radii (adding, removing from the whole) from the class at every superset.

    `classes` (2^room,) in the order of `supersets`. The second is -1 when the whole itself has
    another class than the selection.
    """
    added = subsets(room).sum(axis=1)
    broken = added[classes != classes[0]]
    # Where nothing breaks, every number of features up to `room` is safe.
    fewest_added = int(broken.min(initial=room + 1))
    fewest_removed = int((room - broken).min(initial=room + 1))
    return fewest_added - 1, fewest_removed - 1
