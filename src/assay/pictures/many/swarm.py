"""How the credit of each feature spreads over inputs, and with which values (a beeswarm).

No dot is moved by chance: equal answers give equal pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.answers.attribution import Attribution
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
from assay.pictures.drawing.marks import Dots, Floats, Line, Mark, Raster
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.row_chart import ROW
from assay.pictures.drawing.scales import Axis, Scale, Ticks, axis_of
from assay.pictures.many.contents import Contents
from assay.pictures.numbers import clause
from assay.question.question import Question

_PITCHES = 120  # dots that fit beside each other along the axis
_DENSE = 2000  # inputs from which a row is a density
_DOT = 2.3  # points
_ROW_DOTS = 11.0  # dots that fit above each other in a row
_PILE = 0.45  # of a row's height: how far a pile may rise


def swarm(answer: Attribution, *, question: Question | None = None, top: int = 10) -> Chart:
    """How the credit of each feature spreads over inputs, and with which values (a beeswarm).

    Dots lie at their credit, piled in bins one dot wide, with one dot and one step for all rows, so that
    a row is as thick as it has inputs there. Colour is the value by its rank within the feature. From
    2,000 inputs on a row is a density, on one scale for all.

    Settings:
        answer: of many inputs.
        question: what was asked, for the values of the features.
        top: features with a row; the others are summed in one.

    Errors: KindError for what is no answer.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: 2 * x[:, 0] + x[:, 1], torch.tensor([[1.0, 1], [-1, 3]]))
    >>> swarm(assay.ExactShapley()(question), question=question).data["credit"].tolist()
    [2.0, -2.0, 1.0, 3.0]
    """
    [(name, answer)] = answers_by_name(answer).items()
    values = values_of(answer)
    order = np.argsort(-np.abs(values).mean(axis=0), kind="stable").tolist()
    kept, rest = order[: max(1, top)], order[max(1, top) :]
    labels = names(answer.names)
    contents = Contents.of(answer, question)
    unsure = unsure_of(answer)
    columns: list[Floats] = [values[:, k] for k in kept]
    shown = [labels[k] for k in kept]
    if rest and answer.kind == "contribution":
        columns.append(values[:, rest].sum(axis=1))
        shown.append(f"{len(rest)} others together")
    across = axis_of([0.0, *np.concatenate(columns).tolist()], unit_of(answer))
    marks: list[Mark] = [_zero_line(len(columns))]
    dense = len(values) > _DENSE
    if dense:
        marks += _densities(columns, across)
    else:
        marks += _dots(columns, across, kept, contents, unsure)
    ends = [contents.ends(k) for k in kept]
    panel = Panel(
        marks=tuple(marks),
        x=across,
        y=Axis(len(columns) - 0.5, -0.5, marked=_ticks(shown)),
        size=(400.0, 1.2 * ROW * len(columns)),
        frame="rows",
        right=_ticks(ends) if any(ends) else (),
        bar=_counts_scale(columns, across) if dense else contents.scale(kept),
        keys=contents.keys(kept),
    )
    means = np.abs(values).mean(axis=0)
    hollow_said = clause("; rings: not told from zero", sampled(answer) and not dense)
    return Chart(
        drawn=(panel,),
        table={
            "input": np.tile(np.arange(len(values)), len(columns)).tolist(),
            "feature": np.repeat(shown, len(values)).tolist(),
            "credit": np.concatenate(columns).tolist(),
        },
        caption=f"{name}, {len(values)} inputs{hollow_said}{contents.said(kept)}{told_apart(answer)}",
        alt=(
            f"Swarm of {name} over {len(values)} inputs. Largest mean size of credit: "
            f"{strongest(means[kept].tolist(), shown)}."
        ).replace(" +", " "),
    )


def _ticks(texts: Sequence[str]) -> Ticks:
    return tuple((float(row), text) for row, text in enumerate(texts))


def _dots(
    columns: Sequence[Floats],
    across: Axis,
    kept: Sequence[int],
    contents: Contents,
    unsure: NDArray[np.bool_],
) -> list[Mark]:
    """The dots of each row, those of the others without a value of their own."""
    marks: list[Mark] = []
    for row, (column, up) in enumerate(zip(columns, piles(columns, across))):
        hollow = np.zeros(len(column), dtype=bool)
        colours: str | tuple[str, ...] = "muted"
        if row < len(kept):
            hollow = unsure[:, kept[row]]
            colours = contents.colours(kept[row]) or "muted"
        marks.append(Dots(f"dots-{row}", column, row + up, colours, _DOT, hollow))
    return marks


def _zero_line(rows: int) -> Line:
    return Line("zero-line", np.zeros(2), np.array([-0.5, rows - 0.5]), "grid", behind=True)


def piles(columns: Sequence[Floats], across: Axis) -> list[Floats]:
    """How far from the middle of its row each dot lies, in rows."""
    pitch = (across.high - across.low) / _PITCHES
    ranks = [_ranks(np.floor((column - across.low) / pitch).astype(np.int64)) for column in columns]
    tallest = max(int(np.abs(rank).max(initial=0)) for rank in ranks)
    # One step for all rows: a dot, or less where the tallest pile of any row asks for it.
    step = min(1 / _ROW_DOTS, _PILE / max(tallest, 1))
    return [np.asarray(rank * step, dtype=np.float64) for rank in ranks]


def _ranks(bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each dot in the pile of its bin, in the order of the data: 0, -1, 1, -2, ..."""
    order = np.argsort(bins, kind="stable")
    ordered = bins[order]
    # Where each pile begins, and how far a dot is from there.
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    nth = np.arange(len(ordered)) - np.repeat(starts, sizes)
    ranks = np.empty(len(bins), dtype=np.int64)
    ranks[order] = np.where(nth % 2 == 1, -(nth + 1) // 2, nth // 2)
    return ranks


def _histograms(columns: Sequence[Floats], across: Axis) -> Floats:
    edges = np.linspace(across.low, across.high, _PITCHES + 1)
    return np.stack([np.histogram(column, edges)[0] for column in columns]).astype(np.float64)


def _counts_scale(columns: Sequence[Floats], across: Axis) -> Scale:
    return Scale(0.0, float(_histograms(columns, across).max()), "inputs in a place", "Greys")


def _densities(columns: Sequence[Floats], across: Axis) -> list[Mark]:
    counts = _histograms(columns, across)
    scale = _counts_scale(columns, across)
    ends = across.low, across.high
    return [
        Raster(f"density-{row}", counts[row : row + 1], scale, (*ends, row + 0.35, row - 0.35))
        for row in range(len(columns))
    ]
