"""Intervals and paired tests over inputs: a metric's numbers (n, methods) to what they allow to say.

| what | algorithm | source |
|---|---|---|
| `interval`, `intervals` | Student's interval of a mean, widened by the studentised bootstrap | Hall 1988 |
| `wilson` | score interval of a rate | Wilson 1927 |
| `sign_flip` | permutation test of paired differences by their signs | Fisher 1935 |
| `paired`, `every_pair`, `differences` | the above of two methods, with d_z and wins | Cohen 1988 |
| `holm` | step-down adjustment of many p values | Holm 1979 |
| `letters` | compact letter display by insert and absorb | Piepho 2004 |
| `ranks` | bootstrap distribution of the rank of each method | Hall and Miller 2009 |

Resampling is a matrix product of counts (or signs) with the table, so that many columns share one
set of draws; how far an interval reaches is decided in `studentised`. To read on: Efron and
Tibshirani, "An introduction to the bootstrap" (1993), chapter 14.
"""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import InputError
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.studentised import BLOCK, TIE, bootstrap_counts, studentised

Floats: TypeAlias = NDArray[np.float64]

Indices: TypeAlias = NDArray[np.intp]

# Up to this many inputs all sign flips are enumerated (2^16 of them, by
# symmetry): many pairs need small p values.
EXACT = 17

FEWEST = 8
"""The fewest inputs whose mean has an interval: fewer say too little of their own spread and skewness."""

COINS = 20
"""The fewest inputs of which two values and no third are taken for all that there are."""

TOO_FEW = f"fewer than {FEWEST} inputs give no interval: ask about {FEWEST} or more"


@final
@dataclass(frozen=True)
class Paired:
    """How two methods differ on the same inputs: the first minus the second.

    Fields:
        difference: the mean difference, in the metric's units.
        low, high: its interval, as of `interval`, same units; NaN of fewer than 8 inputs.
        p: the two-sided p value of the sign-flip test.
        effect: d_z = mean / standard deviation of the differences (Cohen 1988, section 2.3.5);
            infinite where every difference is the same.
        wins: the share of inputs on which the first is the larger, ties counted half.
        n: inputs on which both have a value.
    """

    difference: float
    low: float
    high: float
    p: float
    effect: float
    wins: float
    n: int


def interval(
    values: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> tuple[float, float]:
    """The interval of a mean over inputs: Student's, widened by the studentised bootstrap.

    The hull of mean -+ t s / sqrt(n) (Student 1908) and of (mean - q_high s / sqrt(n),
    mean - q_low s / sqrt(n)), q the quantiles of (mean* - mean) / (s* / sqrt(n)) over resampled
    inputs (Hall 1988, section 2). The first is right for few symmetric values, the second for
    skewed ones, whose mean is more often far above the sample than below it. A few values are less
    skewed than their law: what the second reaches beyond the first is stretched by n / (n - 5), to
    at most ten times the first. Values without tails need none of it, and it counts by their
    kurtosis: by 2 / n up to 2.5 - 8 / n, wholly from 3.5 - 10 / n on. Two values alone are those of a
    coin: from 20 inputs on their mean has the interval of a rate (Wilson 1927). The numbers were
    found by simulation (`docs/studies/intervals.md`): 95 % intervals of 8 to 50 values hold the mean
    of normal, exponential, lognormal, coarsely rounded and half zero laws in .924 to .980 of samples;
    of laws without tails in up to .988, as fewer than 20 values do not show that they have none; of
    rare events, such as 10 coins of .1, in fewer, .65, as 10 values may hold none. NaN values are
    left out; fewer than 8 values have no interval, (nan, nan): from fewer, skewness cannot be seen. No
    model evaluations.

    >>> interval([2.0] * 8), interval([2.0] * 7)
    ((2.0, 2.0), (nan, nan))
    """
    low, high = intervals(_column(values)[:, None], level, seed, resamples)[0]
    return float(low), float(high)


def bracket(low: float, high: float, form: Callable[[float], str]) -> str:
    """An interval as text, with a blank before it; empty where there is none.

    >>> "mean 0.5" + bracket(0.25, 0.75, "{:g}".format), "mean 0.5" + bracket(np.nan, np.nan, str)
    ('mean 0.5 [0.25, 0.75]', 'mean 0.5')
    """
    if np.isnan(low) or np.isnan(high):
        return ""
    return f" [{form(low)}, {form(high)}]"


def intervals(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Floats:
    """`interval` of every column of a table (n, k), from the same resampled inputs: (k, 2)."""
    columns = _table(table)
    _check_level(level)
    _check_resamples(resamples)
    bounds = np.full((columns.shape[1], 2), np.nan)
    for rows, members in _missing_patterns(columns):
        if len(rows) >= FEWEST:
            values = columns[np.ix_(rows, members)]
            bounds[members] = studentised(values, level, seed, resamples)
            if len(rows) >= COINS:
                coins = _coins(values)
                bounds[members[coins]] = _of_coins(values[:, coins], level)
    return bounds


def _coins(values: Floats) -> Indices:
    """The columns of (n, k) that have two values and no third."""
    least = values.min(axis=0)
    largest = values.max(axis=0)
    either = (values == least) | (values == largest)
    return np.flatnonzero((least < largest) & either.all(axis=0))


def _of_coins(values: Floats, level: float) -> Floats:
    """The interval of the mean of each column of two values (n, k), by the rate of the larger: (k, 2)."""
    n = len(values)
    least = values.min(axis=0)
    largest = values.max(axis=0)
    hits = np.count_nonzero(values == largest, axis=0)
    rates = np.array([wilson(count, n, level) for count in hits.tolist()]).reshape(-1, 2)
    bounds: Floats = least[:, None] + (largest - least)[:, None] * rates
    return bounds


def resampled(table: ArrayLike, seed: int = 0, resamples: int = 9999) -> Floats:
    """The means of every column of a table (n, k) over inputs drawn with replacement: (resamples,
    k).

    All columns see the same draws. A column with NaN values draws among its other inputs.
    """
    columns = _table(table)
    _check_resamples(resamples)
    means = np.full((resamples, columns.shape[1]), np.nan)
    for rows, members in _missing_patterns(columns):
        values = columns[np.ix_(rows, members)]
        for piece, counts in bootstrap_counts(len(rows), seed, resamples):
            means[piece, members] = counts @ values / len(rows)
    return means


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927).

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), with p the rate and z the
    normal quantile of the level. It stays inside [0, 1] and keeps a width when no input or every
    input is a success. No model evaluations.

    >>> [round(bound, 3) for bound in wilson(0, 10)]
    [0.0, 0.278]
    """
    from scipy.special import ndtri

    _check_level(level)
    if n == 0:
        return float("nan"), float("nan")
    if not 0 <= successes <= n:
        raise InputError(
            expected=f"successes between 0 and n = {n}",
            got=successes,
            advice="Count the hits, do not hand over their share.",
        )
    z = float(ndtri((1 + level) / 2))
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half_width = z * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    shrinkage = 1 + z * z / n
    # At the ends the bound is exact, where rounding would leave a little more
    # or less.
    low = 0.0 if successes == 0 else (centre - half_width) / shrinkage
    high = 1.0 if successes == n else (centre + half_width) / shrinkage
    return low, high


def paired(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Paired:
    """What `every_pair` says of two methods: (n,) and (n,) values on the same inputs.

    >>> paired([3.0, 2.0, 5.0, 4.0], [1.0, 1.0, 1.0, 1.0]).p
    0.125
    """
    first = _column(a)
    second = _column(b)
    if first.shape != second.shape:
        raise InputError(
            expected="paired values of the same inputs",
            got=f"{len(first)} and {len(second)} values",
            advice="Score both methods on one question.",
        )
    return differences((first - second)[:, None], level, seed, resamples)[0]


def every_pair(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> dict[tuple[int, int], Paired]:
    """The paired differences of all columns i < j of a table (n, methods), in one matrix product."""
    columns = _table(table)
    first, second = np.triu_indices(columns.shape[1], 1)
    table = columns[:, first] - columns[:, second]
    results = differences(table, level, seed, resamples)
    pairs = zip(first.tolist(), second.tolist())
    return dict(zip(pairs, results))


def differences(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> list[Paired]:
    """What each column of paired differences (n, k) says: mean, interval, sign-flip p value,
    effect and wins.
    """
    columns = _table(table)
    bounds = intervals(columns, level, seed, resamples)
    p = sign_flip(columns, seed, resamples)
    return [_summary(column, bounds[k], float(p[k])) for k, column in enumerate(columns.T)]


def _summary(column: Floats, bounds: Floats, p: float) -> Paired:
    """One column of differences (n,), NaN where an input is missing."""
    values = column[~np.isnan(column)]
    mean = float("nan")
    wins = float("nan")
    if len(values):
        mean = float(values.mean())
        # Signs -1, 0, 1 count as 0, 1/2, 1.
        wins = float(np.mean((np.sign(values) + 1) / 2))
    return Paired(
        difference=mean,
        low=float(bounds[0]),
        high=float(bounds[1]),
        p=p,
        effect=_effect(values),
        wins=wins,
        n=len(values),
    )


def sign_flip(table: ArrayLike, seed: int = 0, resamples: int = 9999) -> Floats:
    """The two-sided permutation p value of every column of paired differences (n, k) being
    symmetric about zero, as they are where two methods are alike: (k,).

    p = share of sign vectors s with |sum_i s_i d_i| >= |sum_i d_i| (Fisher 1935, section 21). Up to
    17 inputs all 2^n vectors are enumerated; beyond, `resamples` random ones are drawn for all
    columns, and p = (1 + hits) / (1 + resamples) (Phipson and Smyth 2010, equation 2). Differences
    of zero count; a column without values has p = nan. Skewed differences of mean zero are not
    symmetric, and are found significant too often (lognormal ones at 10 inputs in .16 of samples for
    .05): `ranking` asks the interval as well.

    >>> sign_flip([[1.0, -1.0], [1.0, 1.0], [1.0, 0.0]]).tolist()
    [0.25, 1.0]
    """
    columns = _table(table)
    p = np.full(columns.shape[1], np.nan)
    for rows, members in _missing_patterns(columns):
        values = columns[np.ix_(rows, members)]
        # Sums that tie with the observed one in exact arithmetic must count.
        observed = np.abs(values.sum(axis=0)) - TIE * np.abs(values).sum(axis=0)
        hits = np.zeros(len(members))
        flips = 0
        for signs in _signs(len(rows), seed, resamples):
            hits += np.count_nonzero(np.abs(signs @ values) >= observed, axis=0)
            flips += len(signs)
        if len(rows) <= EXACT:
            p[members] = hits / flips
        else:
            # The observed signs are one of the vectors, so that p is never zero.
            p[members] = (1 + hits) / (1 + flips)
    return p


def holm(p: ArrayLike) -> Floats:
    """The step-down adjustment that holds the chance of any false difference among all pairs (Holm
    1979).

    With p sorted upward, adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)). NaN stays NaN and
    is not counted.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _column(p)
    if bool(np.any((values < 0) | (values > 1))):
        raise InputError(
            expected="p values in [0, 1]",
            got=f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}",
            advice="Hand the raw ones over, before any adjustment.",
        )
    adjusted = np.full(len(values), np.nan)
    valid = np.flatnonzero(~np.isnan(values))
    if not len(valid):
        return adjusted
    order = valid[np.argsort(values[valid], kind="stable")]
    steps = np.arange(len(order), 0, -1) * values[order]
    # A larger p value is never adjusted below a smaller one.
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def letters(differ: ArrayLike, order: Sequence[int] | None = None) -> tuple[str, ...]:
    """The compact letter display: two methods share a letter exactly where no difference between
    them was found.

    Insert and absorb (Piepho 2004): all start in one group, every pair that differs splits the
    groups that hold both, and groups inside others vanish. `differ` is a symmetric (k, k) table of
    truth values; `order` lists the methods from best to worst (those it leaves out get no letter),
    so that `a` goes to the best.

    >>> letters([[False, False, True], [False, False, False], [True, False, False]])
    ('a', 'ab', 'b')
    """
    table = np.asarray(differ, dtype=bool)
    _check_symmetric(table)
    ranking = list(range(len(table))) if order is None else list(order)
    position = {method: place for place, method in enumerate(ranking)}
    groups = [frozenset(ranking)] if ranking else []
    for place, i in enumerate(ranking):
        for j in ranking[place + 1 :]:
            if table[i, j]:
                groups = _absorbed(_inserted(groups, i, j))
    # Groups are lettered by their best method, then by the next.
    groups.sort(key=lambda group: sorted(position[method] for method in group))
    display = [""] * len(table)
    for number, group in enumerate(groups):
        for method in group:
            display[method] += _letter(number)
    return tuple(display)


def _inserted(groups: Sequence[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """The groups, each that holds both i and j split into one without i and one without j."""
    split: list[frozenset[int]] = []
    for group in groups:
        split += [group - {i}, group - {j}] if {i, j} <= group else [group]
    return split


def _absorbed(groups: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """The groups, each once, without those that lie inside another."""
    distinct = list(dict.fromkeys(groups))
    maximal = []
    for group in distinct:
        if not any(group < other for other in distinct):
            maximal.append(group)
    return maximal


def _letter(number: int) -> str:
    """a to z, A to Z, then letters beyond ASCII."""
    if number < len(string.ascii_letters):
        return string.ascii_letters[number]
    return chr(0x100 + number - len(string.ascii_letters))


def ranks(
    table: ArrayLike, direction: str = "higher", seed: int = 0, resamples: int = 9999
) -> Floats:
    """How often each method takes each place when the inputs are drawn anew: (methods, places),
    rows sum to one.

    Means over resampled inputs are ranked, ties share their places; column 0 is P(best) (the
    bootstrap of a ranking, Hall and Miller 2009). Inputs with NaN in any method are
    left out; a method without any value has a row of NaN.

    >>> ranks([[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]])[:, 0].tolist()
    [1.0, 0.0]
    """
    columns = _table(table)
    if direction not in ("lower", "higher"):
        raise InputError(
            expected="the direction 'lower' or 'higher', whichever is better",
            got=repr(direction),
            advice="Hand over the metric's own: score.direction.",
        )
    places = columns.shape[1]
    chances = np.full((places, places), np.nan)
    valid = np.flatnonzero(~np.all(np.isnan(columns), axis=0))
    common = columns[:, valid]
    common = common[~np.any(np.isnan(common), axis=1)]
    if not len(valid) or not len(common):
        return chances
    means = resampled(common, seed, resamples) * (1 if direction == "lower" else -1)
    # The same column twice may come out of a matrix product with other last
    # bits: those are ties.
    tolerance = TIE * float(np.abs(common).max())
    ahead = np.empty(means.shape, dtype=np.int64)
    tied = np.empty(means.shape, dtype=np.int64)
    for k in range(len(valid)):
        distance = means - means[:, [k]]
        ahead[:, k] = np.count_nonzero(means < means[:, [k]] - tolerance, axis=1)
        tied[:, k] = np.count_nonzero(np.abs(distance) <= tolerance, axis=1)
    # With a methods ahead and t tied (itself among them), places a to a + t -
    # 1 get 1 / t each.
    for place in range(places):
        shares = ((ahead <= place) & (place < ahead + tied)) / tied
        chances[valid, place] = np.mean(shares, axis=0)
    return chances


def _column(values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise InputError(
            expected="one number per input, shape (n,)",
            got=f"shape {column.shape}",
            advice="Hand over one column at a time, or call `intervals` on the table.",
        )
    return column


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(
            expected="a table of one row per input and one column per method",
            got=f"shape {table.shape}",
            advice="Put the columns side by side with np.stack(columns, axis=1).",
        )
    if bool(np.any(np.isinf(table))):
        raise InputError(
            expected="values that are finite or NaN",
            got="infinite ones",
            advice="A mean over them says nothing: set NaN where an input has no score.",
        )
    return table


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(
            expected="a level between 0 and 1",
            got=level,
            advice="Use 0.95 for a 95 % interval.",
        )


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise InputError(
            expected="at least 1 resample",
            got=resamples,
            advice="Use resamples=999 for a look, 9999 for a report.",
        )


def _check_symmetric(table: NDArray[np.bool_]) -> None:
    square = table.ndim == 2 and table.shape[0] == table.shape[1]
    if not square or bool(np.any(table != table.T)):
        raise InputError(
            expected="a symmetric table of which methods differ, shape (k, k)",
            got=f"shape {table.shape}" + (", not symmetric" if square else ""),
            advice="Set differ[i, j] and differ[j, i] alike.",
        )


def _missing_patterns(columns: Floats) -> Iterator[tuple[Indices, Indices]]:
    """Columns that miss the same inputs, together: (rows that are present, columns).

    Resampling then is one matrix product for each pattern.
    """
    present = ~np.isnan(columns)
    members: dict[bytes, list[int]] = defaultdict(list)
    # By their bytes: `np.unique` makes one field of every row, and takes longer than the draws.
    for column, pattern in enumerate(present.T):
        members[pattern.tobytes()].append(column)
    for listed in members.values():
        rows = np.flatnonzero(present[:, listed[0]])
        if len(rows):
            yield rows, np.array(listed, dtype=np.intp)


def _signs(n: int, seed: int, resamples: int) -> Iterator[Floats]:
    """Sign vectors (piece, n): all of them up to a common flip for few inputs, random ones
    otherwise.
    """
    if n <= EXACT:
        # The bits of 0 to 2^(n - 1) - 1: the last sign is fixed, its flip gives
        # the same |sum|.
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        yield (1 - 2 * bits).astype(np.float64)
        return
    generator = rng.shared(seed, f"signs {n}")
    for piece in pieces(resamples, n, BLOCK):
        bits = generator.integers(0, 2, (piece.stop - piece.start, n))
        yield (1 - 2 * bits).astype(np.float64)


def _effect(values: Floats) -> float:
    """d_z, zero where nothing differs, infinite where every difference is the same."""
    if len(values) < 2:
        return float("nan")
    mean = float(values.mean())
    deviation = float(values.std(ddof=1))
    if deviation <= TIE * float(np.abs(values).max()):
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return mean / deviation


def widening(freedom: int) -> float:
    """The ratio of Student's to the normal 97.5 % quantile at these degrees of freedom.

    A standard error times this makes 1.96 of them a 95 % interval, also from few replicates.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    return float(student.ppf(0.975, freedom) / norm.ppf(0.975))
