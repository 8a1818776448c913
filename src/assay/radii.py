"""Noise designs and the radii they certify, in whole numbers: no float makes 0.28 of 0.29, or a guarantee of a tie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay import rng
from assay.errors import InputError

Integers = NDArray[np.int64]
Masks = NDArray[np.bool_]
Side = Literal["incremental", "decremental"]


def kept_levels(share: float, levels: int) -> int:
    """The integer L with share = L / levels; a share between two levels is refused, never floored.

    >>> kept_levels(0.29, 100)
    29
    """
    kept = round(share * levels)
    if abs(share * levels - kept) > 1e-9:
        raise InputError(
            f"Expected a share that is a multiple of 1/{levels}, got {share}. "
            f"Take kept={max(1, kept)} of levels={levels}, or other levels."
        )
    return kept


def check_levels(kept: int, levels: int) -> None:
    """Refuses a keep rate that is not in {1/levels, ..., levels/levels}."""
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (kept, levels)):
        raise InputError(f"Expected whole numbers as kept and levels, got {kept!r} and {levels!r}. See kept_levels.")
    if not 1 <= kept <= levels:
        raise InputError(
            f"Expected 1 <= kept <= levels (lambda = kept / levels, above 0 and at most 1), got kept={kept} and "
            f"levels={levels}. A smaller lambda needs more levels."
        )


def pack(mask: NDArray[np.bool_]) -> str:
    """A mask as a hexadecimal word, feature 0 in the highest bit."""
    return np.packbits(mask).tobytes().hex()


def unpack(word: str, features: int) -> Masks:
    """The mask of a hexadecimal word: (features,) bool."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(word), dtype=np.uint8))
    if not features <= bits.size < features + 8:
        raise InputError(f"Expected a word of {-(-features // 8)} bytes for {features} features, got {word!r}.")
    return bits[:features].astype(bool)


@final
@dataclass(frozen=True)
class NoiseDesign:
    """The fixed list of keep masks of a smoothed classifier: part of it, and stored with every certificate.

    `rows` holds one hexadecimal word per draw; `kept / levels` is the largest share of draws that keeps a feature (for
    Bernoulli noise: the exact probability), which is the Lipschitz constant of the smoothed classifier.

    >>> NoiseDesign.cyclic((0, 1, 2, 3), kept=2, levels=4).masks.astype(int)
    array([[1, 1, 0, 0],
           [1, 0, 0, 1],
           [0, 0, 1, 1],
           [0, 1, 1, 0]])
    """

    features: int
    rows: tuple[str, ...]
    kept: int
    levels: int
    kind: Literal["structured", "stratified", "bernoulli", "masks"] = "masks"

    @cached_property
    def masks(self) -> Masks:
        """(draws, features) bool, read-only."""
        table = np.stack([unpack(row, self.features) for row in self.rows])
        table.setflags(write=False)
        return table

    @cached_property
    def counts(self) -> Integers:
        """How many draws keep each feature: (features,)."""
        counts: Integers = self.masks.sum(axis=0, dtype=np.int64)
        return counts

    def keeping(self, always: ArrayLike) -> NoiseDesign:
        """The same design with some features never dropped: constants then hold for the other features alone."""
        return NoiseDesign.of(self.masks | np.asarray(always, dtype=bool))

    @staticmethod
    def of(masks: ArrayLike) -> NoiseDesign:
        """Any fixed masks (draws, features): |f(a) - f(a')| <= sum over flipped i of mean_j S[j, i]."""
        table = np.asarray(masks)
        if table.ndim != 2 or table.size == 0 or not np.isin(table, (0, 1)).all():
            raise InputError(f"Expected masks (draws, features) of zeros and ones, got shape {table.shape}.")
        return _design(table.astype(bool), int(table.sum(axis=0).max()), len(table), "masks")

    @staticmethod
    def cyclic(offsets: ArrayLike, kept: int, levels: int) -> NoiseDesign:
        """Draw j keeps feature i if (V_i + j) mod levels < kept.

        The integer form of Proposition 3.4 of Xue, Alur and Wong (2023): each feature is kept in exactly `kept` of the
        `levels` draws, so `levels` forward passes give the expectation exactly.
        """
        check_levels(kept, levels)
        ring = np.asarray(offsets, dtype=np.int64)
        return _design((ring[None, :] + np.arange(levels)[:, None]) % levels < kept, kept, levels, "structured")

    @staticmethod
    def structured(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise with independent uniform offsets, as published."""
        check_levels(kept, levels)
        return NoiseDesign.cyclic(rng.shared(seed, "noise offsets").integers(levels, size=features), kept, levels)

    @staticmethod
    def stratified(features: int, kept: int, levels: int, seed: int = 0) -> NoiseDesign:
        """Cyclic noise whose offsets are spread evenly over the ring: the same guarantee, more varied masks."""
        check_levels(kept, levels)
        ring = rng.shared(seed, "noise offsets").permutation(np.arange(features) * levels // features)
        return _design(NoiseDesign.cyclic(ring, kept, levels).masks, kept, levels, "stratified")

    @staticmethod
    def bernoulli(features: int, kept: int, levels: int, draws: int, seed: int = 0) -> NoiseDesign:
        """Independent draws, each feature kept with probability exactly kept / levels: a sample of the noise."""
        check_levels(kept, levels)
        if draws < 1:
            raise InputError(f"Expected at least one draw, got draws={draws}.")
        masks = rng.shared(seed, "noise draws").integers(levels, size=(draws, features)) < kept
        return _design(masks, kept, levels, "bernoulli")


def _design(
    masks: Masks, kept: int, levels: int, kind: Literal["structured", "stratified", "bernoulli", "masks"]
) -> NoiseDesign:
    return NoiseDesign(masks.shape[1], tuple(pack(row) for row in masks), kept, levels, kind)


def winner(scores: Integers) -> int:
    """The class with the most votes, the lowest index at a tie."""
    return int(scores.sum(axis=0).argmax())


def leads(scores: Integers, top: int, scale: int, slack: int = 0, unsure: NDArray[np.bool_] | None = None) -> Integers:
    """How far class `top` is ahead of every other class in each draw, at the least: (draws, classes - 1).

    `scores` (draws, classes) are whole numbers in 0..scale, each off by at most `slack`; an unsure draw counts as lost.
    """
    lead = scores[:, [top]] - np.delete(scores, top, axis=1) - 2 * slack
    if unsure is not None:
        lead = np.where(unsure[:, None], -scale, lead)
    bounded: Integers = np.maximum(lead, -scale)
    return bounded


def strict_radius(gap: int, kept: int, scale: int = 1) -> int:
    """The largest r with 2 * scale * kept * r < gap: max(0, ceil(gap / (2 scale kept)) - 1).

    The published r = gap / (2 lambda) allows a tie; here the margin stays above zero, whatever the tie rule.

    >>> strict_radius(gap=2, kept=1), strict_radius(gap=64, kept=8)
    (0, 3)
    """
    return max(0, -(-gap // (2 * scale * kept)) - 1)


def linear_radius(lead: Integers, counts: Integers, scale: int) -> int:
    """The strict radius with one constant per feature: how many of the largest 2 scale counts fit below every gap."""
    return _reach(lead.sum(axis=0), np.broadcast_to(2 * scale * counts, (lead.shape[1], len(counts))))


def vote_aware_radius(lead: Integers, masks: Masks, scale: int) -> int:
    """The largest k for which no k features can touch enough winning draws: never below the strict radius.

    A touched draw that leads rival B by l loses at most l + scale of the gap, and feature i touches draw j only if
    S[j, i] = 1: w_i = sum_j S[j, i] (l_j + scale); the k largest w_i must sum to less than the gap, for every B.
    `masks` (draws, m) are the columns of the features that may be flipped.
    """
    return _reach(lead.sum(axis=0), (lead + scale).T @ masks.astype(np.int64))


def _reach(gaps: Integers, losses: Integers) -> int:
    """How many of the largest losses (rivals, m) fit strictly below each gap (rivals,)."""
    spent = np.cumsum(-np.sort(-losses, axis=1), axis=1)
    return int((spent < gaps[:, None]).sum(axis=1).min())


def bernoulli_radius(gap: Fraction, kept: int, levels: int, room: int, side: Side) -> int:
    """The radius under independent Bernoulli noise with an expected gap of at least `gap`: not capped at 1/(2 lambda).

    With probability rho = (1 - lambda)^r no flipped feature is kept, independently of the votes: the gap stays positive
    while rho (1 + gap) > 1 (adding to the selection), or rho > 1 - gap (removing from the whole).

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


def binomial_bounds(hits: Integers, trials: int, miss: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One-sided Clopper-Pearson (1934) bounds, each of which fails with probability at most `miss`."""
    from scipy.stats import beta

    lower = np.where(hits > 0, beta.ppf(miss, np.maximum(hits, 1), trials - hits + 1), 0.0)
    upper = np.where(hits < trials, beta.isf(miss, hits + 1, np.maximum(trials - hits, 1)), 1.0)
    return np.maximum(lower - 1e-12, 0.0), np.minimum(upper + 1e-12, 1.0)


def expected_gap(scores: Integers, top: int, scale: int, miss: float, loose: int = 0) -> Fraction:
    """A lower bound on the expected lead of class `top` from independent draws, wrong with probability at most `miss`.

    Both sides of every class are bounded at once, since the leading class is read off the same draws: votes by Clopper
    and Pearson (1934), probabilities by Hoeffding (1963). Each class's sum of scores may be off by `loose`.
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
    """Whether the two radii of a consistent selection leave no superset between them: every one keeps the class."""
    return incremental + decremental >= room - 1


def supersets(selection: Masks, start: int, stop: int) -> Masks:
    """Supersets start to stop - 1 of a selection (stop - start, n): bit b of the number adds the b-th free feature."""
    free = np.flatnonzero(~selection)
    masks = np.tile(selection, (stop - start, 1))
    masks[:, free] = np.arange(start, stop)[:, None] >> np.arange(len(free)) & 1 == 1
    return masks


def enumerated_radii(classes: Integers, room: int) -> tuple[int, int]:
    """The true radii (adding, removing from the whole) from the class at every superset, in the order of `supersets`.

    The second is -1 when the whole itself has another class than the selection.
    """
    added = np.bitwise_count(np.arange(2**room))
    broken = added[classes != classes[0]].astype(np.int64)
    return int(broken.min(initial=room + 1)) - 1, int((room - broken).min(initial=room + 1)) - 1
