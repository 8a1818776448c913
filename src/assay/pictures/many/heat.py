"""Features by inputs, below the predictions: are there groups of inputs?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.answers.attribution import Attribution
from assay.errors import InputError
from assay.pictures.described import (
    answers_by_name,
    sampled,
    strongest,
    told_apart,
    unit_of,
    unsure_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.labels import names
from assay.pictures.drawing.marks import Dots, Floats, Line, Mark, Raster, extent_of
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, around_zero, axis_of
from assay.pictures.numbers import clause, number
from assay.settings import argument

Order: TypeAlias = Literal["clusters", "prediction"]

_HEAT = (2000, 50)  # inputs and features that a heat map draws


def heat(
    answer: Attribution,
    *,
    order: Order | Sequence[int] = "clusters",
    top: int = 20,
) -> Chart:
    """Are there groups of inputs? Features by inputs, below the predictions on an axis of their own.

    Settings:
        answer: of many inputs.
        order: "clusters" puts inputs with like credit beside each other (average linkage), "prediction"
            sorts; or the numbers of the inputs in their order.
        top: features with a row.

    From 2,000 inputs on columns are means of neighbours, and the caption says so.
    """
    [(name, answer)] = answers_by_name(answer).items()
    values = values_of(answer)
    means = np.abs(values).mean(axis=0)
    kept = np.argsort(-means, kind="stable")[: max(1, min(top, _HEAT[1]))].tolist()
    labels = names(answer.names)
    inputs = _sorted(values, answer, order)
    table = values[np.ix_(inputs, kept)].T
    prediction = np.asarray(answer.prediction.detach().cpu(), dtype=np.float64)[inputs]
    base = float(np.asarray(answer.base.detach().cpu(), dtype=np.float64).mean())
    factor = max(1, -(-len(inputs) // _HEAT[0]))
    starts = np.arange(0, len(inputs), factor)
    if factor > 1:
        counts = np.diff(np.append(starts, len(inputs)))
        table = np.add.reduceat(table, starts, axis=1) / counts
        prediction = np.add.reduceat(prediction, starts) / counts
    places = np.arange(len(starts), dtype=np.float64)
    x = Axis(-0.5, len(starts) - 0.5, marked=())
    ends = np.array([x.low, x.high])
    scale = around_zero(float(np.abs(table).max()), unit_of(answer))
    rows = tuple((float(k), labels[j]) for k, j in enumerate(kept))
    above = Panel(
        marks=(
            Line("base-line", ends, np.full(2, base), "muted", 1.0, True),
            Line("line-0", places, prediction, "text"),
        ),
        x=x,
        y=axis_of([*prediction.tolist(), base], f"f(x), base {number(base)}"),
        size=(460.0, 90.0),
    )
    marks: list[Mark] = [Raster("credit", table, scale, extent_of(table))]
    unsure = unsure_of(answer)[np.ix_(inputs, kept)].T
    if sampled(answer) and factor == 1 and table.shape[1] <= 50 and table.shape[0] <= 20:
        down, across = np.nonzero(unsure)
        marks.append(Dots("unsure-credit", across.astype(float), down.astype(float), "muted", 2.0))
    below = Panel(
        marks=tuple(marks),
        x=Axis(x.low, x.high, f"{len(inputs)} inputs, {_ordered(order)}", ()),
        y=Axis(len(kept) - 0.5, -0.5, marked=rows),
        size=(460.0, 18.0 * len(kept)),
        frame="rows",
        right=tuple((float(k), number(float(means[j]))) for k, j in enumerate(kept)),
        bar=scale,
    )
    said = clause(f"; columns are means over {factor} inputs", factor > 1)
    rest = len(labels) - len(kept)
    said += clause(f"; {rest} features with less credit are not shown", rest)
    said += told_apart(answer)
    return Chart(
        drawn=(above, below),
        table={
            "input": np.repeat(inputs, len(kept)).tolist(),
            "feature": [labels[j] for _ in inputs for j in kept],
            "credit": values[np.ix_(inputs, kept)].ravel().tolist(),
        },
        caption=f"{name}; above: the predictions and the mean base; right: mean size of credit{said}",
        alt=(
            f"Heat map of {name}: credit of {len(kept)} features over {len(inputs)} inputs, "
            f"{_ordered(order)}. Largest mean size of credit: "
            f"{strongest([float(means[j]) for j in kept], [labels[j] for j in kept])}."
        ).replace(" +", " "),
    )


def _ordered(order: Order | Sequence[int]) -> str:
    told = {"clusters": "inputs with like credit together", "prediction": "by prediction"}
    if isinstance(order, str):
        return told[order]
    return "in a given order"


def _sorted(values: Floats, answer: Attribution, order: Order | Sequence[int]) -> NDArray[np.int64]:
    n = len(values)
    if not isinstance(order, str):
        given = np.asarray(order)
        if given.ndim != 1 or sorted(given.tolist()) != list(range(n)):
            raise InputError(
                expected=f"each number from 0 to {n - 1} once as the order of inputs",
                got=f"{len(given)} numbers",
                advice='Write order="prediction", or numpy.argsort(...).',
            )
        return given.astype(np.int64)
    order = argument("heat", "order", order, Order)
    if order == "prediction" or n < 3 or n > _HEAT[0]:
        prediction = np.asarray(answer.prediction.detach().cpu(), dtype=np.float64)
        return np.argsort(prediction, kind="stable")
    from scipy.cluster.hierarchy import leaves_list, linkage

    return np.asarray(leaves_list(linkage(values, "average", optimal_ordering=n <= 500)), np.int64)
