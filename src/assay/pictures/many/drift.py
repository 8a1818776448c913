"""Whether credit has changed over time.

All positions of a change are tried by one test: a test for each would find changes where there are none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError, SettingError
from assay.numerics import rng, statistics
from assay.numerics.statistics import FEWEST
from assay.pictures.described import (
    answers_by_name,
    told_apart,
    too_few,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import Curve, curve_marks
from assay.pictures.drawing.labels import Z, names
from assay.pictures.drawing.marks import Floats, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, axis_of
from assay.pictures.numbers import clause, p_value

_SHUFFLES = 999
_EDGE = 0.1  # of the inputs, on either side of a change


def drift(
    answer: Attribution,
    times: ArrayLike | None = None,
    *,
    top: int = 5,
    window: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Chart:
    """Has a feature's credit changed over time? Running means, and a change where one is shown.

    One test for each feature over all positions of a change (the largest standardised difference of
    means before and after, by permutations), adjusted by Holm over features; so false alarms stay at
    1 - level however many positions are tried.

    Settings:
        answer: of inputs in their order, at least 20.
        times: when each input came; 0, 1, 2, ... where nothing is said.
        top: features with a panel.
        window: inputs of a running mean, a tenth of all where nothing is said.
        level: of the bands and tests.
        seed: of the permutations.
    """
    [(name, answer)] = answers_by_name(answer).items()
    values = values_of(answer)
    n = len(values)
    if n < 20:
        raise InputError(
            expected="at least 20 inputs for drift",
            got=n,
            advice="Ask about more inputs, in the order in which they came.",
        )
    x = _times(times, n)
    inputs = np.argsort(x, kind="stable")
    x, values = x[inputs], values[inputs]
    labels = names(answer.names)
    p, places = changes(values, seed)
    kept = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[: max(1, top)].tolist()
    window = max(FEWEST, n // 10) if window is None else int(window)
    if not 2 <= window <= n:
        raise SettingError(
            expected=f"a window of 2 to {n} inputs", got=window, advice="A tenth of all is usual."
        )
    panels = []
    for index, k in enumerate(kept):
        real = bool(p[k] <= 1 - level)
        told = f"{labels[k]}, p {p_value(float(p[k]))}"
        last = index == len(kept) - 1
        panels.append(
            _drifting(index, x, values[:, k], places[k] if real else None, window, told, last)
        )
    changed = [labels[k] for k in kept if p[k] <= 1 - level]
    said = ", ".join(changed) if changed else "none of those shown"
    return Chart(
        drawn=tuple(panels),
        table={
            "feature": labels,
            "p": p.tolist(),
            "changes at": [float(x[place]) for place in places],
        },
        caption=(
            f"{name}; means over {window} inputs with pointwise {100 * level:g} % intervals; upright line: "
            f"a change (one test over all positions, Holm over {len(labels)} features)"
            f"{too_few(window)}{told_apart(answer)}"
        ),
        alt=f"Credit by {name} over {n} inputs in time. Features whose credit changed: {said}.",
    )


def _times(times: ArrayLike | None, n: int) -> Floats:
    if times is None:
        return np.arange(n, dtype=np.float64)
    given = np.asarray(times)
    if given.dtype.kind == "M":
        # Days since the first.
        given = (given - given.min()) / np.timedelta64(1, "D")
    if given.shape != (n,) or given.dtype.kind not in "iuf":
        raise InputError(
            expected=f"a number or a date for each of {n} inputs as times",
            got=f"{given.dtype} of shape {given.shape}",
            advice="Hand over an array of dates: frame['day'].to_numpy().",
        )
    return given.astype(np.float64)


def changes(values: Floats, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Adjusted p values of a change of each column's mean, and where it is largest."""
    n, features = values.shape
    orders = rng.shared(seed, "drift").random((_SHUFFLES, n)).argsort(axis=1)
    p = np.ones(features)
    places = np.zeros(features, dtype=np.int64)
    for k in range(features):
        column = values[:, k]
        seen = _contrasts(column[None])[0]
        first = int(np.ceil(_EDGE * n))
        places[k] = first + int(seen.argmax())
        most = float(seen.max())
        shuffled = _contrasts(column[orders]).max(axis=1)
        # The order as it came is one of the orders. Rounding must not hide a tie.
        p[k] = (1 + int((shuffled >= most - 1e-12).sum())) / (1 + _SHUFFLES)
    return statistics.holm(p), places


def _contrasts(rows: Floats) -> Floats:
    """Standardised differences of means before and after each position, (rows, positions)."""
    n = rows.shape[1]
    first = int(np.ceil(_EDGE * n))
    before = np.arange(first, n - first + 1)
    sums = np.cumsum(rows, axis=1)[:, before - 1]
    total = rows.sum(axis=1, keepdims=True)
    difference = sums / before - (total - sums) / (n - before)
    return np.asarray(np.abs(difference) / np.sqrt(1 / before + 1 / (n - before)))


def _drifting(
    index: int, x: Floats, column: Floats, place: Any, window: int, told: str, last: bool
) -> Panel:
    sums = np.concatenate([[0.0], np.cumsum(column)])
    squares = np.concatenate([[0.0], np.cumsum((column - column.mean()) ** 2)])
    means = (sums[window:] - sums[:-window]) / window
    around = (squares[window:] - squares[:-window]) / window - (means - column.mean()) ** 2
    half = Z * np.sqrt(np.maximum(around, 0) / max(1, window - 1))
    if window < FEWEST:
        half = np.full_like(half, np.nan)
    at = x[window // 2 : window // 2 + len(means)]
    curve = Curve(told, at, means, means - half, means + half, "series-0")
    room = np.nan_to_num(half)
    y = axis_of([*(means - room).tolist(), *(means + room).tolist(), 0.0])
    across = axis_of(x.tolist(), clause("time", last), room=0.01)
    marks = [_renamed(mark, index) for mark in curve_marks([curve])]
    if place is not None:
        ends = np.array([y.low, y.high])
        marks.append(Line(f"change-{index}", np.full(2, x[place]), ends, "text", 1.2, True))
    zero = Line(f"zero-line-{index}", np.array([across.low, across.high]), np.zeros(2), "grid")
    return Panel(
        marks=(zero, *marks),
        x=across if last else Axis(across.low, across.high, marked=()),
        y=y,
        size=(460.0, 90.0),
        title=told,
    )


def _renamed(mark: Mark, index: int) -> Mark:
    return replace(mark, gid=f"{mark.gid}-{index}")
