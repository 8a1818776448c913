"""The law of one column of a table, as LIME draws it: bins, and what is drawn inside each.

Of numbers the bins lie between quantiles, and a value inside is from a normal law that is cut off at
the bin's ends (`Bins`). Of categories each level is a bin (`Levels`). A bin of one value gives that
value, to the last bit. What is missing is one more level, drawn as often as the rows have it.

Both steps are inversions of a distribution function (Devroye 1986, section II.2), so that one
uniform number makes a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from assay.numerics.designs import Floats

Integers: TypeAlias = NDArray[np.int64]

UNSEEN = -1
"""The bin of a value that no draw can be near."""

_SD_FLOOR = 1e-11  # added to a bin's standard deviation, as the original does: no division by zero
_SHARE_FLOOR = 1e-300  # of a bin without rows, which is never drawn


@final
@dataclass(frozen=True, eq=False)
class Bins:
    """A column of numbers in b bins between its quantiles.

    Settings:
        cuts: the borders between bins of numbers; a missing value has the bin behind the last.
        cumulative: the share of the data below each bin, and 1: (b + 1,).
        mean: of the data in each bin, (b,).
        sd: standard deviation of the data in each bin, (b,).
        lower: the least value of each bin, (b,).
        upper: the largest value, (b,).
        constant: whether the bin holds one value only, (b,).
        value: the least value in each bin, which is all that a constant bin gives, (b,).
    """

    cuts: Floats
    cumulative: Floats
    mean: Floats
    sd: Floats
    lower: Floats
    upper: Floats
    constant: NDArray[np.bool_]
    value: Floats

    @classmethod
    def of(cls, column: Floats, parts: int = 4) -> Bins:
        """The bins of a column of data, cut into `parts` of equal frequency."""
        missing = np.isnan(column)
        known = column[~missing]
        cuts = _cuts(known, parts)
        members = np.searchsorted(cuts, known)
        number = len(cuts) + 1
        counts = np.bincount(members, minlength=number)
        divisor = np.maximum(counts, 1)
        sums = np.bincount(members, known, minlength=number)
        mean = sums / divisor
        squares = (known - mean[members]) ** 2
        sums = np.bincount(members, squares, minlength=number)
        variance = sums / divisor
        distinct = [np.unique(known[members == b]) for b in range(number)]
        least = [values[0] if len(values) else 0.0 for values in distinct]
        bins = cls(
            cuts=cuts,
            cumulative=_cumulative(counts, len(column)),
            mean=mean,
            sd=np.sqrt(variance) + _SD_FLOOR,
            lower=np.concatenate([[known.min()], cuts]),
            upper=np.concatenate([cuts, [known.max()]]),
            constant=np.array([len(values) < 2 for values in distinct]),
            value=np.array(least),
        )
        return bins._with_missing() if missing.any() else bins

    def _with_missing(self) -> Bins:
        """The same with a last bin for the rest of the rows, which is what is missing in them."""

        def longer(values: Floats, last: float) -> Floats:
            return np.append(values, last)

        return Bins(
            cuts=self.cuts,
            cumulative=longer(self.cumulative, 1.0),
            mean=longer(self.mean, 0.0),
            sd=longer(self.sd, 1.0),
            lower=longer(self.lower, 0.0),
            upper=longer(self.upper, 0.0),
            constant=np.append(self.constant, True),
            value=longer(self.value, np.nan),
        )

    def index(self, values: Floats) -> Integers:
        """The bins that values fall into, `UNSEEN` where no row has such a value."""
        bins = np.searchsorted(self.cuts, values)
        missing = np.isnan(values)
        # A column that misses nothing has no bin for what is missing.
        behind = len(self.cuts) + 1
        last = len(self.value) - 1
        bins = np.where(missing, min(behind, last), bins)
        shares = np.diff(self.cumulative)
        seen = shares[bins] > 0
        seen &= missing == np.isnan(self.value[bins])
        return np.where(seen, bins, UNSEEN)

    def draw(self, u: Floats) -> tuple[Integers, Floats]:
        """Uniforms u in (0, 1) to bins, by their shares, and to values in them."""
        from scipy.special import ndtr, ndtri

        bins = np.searchsorted(self.cumulative, u, side="right") - 1
        bins = np.clip(bins, 0, len(self.mean) - 1)
        # Given its bin, the position of a uniform
        # inside the bin's share is uniform again ...
        share = self.cumulative[bins + 1] - self.cumulative[bins]
        share = np.maximum(share, _SHARE_FLOOR)
        position = (u - self.cumulative[bins]) / share
        # ... and is inverted by the truncated normal
        # law: between its probabilities at the borders.
        start = ndtr((self.lower - self.mean) / self.sd)[bins]
        stop = ndtr((self.upper - self.mean) / self.sd)[bins]
        probability = start + position * (stop - start)
        values = self.mean[bins] + self.sd[bins] * ndtri(probability)
        # Rounding in the tails could leave
        # the bin, and far tails are infinite.
        values = np.clip(values, self.lower[bins], self.upper[bins])
        # What is one value in the rows is that value: of a
        # category, or of a flag, nothing near it is the same.
        return bins, np.where(self.constant[bins], self.value[bins], values)

    def equal_uniforms(self, bins: Integers, u: Floats) -> tuple[Floats, Floats]:
        """From which to which uniform the values are the same as those of uniforms u.

        All of a bin's where it holds one value, the one alone elsewhere.
        """
        constant = self.constant[bins]
        start = np.where(constant, self.cumulative[bins], u)
        stop = np.where(constant, self.cumulative[bins + 1], u)
        return start, stop


@final
@dataclass(frozen=True, eq=False)
class Levels:
    """A column of categories: each of its b levels is a bin of its own, drawn by its frequency.

    The most frequent comes first, and the first met among equals: the rows alone decide, not the
    numbers that stand for the levels.

    Settings:
        value: the levels, NaN for what is missing, (b,).
        cumulative: the share of the data before each level, and 1: (b + 1,).
    """

    value: Floats
    cumulative: Floats

    @classmethod
    def of(cls, column: Floats) -> Levels:
        """The levels of a column of data."""
        values, first, counts = np.unique(column, return_index=True, return_counts=True)
        # By frequency and not by code, so that a new coding of the levels draws the same rows.
        order = np.lexsort((first, -counts))
        return cls(values[order], _cumulative(counts[order], len(column)))

    def index(self, values: Floats) -> Integers:
        """The levels that values are, `UNSEEN` where no row has such a value."""
        order = np.argsort(self.value)
        ascending = self.value[order]
        places = np.searchsorted(ascending, values)
        # A value beyond all levels would be looked up behind the last: it is found to differ there.
        places = np.minimum(places, len(ascending) - 1)
        found = ascending[places]
        # NaN is no number's equal, also not its own, but what is missing is one level here.
        same = (found == values) | (np.isnan(found) & np.isnan(values))
        return np.where(same, order[places], UNSEEN)

    def draw(self, u: Floats) -> tuple[Integers, Floats]:
        """Uniforms u in (0, 1) to levels, by their shares, and to the values that they are."""
        bins = np.searchsorted(self.cumulative, u, side="right") - 1
        bins = np.clip(bins, 0, len(self.value) - 1)
        return bins, self.value[bins]

    def equal_uniforms(self, bins: Integers, u: Floats) -> tuple[Floats, Floats]:
        """From which to which uniform the values are the same: all of a level's."""
        return self.cumulative[bins], self.cumulative[bins + 1]


Law: TypeAlias = Bins | Levels
"""How one column is cut and drawn."""


def law_of(column: Floats, categorical: bool, parts: int) -> Law:
    """The law of a column of data."""
    # Where all rows hold one value there is nothing to cut,
    # and no other value is near it for any reason in the data.
    if categorical or len(np.unique(column[~np.isnan(column)])) < 2:
        return Levels.of(column)
    return Bins.of(column, parts)


def _cuts(known: Floats, parts: int) -> Floats:
    """Where a column of numbers is cut: at its quantiles, or between its values if it has two."""
    values = np.unique(known)
    # Two values are told apart whatever their shares: where
    # one has three quarters, no quartile lies between them.
    if len(values) == 2:
        return values[:-1]
    # Quartiles coincide where a value is
    # frequent: such a column has fewer bins.
    percentages = 100 * np.arange(1, parts) / parts
    return np.unique(np.percentile(known, percentages))


def _cumulative(counts: Integers, rows: int) -> Floats:
    shares_up_to = np.cumsum(counts) / rows
    return np.concatenate([[0.0], shares_up_to])
