"""Intervals and paired tests over inputs: means are resampled as matrix products, many columns in
one go.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import InputError
from assay.numerics import rng

Floats: TypeAlias = NDArray[np.float64]

EXACT = 17  # up to this many inputs all sign flips are enumerated (2^16 of them, by symmetry): many pairs need small p values

BLOCK = (
    1 << 21
)  # entries of one resampling matrix (16 MB), so that memory does not grow with the resamples


@final
@dataclass(frozen=True)
class Paired:
    """How two methods differ on the same inputs: the first minus the second.

    `effect` is d_z = mean / standard deviation of the differences (Cohen 1988, section 2.3.5;
    infinite where every difference is the same), `wins` the share of inputs on which the first is
    the larger, ties counted half.
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
    """The bias-corrected and accelerated bootstrap interval of a mean over inputs.

    The bounds are the quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the resampled means, with
    z the normal quantiles of the level, z0 the bias and a the acceleration (Efron 1987, equations
    2.3 and, by the jackknife, 6.6). NaN values are left out; fewer than two values have no
    interval, (nan, nan). Under ten values the interval is known to be narrower than its level says.
    No model evaluations.

    >>> interval([2.0, 2.0, 2.0])
    (2.0, 2.0)
    """
    low, high = intervals(_column(values)[:, None], level, seed, resamples)[0]
    return float(low), float(high)


def intervals(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Floats:
    """`interval` of every column of a table (n, k), from the same resampled inputs: (k, 2)."""
    columns = _table(table)
    _check_level(level)
    return _bca(columns, resampled(columns, seed, resamples), level)


def resampled(table: ArrayLike, seed: int = 0, resamples: int = 9999) -> Floats:
    """The means of every column of a table (n, k) over inputs drawn with replacement: (resamples,
    k).

    All columns see the same draws. A column with NaN values draws among its other inputs.
    """
    columns = _table(table)
    if resamples < 1:
        raise InputError(
            f"resamples must be at least 1, got {resamples}: use 999 for a look, 9999 for a report"
        )
    means = np.full((resamples, columns.shape[1]), np.nan)
    for rows, members in _patterns(columns):
        source = columns[np.ix_(rows, members)]
        for a, counts in _draws(len(rows), seed, resamples):
            means[a : a + len(counts), members] = counts @ source / len(rows)
    return means


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927): (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 /
    4n^2)) / (1 + z^2 / n).

    It stays inside [0, 1] and keeps a width when no input or every input is a success. No model
    evaluations.

    >>> [round(bound, 3) for bound in wilson(0, 10)]
    [0.0, 0.278]
    """
    from scipy.special import ndtri

    _check_level(level)
    if n == 0:
        return float("nan"), float("nan")
    if not 0 <= successes <= n:
        raise InputError(
            f"successes must lie between 0 and n = {n}, got {successes}: count the hits, not their share"
        )
    z = float(ndtri((1 + level) / 2))
    rate = successes / n
    middle = rate + z * z / (2 * n)
    reach = z * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    low, high = (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def paired(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Paired:
    """What `every_pair` says of two methods: (n,) and (n,) values on the same inputs.

    >>> paired([3.0, 2.0, 5.0, 4.0], [1.0, 1.0, 1.0, 1.0]).p
    0.125
    """
    first, second = _column(a), _column(b)
    if first.shape != second.shape:
        raise InputError(
            f"paired values must be of the same inputs, got {len(first)} and {len(second)}: score both on one question"
        )
    return differences((first - second)[:, None], level, seed, resamples)[0]


def every_pair(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> dict[tuple[int, int], Paired]:
    """The paired differences of all columns i < j of a table (n, methods), in one matrix product."""
    columns = _table(table)
    left, right = np.triu_indices(columns.shape[1], 1)
    answers = differences(columns[:, left] - columns[:, right], level, seed, resamples)
    return {(int(i), int(j)): answer for i, j, answer in zip(left, right, answers)}


def differences(
    table: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 9999
) -> list[Paired]:
    """What each column of paired differences (n, k) says: mean, BCa interval, sign-flip p value,
    effect and wins.
    """
    columns = _table(table)
    bounds = intervals(columns, level, seed, resamples)
    p = sign_flip(columns, seed, resamples)
    answers = []
    for k in range(columns.shape[1]):
        values = columns[~np.isnan(columns[:, k]), k]
        low, high = bounds[k]
        wins = float(np.mean((np.sign(values) + 1) / 2)) if len(values) else float("nan")
        mean = float(values.mean()) if len(values) else float("nan")
        answers.append(
            Paired(mean, float(low), float(high), float(p[k]), _effect(values), wins, len(values))
        )
    return answers


def sign_flip(table: ArrayLike, seed: int = 0, resamples: int = 9999) -> Floats:
    """The two-sided permutation p value of every column of paired differences (n, k) having mean
    zero: (k,).

    p = share of sign vectors s with |sum_i s_i d_i| >= |sum_i d_i| (Fisher 1935, section 21). Up to
    17 inputs all 2^n vectors are enumerated; beyond, `resamples` random ones are drawn for all
    columns, and p = (1 + hits) / (1 + resamples) (Phipson and Smyth 2010, equation 2). Differences
    of zero count; a column without values has p = nan.

    >>> sign_flip([[1.0, -1.0], [1.0, 1.0], [1.0, 0.0]]).tolist()
    [0.25, 1.0]
    """
    columns = _table(table)
    p = np.full(columns.shape[1], np.nan)
    for rows, members in _patterns(columns):
        source = columns[np.ix_(rows, members)]
        # Sums that tie with the observed one in exact arithmetic must count whatever the order of summation was.
        bound = np.abs(source.sum(axis=0)) - 1e-12 * np.abs(source).sum(axis=0)
        hits, drawn = np.zeros(len(members)), 0
        for signs in _signs(len(rows), seed, resamples):
            hits += np.count_nonzero(np.abs(signs @ source) >= bound, axis=0)
            drawn += len(signs)
        p[members] = hits / drawn if len(rows) <= EXACT else (1 + hits) / (1 + drawn)
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
            "p values must lie in [0, 1]: hand the raw ones over, before any adjustment"
        )
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * values[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
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
    if table.ndim != 2 or table.shape[0] != table.shape[1] or bool(np.any(table != table.T)):
        raise InputError(
            f"differ must be square with differ[i, j] == differ[j, i], got shape {table.shape}, not symmetric"
        )
    ranking = list(range(len(table))) if order is None else list(order)
    groups = [frozenset(ranking)] if ranking else []
    for place, i in enumerate(ranking):
        for j in ranking[place + 1 :]:
            if table[i, j]:
                parts = [part for group in groups for part in _split(group, i, j)]
                groups = [
                    part
                    for part in dict.fromkeys(parts)
                    if not any(part < other for other in parts)
                ]
    position = {i: place for place, i in enumerate(ranking)}
    groups.sort(key=lambda group: sorted(position[i] for i in group))
    return tuple(
        "".join(_letter(number) for number, group in enumerate(groups) if i in group)
        for i in range(len(table))
    )


def ranks(
    table: ArrayLike, direction: str = "higher", seed: int = 0, resamples: int = 9999
) -> Floats:
    """How often each method takes each place when the inputs are drawn anew: (methods, places),
    rows sum to one.

    Means over resampled inputs are ranked, ties share their places; column 0 is P(best). Inputs
    with NaN in any method are left out; a method without any value has a row of NaN.

    >>> ranks([[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]])[:, 0].tolist()
    [1.0, 0.0]
    """
    columns = _table(table)
    if direction not in ("lower", "higher"):
        raise InputError(
            f"direction must be 'lower' or 'higher', whichever is better, got {direction!r}"
        )
    chances = np.full((columns.shape[1], columns.shape[1]), np.nan)
    known = np.flatnonzero(~np.all(np.isnan(columns), axis=0))
    common = columns[:, known]
    common = common[~np.any(np.isnan(common), axis=1)]
    if not len(known) or not len(common):
        return chances
    means = resampled(common, seed, resamples) * (1 if direction == "lower" else -1)
    # The same column twice may come out of a matrix product with different last bits: those are ties.
    rounding_tolerance = 1e-12 * float(np.abs(common).max())
    ahead = np.stack(
        [
            np.count_nonzero(means < means[:, [k]] - rounding_tolerance, axis=1)
            for k in range(len(known))
        ],
        axis=1,
    )
    level = np.stack(
        [
            np.count_nonzero(np.abs(means - means[:, [k]]) <= rounding_tolerance, axis=1)
            for k in range(len(known))
        ],
        1,
    )
    for place in range(columns.shape[1]):
        chances[known, place] = np.mean(
            ((ahead <= place) & (place < ahead + level)) / level, axis=0
        )
    return chances


def _column(values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise InputError(
            f"values must be one number per input, shape (n,), got shape {column.shape}"
        )
    return column


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(
            f"a table must have one row per input and one column per method, got shape {table.shape}"
        )
    if bool(np.any(np.isinf(table))):
        raise InputError(
            "values must be finite or NaN, got infinite ones: a mean over them says nothing"
        )
    return table


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(
            f"level must lie between 0 and 1, got {level}: use 0.95 for a 95 % interval"
        )


def _patterns(columns: Floats) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Columns that miss the same inputs, together: (rows that are there, members)."""
    there, kind = np.unique(~np.isnan(columns), axis=1, return_inverse=True)
    for number in range(there.shape[1]):
        rows = np.flatnonzero(there[:, number])
        if len(rows):
            yield rows, np.flatnonzero(kind.reshape(-1) == number)


def _draws(n: int, seed: int, resamples: int) -> Iterator[tuple[int, Floats]]:
    """How often each of n inputs was drawn in each resample, in blocks: (first resample, counts
    (block, n)).
    """
    generator = rng.shared(seed, f"bootstrap {n}")
    block = max(1, BLOCK // n)
    for a in range(0, resamples, block):
        size = min(block, resamples - a)
        drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield (
            a,
            np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n).astype(np.float64),
        )


def _signs(n: int, seed: int, resamples: int) -> Iterator[Floats]:
    """Sign vectors (block, n): all of them up to a common flip for few inputs, random ones
    otherwise.
    """
    if n <= EXACT:
        codes = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)
        yield (1 - 2 * (codes & 1)).astype(np.float64)
        return
    generator = rng.shared(seed, f"signs {n}")
    block = max(1, BLOCK // n)
    for a in range(0, resamples, block):
        yield (1 - 2 * generator.integers(0, 2, (min(block, resamples - a), n))).astype(np.float64)


def _bca(columns: Floats, means: Floats, level: float) -> Floats:
    """BCa bounds (k, 2) of columns (n, k) whose resampled means are (resamples, k)."""
    from scipy.special import ndtr, ndtri

    resamples = len(means)
    count = np.count_nonzero(~np.isnan(columns), axis=0)
    observed = np.where(count > 0, np.nansum(columns, axis=0) / np.maximum(count, 1), np.nan)
    rounding_tolerance = 1e-12 * np.nanmax(np.abs(columns), axis=0, initial=0.0)
    below = (
        np.sum(means < observed - rounding_tolerance, axis=0)
        + np.sum(means <= observed + rounding_tolerance, axis=0)
    ) / (2 * resamples)
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    # The jackknife of a mean needs no recomputation: leaving input i out moves it by (x_i - mean) / (n - 1).
    moves = np.nan_to_num(columns - observed)
    widest = np.max(np.abs(moves), axis=0, initial=0.0)
    steady = widest <= rounding_tolerance
    moves = moves / np.where(
        steady, 1.0, widest
    )  # the acceleration has no scale, and cubes of small moves would vanish
    square, cube = np.sum(moves**2, axis=0), np.sum(moves**3, axis=0)
    acceleration = cube / (6 * np.where(steady, 1.0, square) ** 1.5)
    z = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))[:, None]
    shares = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    bounds = _quantiles(means, shares)
    bounds[steady] = np.nanmax(columns[:, steady], axis=0, initial=-np.inf)[:, None]
    bounds[count < 2] = np.nan
    return bounds


def _quantiles(means: Floats, shares: Floats) -> Floats:
    """Linearly interpolated quantiles, each column of means (resamples, k) at its own shares (2,
    k): (k, 2).
    """
    ordered = np.sort(means, axis=0)
    at = shares * (len(means) - 1)
    floor = np.clip(np.nan_to_num(np.floor(at)), 0, max(len(means) - 2, 0)).astype(np.intp)
    low = np.take_along_axis(ordered, floor, axis=0)
    high = np.take_along_axis(ordered, np.minimum(floor + 1, len(means) - 1), axis=0)
    return cast(Floats, (low + (at - floor) * (high - low)).T.copy())


def _effect(values: Floats) -> float:
    """d_z, zero where nothing differs, infinite where every difference is the same."""
    if len(values) < 2:
        return float("nan")
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(values).max()):
        return 0.0 if mean == 0 else float(np.copysign(np.inf, mean))
    return mean / spread


def _split(group: frozenset[int], i: int, j: int) -> tuple[frozenset[int], ...]:
    return (group - {i}, group - {j}) if i in group and j in group else (group,)


def _letter(number: int) -> str:
    known = string.ascii_letters
    return known[number] if number < len(known) else chr(0x100 + number - len(known))
