"""Numbers in (0, 1) that are spread more evenly than chance: orthogonal arrays and Sobol' points."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError

Floats = NDArray[np.float64]

Balanced = Literal["orthogonal", "independent"]

Draw = Literal["orthogonal", "sobol", "independent"]

_ADD = np.arange(4)[:, None] ^ np.arange(4)  # GF(4): addition is exclusive or

_TIMES = np.array([[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])


def orthogonal_array(columns: int, power: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """A randomised orthogonal array of strength 2 with 4 levels and 4^power rows: any two columns
    hold every pair equally.

    Rao-Hamming construction over GF(4): rows are all vectors u, a column is u . v for one of the
    (4^power - 1) / 3 directions v; columns, levels and rows are permuted at random (Owen 1992).
    """
    vectors = np.stack(np.meshgrid(*[np.arange(4)] * power, indexing="ij"), axis=-1).reshape(
        -1, power
    )
    leading = np.take_along_axis(vectors, (vectors != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    directions = draw.permutation(vectors[leading == 1])[:columns]
    cells = np.zeros((len(vectors), columns), dtype=np.int64)
    for digit in range(power):
        cells = _ADD[cells, _TIMES[vectors[:, digit, None], directions[None, :, digit]]]
    relabel = np.argsort(draw.random((columns, 4)), axis=1)
    return draw.permutation(relabel[np.arange(columns), cells])


def uniforms(
    rows: int, columns: int, draw: np.random.Generator, design: Draw
) -> tuple[Floats, NDArray[np.int64] | None]:
    """Numbers in (0, 1), (rows, columns), and the strata they were drawn from, where there are any.

    "orthogonal" draws from orthogonal arrays filled up to Latin hypercubes (Tang 1993, Owen 1992):
    main effects add no error to each other. Too few rows for one array leave a plain Latin
    hypercube. "sobol" takes the first points of a scrambled Sobol' sequence (Owen 1995), which
    leaves less error, and none that its own spread would tell.
    """
    if design == "independent":
        return draw.random((rows, columns)), None
    if design == "sobol":
        points = _sobol(rows, columns, draw)
        return points, (4 * points).astype(np.int64)
    powers = [power for power in range(2, 8) if 4**power <= rows and (4**power - 1) // 3 >= columns]
    levels: NDArray[np.int64] | None = None
    if powers:
        blocks = -(-rows // 4 ** powers[-1])
        levels = np.concatenate(
            [orthogonal_array(columns, powers[-1], draw) for _ in range(blocks)]
        )[:rows]
    order = np.argsort(draw.random((rows, columns)) + (0 if levels is None else levels), axis=0)
    rank = np.argsort(order, axis=0)
    return (rank + draw.random((rows, columns))) / rows, levels


def _sobol(rows: int, columns: int, draw: np.random.Generator) -> Floats:
    from scipy.stats.qmc import Sobol

    if columns > Sobol.MAXDIM:
        raise InputError(
            expected=f"at most {Sobol.MAXDIM} columns for Sobol' points",
            got=columns,
            advice="Use design='independent'.",
        )
    power = max(1, (rows - 1).bit_length())
    taken = draw.permutation(even_columns(columns, power))
    points = Sobol(int(taken.max()) + 1, rng=draw).random_base2(power)[:rows, taken]
    return np.asarray(
        points + 0.5**31, dtype=np.float64
    )  # they are whole multiples of 0.5**30, 0 among them


@lru_cache(maxsize=32)
def even_columns(columns: int, power: int) -> NDArray[np.int64]:
    """Columns of the Sobol' sequence of which every two hold every pair of quarters equally among
    2^power points.

    Neighbours in the sequence often share their first digits at such lengths, and could not be told
    apart. Digits are linear in those of a point's number, so that two columns are even if no digit,
    or sum of digits, of one is one of the other. Where there are too few, the next ones follow.
    """
    from scipy.stats.qmc import Sobol

    sequence = Sobol(min(Sobol.MAXDIM, 8 * columns + 64), scramble=False)
    basis = np.stack(
        [sequence.reset().fast_forward(1 << digit).random(1)[0] for digit in range(power)]
    )
    quarters, place = (4 * basis).astype(np.int64), 1 << np.arange(power)
    high, low = place @ (quarters >> 1), place @ (quarters & 1)
    known: set[int] = {0}
    even: list[int] = []
    rest: list[int] = []
    for at, digits in enumerate(zip(high.tolist(), low.tolist(), (high ^ low).tolist())):
        fits = known.isdisjoint(digits)
        (even if fits else rest).append(at)
        known.update(digits if fits else ())
    return np.array((even + rest)[:columns])
