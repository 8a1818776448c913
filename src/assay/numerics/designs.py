"""Designs: numbers in (0, 1) that fill the unit cube more evenly than independent draws.

Two constructions from experimental design and quasi-Monte Carlo:

- randomised orthogonal arrays (Rao 1947, Bush 1952; randomised: Owen 1992), filled up to Latin
  hypercubes (Tang 1993): main effects and their pairs are balanced;
- scrambled Sobol' sequences (Sobol' 1967; scrambling: Owen 1995), of which only those columns are
  taken that are balanced against each other in pairs (`even_columns`).

Both are linear, and three columns may depend on each other: what two of them do together is then
taken for an effect of the third, and nothing in the draws tells. `independent_spans` takes columns
of which no three do, as far as there are such.

To read on: Owen, "Monte Carlo theory, methods and examples", chapters 10, 15 and 17.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]

Balanced = Literal["orthogonal", "independent"]

Draw = Literal["orthogonal", "sobol", "independent"]

# The field GF(4) = {0, 1, a, a + 1}, its elements numbered 0 to 3:
# addition is exclusive or.
_ADD = np.arange(4)[:, None] ^ np.arange(4)

_TIMES = np.array([[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])

_POWERS = range(2, 8)  # arrays of 16 to 16,384 rows: one array is held at once

_PAIR = 2  # columns that a third depends on, where three depend on each other

_SOBOL_SHIFT = 0.5**31  # scrambled points are multiples of 0.5^30, 0 among them: half a step


def orthogonal_array(columns: int, power: int, generator: np.random.Generator) -> Integers:
    """A randomised orthogonal array with 4 levels and 4^power rows: (rows, columns).

    Any two columns hold every pair of levels equally often, and any three every triple as far as
    there are columns for that (`independent_spans`). Rao-Hamming construction over GF(4): rows are
    all vectors u, a column is u . v for one of the (4^power - 1) / 3 directions v; columns, levels
    and rows are permuted at random (Owen 1992).
    """
    digits = np.meshgrid(*[np.arange(4)] * power, indexing="ij")
    vectors = np.stack(digits, axis=-1).reshape(-1, power)
    # A direction and its multiples give the same column up to levels: keep
    # the one that leads with 1.
    first_nonzero = (vectors != 0).argmax(axis=1)[:, None]
    leading = np.take_along_axis(vectors, first_nonzero, axis=1)[:, 0]
    candidates = generator.permutation(vectors[leading == 1])
    # Vectors are numbered by their digits to the base 4, two bits each, so
    # that sums of vectors are exclusive ors of numbers.
    place_values = 4 ** np.arange(power)
    spans = (_TIMES[1:, candidates] @ place_values).T
    chosen = independent_spans(spans, columns, 2 * power, strength=power)
    filled = _filled_up(chosen, spans, columns)
    directions = candidates[generator.permutation(filled)]
    # The scalar product u . v, digit by digit.
    levels = np.zeros((len(vectors), columns), dtype=np.int64)
    for digit in range(power):
        products = _TIMES[vectors[:, digit, None], directions[None, :, digit]]
        levels = _ADD[levels, products]
    relabelled = np.argsort(generator.random((columns, 4)), axis=1)
    return generator.permutation(relabelled[np.arange(columns), levels])


def independent_spans(spans: Integers, columns: int, bits: int, strength: int) -> list[int]:
    """The numbers of candidates of which no three depend on each other: `columns`, or fewer.

    A candidate is a column of quarters, linear over GF(2) in the `bits` bits of a row's number. Its
    three functions (the first bit of the quarter, the second, their sum) are a row of `spans`, as
    bit masks. Where functions of t columns sum to zero, what t - 1 of them do together is taken for
    an effect of the last. Without such a sum of t columns or fewer the strength is t: any t columns
    hold every combination of quarters equally often (Bose 1947).

    Greedy: each time the candidate that takes the most columns of those before it to depend on, or
    at least `strength` of them, the first among equals.
    """
    functions = np.arange(1 << bits)
    # How many of the chosen columns it takes to sum up to a function.
    taken = np.full(1 << bits, bits + 1, dtype=np.int8)
    taken[0] = 0
    chosen: list[int] = []
    while len(chosen) < min(columns, len(spans)):
        takes = taken[spans].min(axis=1).clip(max=strength)
        best = int(takes.argmax())
        if takes[best] <= _PAIR:
            break
        chosen.append(best)
        sums = [taken[functions ^ one] for one in spans[best]]
        taken = np.minimum(taken, np.minimum.reduce(sums) + 1)
    return chosen


def _filled_up(chosen: list[int], spans: Integers, columns: int) -> Integers:
    """`chosen` and so many more: those that share no function with another, then the rest."""
    left = np.setdiff1d(np.arange(len(spans)), chosen)
    used = {0, *spans[chosen].ravel().tolist()}
    even = list(chosen)
    uneven: list[int] = []
    for candidate, span in zip(left.tolist(), spans[left].tolist()):
        if used.isdisjoint(span):
            even.append(candidate)
            used.update(span)
        else:
            uneven.append(candidate)
    return np.array((even + uneven)[:columns])


def uniforms(
    rows: int, columns: int, generator: np.random.Generator, design: Draw
) -> tuple[Floats, Integers | None]:
    """Numbers in (0, 1), (rows, columns), and the strata they were drawn from, where there are any.

    "orthogonal" draws from orthogonal arrays filled up to Latin hypercubes (Tang 1993, Owen 1992):
    main effects add no error to each other, nor do pairs of columns to a third while the columns
    are few (6 among 64 rows, 10 among 256, 24 among 1,024, 60 among 4,096). Too few rows for one
    array leave a plain Latin hypercube. "sobol" takes the first points of a scrambled Sobol'
    sequence (Owen 1995), which leaves less error, and none that its own spread would tell.
    """
    if design == "independent":
        return generator.random((rows, columns)), None
    if design == "sobol":
        points = _sobol(rows, columns, generator)
        return points, (4 * points).astype(np.int64)
    levels = _stacked_arrays(rows, columns, generator)
    # A Latin hypercube inside the levels: sorting by level first, ties at
    # random, gives every row a rank of its own in each column, and every rank
    # lies in its row's level.
    jitter = generator.random((rows, columns))
    order = np.argsort(jitter if levels is None else jitter + levels, axis=0)
    rank = np.argsort(order, axis=0)
    return (rank + generator.random((rows, columns))) / rows, levels


def _stacked_arrays(rows: int, columns: int, generator: np.random.Generator) -> Integers | None:
    """Levels (rows, columns) from the largest arrays that fit, one below the other, or None."""
    # An array of 4^power rows has (4^power - 1) / 3 directions, one for a
    # column.
    fitting = [power for power in _POWERS if 4**power <= rows and (4**power - 1) // 3 >= columns]
    if not fitting:
        return None
    power = fitting[-1]
    blocks = -(-rows // 4**power)
    # Each block is randomised anew; the last one is cut where the rows end.
    arrays = [orthogonal_array(columns, power, generator) for _ in range(blocks)]
    return np.concatenate(arrays)[:rows]


def _sobol(rows: int, columns: int, generator: np.random.Generator) -> Floats:
    """The first rows of a scrambled Sobol' sequence in columns that are even in pairs."""
    from scipy.stats.qmc import Sobol

    if columns > Sobol.MAXDIM:
        raise InputError(
            expected=f"at most {Sobol.MAXDIM} columns for Sobol' points",
            got=columns,
            advice="Use design='independent'.",
        )
    # The sequence is balanced at powers of two only: draw up to the next one.
    power = max(1, (rows - 1).bit_length())
    chosen = generator.permutation(even_columns(columns, power))
    sequence = Sobol(int(chosen.max()) + 1, rng=generator)
    points = sequence.random_base2(power)[:rows, chosen]
    return np.asarray(points + _SOBOL_SHIFT, dtype=np.float64)


@lru_cache(maxsize=32)
def even_columns(columns: int, power: int) -> NDArray[np.int64]:
    """Columns of the Sobol' sequence of which every two hold every pair of quarters equally among
    2^power points, and every three every triple where there are enough such columns.

    Neighbours in the sequence often share their first digits at such lengths, and could not be told
    apart. Digits are linear over GF(2) in those of a point's number, so that two columns are even
    if no digit, or sum of digits, of one is one of the other, and three if no such sum of two is
    one of the third (`independent_spans`). Where too few are even, the next ones follow.
    """
    from scipy.stats.qmc import Sobol

    # Some columns are passed over: search well beyond as many as are asked
    # for.
    sequence = Sobol(min(Sobol.MAXDIM, 8 * columns + 64), scramble=False)
    # The points numbered 1, 2, 4, ... are a basis: the others are their sums
    # (exclusive or).
    basis = np.stack(
        [sequence.reset().fast_forward(1 << digit).random(1)[0] for digit in range(power)]
    )
    quarters = (4 * basis).astype(np.int64)
    # A column's first and second binary digit as functions of the point's
    # number: one bit mask each.
    place_values = 1 << np.arange(power)
    high = place_values @ (quarters >> 1)
    low = place_values @ (quarters & 1)
    spans = np.stack([high, low, high ^ low], axis=1)
    chosen = independent_spans(spans, columns, power, strength=3)
    # All or none: the search goes far along the sequence, where finer digits
    # are less even.
    return _filled_up(chosen if len(chosen) == columns else [], spans, columns)
