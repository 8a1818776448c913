"""Rows that go where a wrong reading would show: to thresholds and just beside them, to unknown
categories, to missing values, and down to leaves of all depths.

Half of them are drawn cell by cell from the values that splits ask about; with the others a leaf is
chosen first, and the row walks there, its numbers as near to the thresholds on its way as they can be.
"""

from __future__ import annotations

import numpy as np

from assay.models.forests.assembly import unpacked
from assay.models.forests.forest import Floats, Forest, Integers, goes_left

_SEED = 20_170_522  # any: the same probes each time
_MISSING = 0.12  # cells of a row that are missing
_KEPT = 64  # thresholds of a column that are tried, of very many
_TINY = 2.0**-40  # relative; less than float32 tells apart


@np.errstate(over="ignore", under="ignore")
def probe_rows(forest: Forest, count: int, *, missing: bool, unknown: bool) -> Floats:
    """(count, features) rows on and beside the thresholds of a forest.

    Args:
        forest: whose thresholds and sets of codes.
        count: how many rows.
        missing: whether NaN is among them.
        unknown: whether codes that no split lists are.
    """
    generator = np.random.Generator(np.random.Philox(_SEED))
    columns = [_candidates(forest, column, generator, unknown) for column in range(forest.features)]
    # Every cell on its own: many rows are at a threshold in several columns.
    cells = [generator.choice(values, count) for values in columns]
    rows = np.column_stack([np.zeros((count, 0)), *cells])
    if missing:
        rows[generator.random(rows.shape) < _MISSING] = np.nan
    if forest.trees:
        for row in rows[: count // 2]:
            _walk(forest, row, generator)
    return rows


def _candidates(
    forest: Forest, column: int, generator: np.random.Generator, unknown: bool
) -> Floats:
    """Values of one column that splits tell apart."""
    asks = forest.feature == column
    categorical = forest.category_start >= 0
    if (asks & categorical).any():
        return _codes(forest, np.flatnonzero(asks & categorical), unknown)
    thresholds = np.unique(forest.threshold[asks])
    thresholds = thresholds[np.isfinite(thresholds)]
    # Of very many some are drawn.
    if len(thresholds) > _KEPT:
        thresholds = generator.choice(thresholds, _KEPT, replace=False)
    beside = [
        _next(forest, thresholds, up=True),
        _next(forest, thresholds, up=False),
        thresholds * (1 - _TINY),
    ]
    zeros = np.array([0.0, -0.0])
    if (asks & forest.zero_missing).any():
        zeros = np.array([0.0, -0.0, 1e-36, -1e-36, 1e-34, -1e-34])
    return np.concatenate([thresholds, *beside, zeros])


def _codes(forest: Forest, nodes: Integers, unknown: bool) -> Floats:
    listed: set[int] = set()
    for node in nodes:
        start = forest.category_start[node]
        words = forest.category_bits[start : start + forest.category_words[node]]
        listed.update(unpacked(words).tolist())
    codes = sorted(listed or {0})
    # The code after the last one is in no set, but may be one that was seen.
    beyond = [codes[-1] + 1, codes[-1] + 70] if unknown else []
    return np.array([*codes, *beyond], dtype=np.float64)


def _next(forest: Forest, values: Floats, *, up: bool) -> Floats:
    """The numbers beside some, as the library tells numbers apart; never infinite."""
    kind = np.float32 if forest.single else np.float64
    largest = kind(np.finfo(kind).max)
    end = largest if up else -largest
    return np.asarray(np.nextafter(values.astype(kind), end), dtype=np.float64)


def _walk(forest: Forest, row: Floats, generator: np.random.Generator) -> None:
    """Changes a row so that it comes to a leaf drawn at random, just so."""
    node = int(forest.roots[generator.integers(forest.trees)])
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    while forest.feature[node] >= 0:
        column, threshold = int(forest.feature[node]), float(forest.threshold[node])
        # Categories and missing values stay what they are, and infinite thresholds part missing
        # values from all numbers.
        fixed = forest.category_start[node] >= 0 or np.isnan(row[column])
        if fixed or not np.isfinite(threshold):
            left = _left(forest, row[column], node)
        else:
            # Where both sides are open, the coin decides.
            above, below = low.get(column, -np.inf), high.get(column, np.inf)
            left = bool(generator.random() < 0.5)
            if threshold >= below:
                left = True
            if threshold <= above:
                left = False
            side = high if left else low
            side[column] = threshold
        node = int(forest.left[node] if left else forest.right[node])
    # The numbers of the row are chosen last, when all questions on the way are known.
    for column in {*low, *high}:
        row[column] = _inside(forest, low.get(column), high.get(column), generator)


def _inside(
    forest: Forest, low: float | None, high: float | None, generator: np.random.Generator
) -> float:
    """A number in (low, high], at one of the two ends."""
    at_top = low is None or (high is not None and generator.random() < 0.5)
    if at_top:
        return float(high if high is not None else 0.0)
    return float(_next(forest, np.array([low]), up=True)[0])


def _left(forest: Forest, x: float, node: int) -> bool:
    return goes_left(
        float(x),
        float(forest.threshold[node]),
        bool(forest.default_left[node]),
        bool(forest.zero_missing[node]),
        int(forest.category_start[node]),
        int(forest.category_words[node]),
        forest.category_bits,
        forest.listed_left,
    )
