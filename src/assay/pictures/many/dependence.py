"""How the credit of one feature depends on its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from assay.answers.attribution import Attribution
from assay.errors import InputError, SettingError
from assay.numerics.statistics import FEWEST
from assay.pictures.described import (
    answers_by_name,
    errors_of,
    sampled,
    told_apart,
    unit_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import Curve, curve_marks, hexagons
from assay.pictures.drawing.labels import Z, names, signed
from assay.pictures.drawing.marks import Dots, Floats, Key, Line, Mark, Tiles
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, Scale, axis_of
from assay.pictures.many.contents import Contents
from assay.pictures.many.swarm import piles
from assay.pictures.numbers import clause, content
from assay.question.question import Question

_BINS = 20  # of a mean line, at most; each holds enough inputs for an interval
_WHISKERS = 100  # dots that have whiskers of their own
_MANY = 5000  # dots from which a scatter is a density
_SIZE = (460.0, 300.0)  # of the panel


def dependence(
    answer: Attribution,
    feature: int | str,
    *,
    question: Question,
    colour: int | str | None = None,
    partial: int = 0,
) -> Chart:
    """How the credit of one feature depends on its value.

    A dot lies exactly at its value and its credit; categories are piled as in a swarm. The line is the
    mean of bins of equally many inputs, at most 20 and of at least 8 inputs each, with the 95 % interval
    of each mean. Inputs without a value stand at the left edge. Of more than 5,000 inputs dots are counted
    in hexagons (Carr et al. 1987).

    The partial dependence (Friedman 2001, section 8.2) is what the target is where all other features are
    removed, less the base: in the unit of the credit, and equal to it where the model is a sum.

    Settings:
        answer: of many inputs.
        feature: by number or name.
        question: what was asked, for the values.
        colour: a second feature, whose value colours the dots.
        partial: of how many values the partial dependence is drawn, for which the model is asked as many
            masks; 0 for none.

    Errors: InputError for a feature that there is not or that is no single value, and for a partial
    dependence of categories or beside slopes.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] ** 2, torch.tensor([[1.0], [2.0], [3.0]]))
    >>> dependence(assay.ExactShapley()(question), 0, question=question).data["credit"].tolist()
    [1.0, 4.0, 9.0]
    """
    [(name, answer)] = answers_by_name(answer).items()
    contents = Contents.of(answer, question)
    k = _feature(answer, feature)
    label = names(answer.names)[k]
    if contents.columns[k] is None:
        raise InputError(
            expected="features that are single values, for a dependence plot",
            got=f"{label} of {question.features!r}",
            advice="Ask about elements or columns: features=Elements().",
        )
    second = None if colour is None else _feature(answer, colour)
    credit = values_of(answer)[:, k]
    errors = errors_of(answer, values_of(answer))[:, k]
    asked = _partial(answer, question, contents, k, partial) if partial else None
    drawn = _Dependence(contents, k, credit, errors, sampled(answer), second, asked)
    y = axis_of([0.0, *drawn.ends], unit_of(answer))
    shown = contents.columns[k]
    keys = contents.keys([second]) if second is not None else ()
    missing = contents.missing(k)
    told = clause(f"; {missing} inputs without a value at the left edge", missing)
    told += told_apart(answer)
    told += clause(f"; dashed: the partial dependence at {partial} values, less the base", partial)
    if asked is not None:
        line = Key("means of the credit", "text", "line")
        keys = (*keys, line, Key("partial dependence", "series-1", "dashed"))
    return Chart(
        drawn=(
            Panel(
                marks=drawn.marks(y),
                x=drawn.x(label),
                y=y,
                size=_SIZE,
                bar=drawn.bar(y, answer),
                keys=keys,
            ),
        ),
        table={
            "input": list(range(len(credit))),
            "value": [content(value) for value in shown],
            "credit": credit.tolist(),
            "error": errors.tolist() if sampled(answer) else [float("nan")] * len(credit),
        },
        caption=f"{name}, {len(credit)} inputs; line: means, band: 95 % intervals{told}",
        alt=(
            f"Dependence of the credit of {label} on its value, by {name}, over {len(credit)} inputs: "
            f"values {contents.ends(k)}, credit {signed(float(credit.min()))} to "
            f"{signed(float(credit.max()))}."
        ),
    )


def _feature(answer: Attribution, feature: int | str) -> int:
    """The number of a feature, by number or name."""
    listed = list(answer.names)
    if isinstance(feature, str) and feature in listed:
        return listed.index(feature)
    whole = isinstance(feature, int | np.integer) and not isinstance(feature, bool)
    if whole and 0 <= int(feature) < len(listed):
        return int(feature)
    raise InputError(
        expected=f"a feature by name, or its number from 0 to {len(listed) - 1}",
        got=repr(feature),
        advice=f"The first are {', '.join(map(str, listed[:5]))}.",
    )


@final
@dataclass(frozen=True, eq=False)
class _Dependence:
    """The marks of a dependence plot."""

    contents: Contents
    k: int
    credit: Floats
    errors: Floats
    sampled: bool
    second: int | None
    partial: Curve | None

    @property
    def whiskers(self) -> bool:
        return self.sampled and len(self.credit) <= _WHISKERS

    @property
    def ends(self) -> list[float]:
        half = Z * self.errors if self.whiskers else 0.0 * self.errors
        line = [] if self.partial is None else self.partial.y.tolist()
        return [*(self.credit - half).tolist(), *(self.credit + half).tolist(), *line]

    @property
    def dense(self) -> bool:
        return self.contents.is_number(self.k) and len(self.credit) > _MANY

    def x(self, label: str) -> Axis:
        if self.contents.is_number(self.k):
            values = self.contents.columns[self.k]
            axis = axis_of(values[np.isfinite(values)].tolist(), label)
            if not self.contents.missing(self.k):
                return axis
            # Room for those without a value.
            room = 0.06 * (axis.high - axis.low)
            return Axis(axis.low - room, axis.high, label)
        levels = self._levels()
        return Axis(
            -0.5, len(levels) - 0.5, label, tuple((float(k), n) for k, n in enumerate(levels))
        )

    def _levels(self) -> list[str]:
        levels = self.contents.categories(self.k)
        if self.contents.missing(self.k):
            return [*levels, "missing"]
        return levels

    def marks(self, y: Axis) -> tuple[Mark, ...]:
        x = self._places(y)
        across = self.x("")
        zero = Line(
            "zero-line", np.array([across.low, across.high]), np.zeros(2), "grid", behind=True
        )
        marks: list[Mark] = [zero]
        if self.dense:
            marks.append(self._density(x, across, y)[0])
        else:
            hollow = self.sampled & (np.abs(self.credit) <= Z * self.errors)
            marks.append(Dots("dots-0", x, self.credit, self._colours(), 3.4, hollow))
        if self.whiskers:
            gap = np.full(len(x), np.nan)
            half = Z * self.errors
            ends = np.stack([self.credit - half, self.credit + half, gap], axis=1).ravel()
            marks.append(Line("errors-0", np.repeat(x, 3), ends, "muted", 0.8))
        return (*marks, *self._lines())

    def _places(self, y: Axis) -> Floats:
        if self.contents.is_number(self.k):
            values = np.array(self.contents.columns[self.k], dtype=np.float64)
            across = self.x("")
            # A hexagon around it lies within the axes, too.
            low = across.low + 0.03 * (across.high - across.low)
            return np.where(np.isfinite(values), values, low)
        place = {text: k for k, text in enumerate(self._levels())}
        texts = self.contents.columns[self.k]
        rows = np.array([place[text] for text in texts], dtype=np.float64)
        # Turned by a quarter, each category is a row of a swarm.
        up = np.zeros(len(rows))
        columns = [np.flatnonzero(rows == k) for k in range(len(place))]
        for own, heights in zip(columns, piles([self.credit[own] for own in columns], y)):
            up[own] = heights
        return rows + up

    def _colours(self) -> str | tuple[str, ...]:
        if self.second is None:
            return "series-0"
        return self.contents.colours(self.second)

    def _density(self, x: Floats, across: Axis, y: Axis) -> tuple[Tiles, Scale]:
        return hexagons("density-0", x, self.credit, (across, y), _SIZE, "inputs")

    def bar(self, y: Axis, answer: Attribution) -> Scale | None:
        if self.dense:
            return self._density(self._places(y), self.x(""), y)[1]
        if self.second is None:
            return None
        scale = self.contents.scale([self.second])
        if scale is None:
            return None
        name = names(answer.names)[self.second]
        ticks = ((0.0, "lowest"), (1.0, "highest"))
        return Scale(0.0, 1.0, f"{name}, {self.contents.ends(self.second)}", "cividis", ticks)

    def _lines(self) -> tuple[Mark, ...]:
        """The line of means, and the partial dependence."""
        curves = [curve for curve in (self._means(), self.partial) if curve is not None]
        return curve_marks(curves)

    def _means(self) -> Curve | None:
        if not self.contents.is_number(self.k):
            return None
        values = self.contents.columns[self.k]
        known = np.isfinite(values)
        order = np.flatnonzero(known)[np.argsort(values[known], kind="stable")]
        count = min(_BINS, len(order) // FEWEST)
        if count < 2:
            return None
        bins = np.array_split(order, count)
        at = np.array([values[part].mean() for part in bins])
        means = np.array([self.credit[part].mean() for part in bins])
        half = np.array([_half_width(self.credit[part]) for part in bins])
        return Curve("mean", at, means, means - half, means + half, "text")


def _partial(
    answer: Attribution, question: Question, contents: Contents, k: int, points: int
) -> Curve:
    """The target where one feature alone is present, less the base, at some of the inputs' values."""
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise SettingError(
            expected="at least 2 values of a partial dependence, or 0 for none",
            got=points,
            advice="20 are usual: partial=20.",
        )
    if answer.kind != "contribution" or not contents.is_number(k):
        raise InputError(
            expected="contributions of a feature that is measured, beside a partial dependence",
            got=f"{answer.kind}s of {names(answer.names)[k]}",
            advice="Leave `partial` out.",
        )
    if told_apart(answer):
        raise InputError(
            expected="one target of all inputs, beside a partial dependence",
            got=f"{len(set(answer.targets or ()))} different ones",
            advice="Ask about one output: Question(model, inputs, LogOdds(1)).",
        )
    values = contents.columns[k]
    different, first = np.unique(values, return_index=True)
    known = first[np.isfinite(different)]
    # Spread over the inputs' own values, both ends included.
    places = np.unique(np.linspace(0, len(known) - 1, points).round().astype(np.int64))
    rows = known[places]
    chosen = torch.from_numpy(rows).to(question.x.device)
    alone = torch.zeros(1, question.partition.count, dtype=torch.bool, device=question.x.device)
    alone[0, k] = True
    asked = question.at(question.x[chosen], chosen)
    said = asked.value(alone)[:, 0] - asked.base
    target = np.asarray(said.detach().cpu(), dtype=np.float64)
    return Curve("partial dependence", values[rows], target, colour="series-1", dashed=True)


def _half_width(values: Floats) -> float:
    """Half of Student's 95 % interval of a mean."""
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
