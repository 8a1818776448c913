"""Whether credit differs between two groups of inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.numerics import statistics
from assay.pictures.described import (
    answers_by_name,
    strongest,
    target_of,
    told_apart,
    too_few,
    values_of,
)
from assay.pictures.drawing.labels import names, signed
from assay.pictures.drawing.marks import Floats
from assay.pictures.drawing.row_chart import Row, RowChart
from assay.pictures.numbers import p_value


def groups(
    answer: Attribution,
    labels: ArrayLike,
    *,
    top: int | None = 10,
    level: float = 0.95,
) -> RowChart:
    """Whether credit differs between two groups of inputs: differences of means, with their intervals.

    Welch's intervals and tests for each feature, adjusted by Holm over all of them; those that are
    significant are solid, the others grey. A group of fewer than 8 inputs gives no interval, and no
    difference is then called significant.

    Settings:
        answer: of many inputs.
        labels: the group of each input, two different ones.
        top: features with a row, those with the largest differences.
        level: of the intervals.

    Errors: InputError for labels that do not fit, or other than two groups of at least two inputs.
    """
    [(name, answer)] = answers_by_name(answer).items()
    values = values_of(answer)
    first, second, one = _two_groups(labels, len(values))
    a, b = values[one], values[~one]
    difference = a.mean(axis=0) - b.mean(axis=0)
    spread, freedom = _welch(a, b)
    from scipy.special import stdtr, stdtrit

    half = np.where(spread > 0, stdtrit(freedom, 0.5 + level / 2) * spread, 0.0)
    fewest = min(len(a), len(b))
    if fewest < statistics.FEWEST:
        half = np.full_like(half, np.nan)
    t = np.abs(difference) / np.where(spread > 0, spread, np.inf)
    p = statistics.holm(np.clip(2 * stdtr(freedom, -t), 0, 1))
    listed = names(answer.names)
    kept = np.argsort(-np.abs(difference), kind="stable")[:top].tolist()
    rows = []
    for index, k in enumerate(kept):
        # Without an interval no difference is called one.
        real = bool(p[k] <= 1 - level) and fewest >= statistics.FEWEST
        value = float(difference[k])
        rows.append(
            Row(
                role="place" if real else "reference",
                index=index,
                name=listed[k],
                value=value,
                text=f"{signed(value)}, p {p_value(float(p[k]))}",
                start=value,
                end=value,
                low=value - float(half[k]),
                high=value + float(half[k]),
            )
        )
    count = int((p <= 1 - level).sum()) if fewest >= statistics.FEWEST else 0
    return RowChart(
        rows=tuple(rows),
        axis=f"difference of mean credit, {first} less {second}, in units of {target_of(answer)}",
        marked=(("zero-line", 0.0),),
        caption=(
            f"{name}; {len(a)} inputs of {first}, {len(b)} of {second}; {100 * level:g} % intervals "
            f"(Welch); {count} of {len(p)} significant after Holm, the others grey"
            f"{too_few(fewest)}{told_apart(answer)}"
        ),
        alt=(
            f"Differences of the credit of {name} between {first} and {second}: {count} of {len(p)} "
            f"features significant. Largest: {strongest(difference.tolist(), listed)}."
        ),
    )


def _two_groups(labels: ArrayLike, n: int) -> tuple[str, str, NDArray[np.bool_]]:
    given = np.asarray(labels)
    different = sorted(set(given.tolist()), key=str) if given.ndim == 1 else []
    counts = [int((given == each).sum()) for each in different]
    if given.shape != (n,) or len(different) != 2 or min(counts) < 2:
        raise InputError(
            expected=f"one of two labels for each of {n} inputs, each of two inputs or more",
            got=f"{len(different)} labels of shape {given.shape}",
            advice="Make them by a comparison: frame['age'] > 40.",
        )
    # True stands before False, as the group that is meant.
    first, second = different[::-1] if given.dtype == bool else different
    return str(first), str(second), np.asarray(given == first)


def _welch(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The standard error of a difference of means, and its degrees of freedom (Welch 1947)."""
    one, other = a.var(axis=0, ddof=1) / len(a), b.var(axis=0, ddof=1) / len(b)
    below = one**2 / (len(a) - 1) + other**2 / (len(b) - 1)
    # Without any spread there is nothing to be estimated.
    freedom = np.where(below > 0, (one + other) ** 2 / np.where(below > 0, below, 1.0), 1.0)
    return np.sqrt(one + other), freedom
