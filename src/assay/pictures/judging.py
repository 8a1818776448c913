"""Judging explanations by eye: two beside each other, and what is said against what happens.

- `duel`: whether two answers agree on one input
- `faithfulness`: what an explanation says of perturbations against what they do (the model is asked)
- `stability`: whether explanations jump among neighbours
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.errors import InputError, KindError
from assay.numerics import rng, statistics
from assay.numerics.ranks import spearman
from assay.pictures.described import (
    Answers,
    answers_by_name,
    errors_of,
    intervals_of,
    row_number,
    unit_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import hexagons
from assay.pictures.drawing.labels import Z, names
from assay.pictures.drawing.marks import Box, Dots, Floats, Key, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.row_chart import ROW
from assay.pictures.drawing.scales import Axis, axis_of
from assay.pictures.numbers import clause, number
from assay.question.question import Question
from assay.settings import shown

_REPEATS = 1000  # draws from which a ceiling is told
_MOST = 30  # features of a duel
_ROWS = 8  # features beside a histogram
_SINGLE = 5000  # masks that are dots of their own
_SQUARE = (320.0, 320.0)  # of a panel whose two axes are one


# --- duel


@final
@dataclass(frozen=True, eq=False)
class _Side:
    """One answer of a duel: its credit of the input, and its errors."""

    name: str
    values: Floats
    errors: Floats
    colour: str


def duel(
    one: Attribution, other: Attribution, i: int = 0, *, top: int = 10, shared: bool = False
) -> Chart:
    """Do two answers agree on input i? Two dots for each feature, and one answer against the other.

    A difference is real where |d| > 1.96 sqrt(s1^2 + s2^2), or 1.96 (s1 + s2) where both have the same
    draws. Below stand Spearman's correlation, the overlap of the features with the most credit, and the
    share of features without a real difference, each with the ceiling that two runs of the first answer
    reach, told from its errors by 1,000 draws.

    Settings:
        one, other: of the same question and in the same unit.
        i: which input.
        top: features with a row, those with the most credit by either.
        shared: whether both were sampled by the same draws.

    Errors: InputError for answers with other features or in other units.
    """
    named = answers_by_name([one, other])
    i = row_number(one, i)
    labels = names(one.names_of(i))
    same = tuple(one.names_of(i)) == tuple(other.names_of(row_number(other, i)))
    if not same or one.kind != other.kind:
        raise InputError(
            expected="two answers about the same features in one unit",
            got=f"{one.kind}s of {len(one.names)} features and {other.kind}s of {len(other.names)}",
            advice="Ask both methods the same question; TimesInput(method) makes slopes contributions.",
        )
    sides = [
        _Side(
            name,
            values_of(answer)[i, : len(labels)],
            np.nan_to_num(errors_of(answer, values_of(answer)[i], i))[: len(labels)],
            f"series-{k}",
        )
        for k, (name, answer) in enumerate(named.items())
    ]
    a, b = sides
    spread = a.errors + b.errors if shared else np.hypot(a.errors, b.errors)
    real = np.abs(a.values - b.values) > Z * spread
    sizes = np.maximum(np.abs(a.values), np.abs(b.values))
    kept = np.argsort(-sizes, kind="stable")[: min(top, _MOST)].tolist()
    # Of all features any two answers would have the same first.
    most_of = max(1, min(top, len(labels) // 2))
    measured = _measures(a.values, b.values, a.errors, b.errors, most_of, shared)
    ceiling = _ceiling(a, most_of)
    told = ", ".join(
        f"{what} {number(value)} (ceiling {number(most)})"
        for what, value, most in zip(
            ("Spearman", f"first {most_of}", "no real difference"), measured, ceiling
        )
    )
    count = int(real.sum())
    return Chart(
        drawn=(
            _dumbbells(sides, kept, labels, real, unit_of(one, i)),
            _against(sides, unit_of(one, i)),
        ),
        table={
            "feature": labels,
            a.name: a.values.tolist(),
            f"error of {a.name}": a.errors.tolist(),
            b.name: b.values.tolist(),
            f"error of {b.name}": b.errors.tolist(),
            "real": real.tolist(),
        },
        caption=f"input {i}; {told}; bold line: a real difference",
        alt=(
            f"Duel of {a.name} and {b.name} on input {i}: {count} of {len(labels)} features differ beyond "
            f"their errors. {told}."
        ),
        columns=2,
    )


def _dumbbells(
    sides: list[_Side], kept: list[int], labels: list[str], real: Any, unit: str
) -> Panel:
    rows = np.arange(len(kept), dtype=np.float64)
    a, b = sides
    marks: list[Mark] = [
        Line("zero-line", np.zeros(2), np.array([-0.5, len(kept) - 0.5]), "grid", behind=True)
    ]
    ends = [0.0]
    for row, k in enumerate(kept):
        x = np.array([a.values[k], b.values[k]])
        width = 2.4 if real[k] else 1.0
        marks.append(Line(f"pair-{row}", x, np.full(2, float(row)), "muted", width))
    for n, side in enumerate(sides):
        # Whiskers of the two lie a little above and below their row.
        y = rows + (n - 0.5) * 0.24
        value, half = side.values[kept], Z * side.errors[kept]
        gap = np.full(len(kept), np.nan)
        if half.any():
            whiskers = np.stack([value - half, value + half, gap], axis=1).ravel()
            marks.append(Line(f"errors-{n}", whiskers, np.repeat(y, 3), side.colour))
        marks.append(Dots(f"dots-{n}", value, y, side.colour, 6.0))
        ends += [*(value - half).tolist(), *(value + half).tolist()]
    return Panel(
        marks=tuple(marks),
        x=axis_of(ends, unit),
        y=Axis(
            len(kept) - 0.5, -0.5, marked=tuple((float(n), labels[k]) for n, k in enumerate(kept))
        ),
        size=(320.0, 1.1 * ROW * len(kept)),
        frame="rows",
        keys=tuple(Key(side.name, side.colour, "dot") for side in sides),
    )


def _against(sides: list[_Side], unit: str) -> Panel:
    a, b = sides
    both = [*a.values.tolist(), *b.values.tolist(), 0.0]
    x, y = axis_of(both, f"{a.name}: {unit}"), axis_of(both, b.name)
    ends = np.array([x.low, x.high])
    return Panel(
        marks=(
            Line("diagonal", ends, ends, "muted", 1.0, True),
            Dots("features", a.values, b.values, "text", 4.5),
        ),
        x=x,
        y=y,
        size=(260.0, 260.0),
    )


def _measures(
    a: Floats, b: Floats, s: Floats, t: Floats, top: int, shared: bool
) -> tuple[float, float, float]:
    spread = s + t if shared else np.hypot(s, t)
    within = float((np.abs(a - b) <= Z * spread).mean())
    first = min(top, len(a))
    most = [set(np.argsort(-np.abs(values), kind="stable")[:first].tolist()) for values in (a, b)]
    return _rank(a[None], b[None])[0], len(most[0] & most[1]) / first, within


def _rank(a: Floats, b: Floats) -> Floats:
    one, other = torch.from_numpy(np.array(a)), torch.from_numpy(np.array(b))
    found = spearman(one, other, torch.ones_like(one, dtype=torch.bool))
    return np.asarray(found.numpy(), dtype=np.float64)


def _ceiling(side: _Side, top: int) -> tuple[float, float, float]:
    """What two runs of one answer reach: its credit with errors drawn twice."""
    if not side.errors.any():
        # One feature, or credit that is the same everywhere, has no ranking.
        return _rank(side.values[None], side.values[None])[0], 1.0, 1.0
    draw = rng.shared(0, "duel")
    shape = (_REPEATS, len(side.values))
    one, other = (side.values + side.errors * draw.standard_normal(shape) for _ in range(2))
    first = min(top, len(side.values))
    masks = []
    for drawn in (one, other):
        order = np.argsort(-np.abs(drawn), axis=1, kind="stable")[:, :first]
        mask = np.zeros(shape, dtype=bool)
        np.put_along_axis(mask, order, True, axis=1)
        masks.append(mask)
    overlap = float((masks[0] & masks[1]).sum(axis=1).mean() / first)
    within = np.abs(one - other) <= Z * math.sqrt(2) * side.errors
    return float(np.nanmean(_rank(one, other))), overlap, float(within.mean())


# --- faithfulness


def faithfulness(
    answers: Answers, *, question: Question, i: int = 0, draws: int = 200, seed: int = 0
) -> Chart:
    """Does the explanation say what perturbations do? What credit says of removing features against
    what the target loses: the model is asked `draws` masks.

    Features go by a coin each. On the diagonal the explanation is right; the mean squared distance from
    it is the infidelity for removals (Yeh et al. 2019), and the skill 1 - sum (x - y)^2 / sum y^2 is 0
    for an explanation that says nothing.

    Settings:
        answers: contributions, one or several to the question.
        question: which is asked.
        i: which input.
        draws: how many masks, at least 8; of more than 5,000 dots are counted in hexagons.
        seed: of the masks.

    Errors: KindError for slopes, which say nothing of removals.
    """
    named = answers_by_name(answers)
    first = next(iter(named.values()))
    i = row_number(first, i)
    for name, answer in named.items():
        if answer.kind != "contribution":
            raise KindError(
                expected="contributions, which say what a removal does",
                got=f"{answer.kind}s of {name}",
                advice="Make contributions of them: TimesInput(method).",
            )
        if answer.values.shape != (question.n, question.partition.count):
            raise InputError(
                expected=f"answers to the question, about {question.n} inputs",
                got=f"values of shape {tuple(answer.values.shape)}",
                advice="Hand over the question that was asked.",
            )
    if draws < statistics.FEWEST:
        raise InputError(
            expected=f"at least {statistics.FEWEST} draws", got=draws, advice="200 are usual."
        )
    kept = rng.shared(seed, "faithfulness").random((draws, question.partition.count)) < 0.5
    asked = question.part(i, i + 1)
    values = asked.value(torch.from_numpy(kept)[None].to(question.x.device))
    lost = float(first.prediction[i]) - values[0].detach().cpu().double().numpy()
    saids: dict[str, Floats] = {}
    rows = []
    told = []
    for name, answer in named.items():
        said = np.asarray((~kept) @ values_of(answer)[i], dtype=np.float64)
        saids[name] = said
        rows += [(name, float(x), float(y)) for x, y in zip(said, lost)]
    squares = (np.column_stack(list(saids.values())) - lost[:, None]) ** 2
    for name, own, (low, high) in zip(saids, squares.T, intervals_of(squares)):
        skill = 1 - float(own.sum()) / (float((lost**2).sum()) or math.inf)
        told.append(
            f"{name} {number(float(own.mean()))} [{number(float(low))}, {number(float(high))}], skill "
            f"{number(skill)}"
        )
    reach = [0.0, *lost.tolist(), *np.concatenate(list(saids.values())).tolist()]
    axis = axis_of(reach, "what the credit of the removed features adds up to")
    many = draws > _SINGLE
    drawn = _counted(saids, lost, axis) if many else (_dotted(saids, lost, axis),)
    return Chart(
        drawn=drawn,
        table={
            title: [row[k] for row in rows] for k, title in enumerate(("method", "said", "lost"))
        },
        caption=f"input {i}, {draws} masks; mean squared distance: {'; '.join(told)}",
        alt=f"Faithfulness on input {i} over {draws} masks. Mean squared distance: {'; '.join(told)}.",
        columns=len(drawn),
    )


def _dotted(saids: Mapping[str, Floats], lost: Floats, axis: Axis) -> Panel:
    """A dot for each mask, in a colour for each answer."""
    dots = [
        Dots(f"dots-{k}", said, lost, f"series-{k}", 3.6) for k, said in enumerate(saids.values())
    ]
    return Panel(
        marks=(_diagonal("diagonal", axis), *dots),
        x=axis,
        y=Axis(axis.low, axis.high, "what the target loses"),
        size=_SQUARE,
        keys=tuple(Key(name, f"series-{k}", "dot") for k, name in enumerate(saids)),
    )


def _counted(saids: Mapping[str, Floats], lost: Floats, axis: Axis) -> tuple[Panel, ...]:
    """So many masks are counted in hexagons, on a panel for each answer."""
    panels = []
    for k, (name, said) in enumerate(saids.items()):
        y = Axis(axis.low, axis.high, "what the target loses")
        tiles, scale = hexagons(f"density-{k}", said, lost, (axis, y), _SQUARE, "masks")
        marks = (tiles, _diagonal(f"diagonal-{k}", axis))
        panels.append(Panel(marks=marks, x=axis, y=y, size=_SQUARE, title=name, bar=scale))
    return tuple(panels)


def _diagonal(gid: str, axis: Axis) -> Line:
    ends = np.array([axis.low, axis.high])
    return Line(gid, ends, ends, "muted", 1.0, True)


# --- stability


def stability(
    score: Score,
    *,
    question: Question | None = None,
    method: Callable[[Question], Attribution] | None = None,
    radius: float = 0.1,
    draws: int = 50,
    seed: int = 0,
) -> Chart:
    """Does the explanation jump among neighbours? The largest relative change of each input, and beside
    it the worst input with its worst neighbour, where a question and a method are handed over.

    max_k ||phi(x + d_k) - phi(x)|| / ||phi(x)|| over steps d_k uniform in the box of the radius (Yeh et al.
    2019): neighbours are drawn anew for that input alone, so that their largest change may differ from
    the score's. The method is asked about `draws` + 1 inputs.

    Settings:
        score: of `MaxSensitivity` or another metric of change.
        question: what was asked, about numbers.
        method: that explains the worst input and its neighbours.
        radius: of the box, in units of the inputs.
        draws: neighbours.
        seed: of the neighbours.

    Errors: KindError for what is no score, InputError for a score of no input, for a question or a method
    alone, and for inputs that are no numbers.
    """
    if not isinstance(score, Score):
        raise KindError(
            expected="a Score",
            got=shown(score),
            advice="Ask a metric first: MaxSensitivity(0.1)(question, method).",
        )
    values = score.values.numpy()
    known = values[np.isfinite(values)]
    if not len(known):
        raise InputError(
            expected=f"an input with a score by {score.name}",
            got=f"none ({score.why})",
            advice="See why inputs have no score.",
        )
    edges = np.linspace(0.0, float(known.max()) or 1.0, min(31, len(known) + 2))
    counts, _ = np.histogram(known, edges)
    marks: list[Mark] = [
        Box(
            f"count-{k}",
            float(low),
            float(high),
            0.0,
            float(count),
            "muted",
            title=f"{count} inputs",
        )
        for k, (low, high, count) in enumerate(zip(edges, edges[1:], counts))
    ]
    worst = int(np.where(np.isfinite(values), values, -np.inf).argmax())
    top = 1.1 * float(counts.max())
    marks.append(Line("worst", np.full(2, known.max()), np.array([0.0, top]), "flipped", 1.6))
    marks.append(Line("mean", np.full(2, known.mean()), np.array([0.0, top]), "text", 1.2, True))
    neighbour = _worst_neighbour(score, worst, question, method, (radius, draws, seed))
    unit = clause(f", {score.units}", score.units)
    missing = clause(f"; {score.missing} inputs without a score: {score.why}", score.missing)
    return Chart(
        drawn=(
            Panel(
                marks=tuple(marks),
                x=axis_of([0.0, float(known.max())], f"{score.name}{unit}"),
                y=Axis(0.0, top, "inputs", whole=True),
                size=(400.0, 200.0),
            ),
            *neighbour[0],
        ),
        table={"input": list(range(len(values))), "score": values.tolist()},
        caption=(
            f"{len(known)} inputs, {score.direction} is better; dashed: the mean, "
            f"{number(score.mean)}; line: the worst, input {worst}{missing}{neighbour[1]}"
        ),
        alt=(
            f"{score.name} over {len(known)} inputs: mean {number(score.mean)}, largest "
            f"{number(float(known.max()))} on input {worst}{neighbour[1]}."
        ),
        columns=1 + len(neighbour[0]),
    )


def _worst_neighbour(
    score: Score,
    i: int,
    question: Question | None,
    method: Callable[[Question], Attribution] | None,
    drawing: tuple[float, int, int],
) -> tuple[tuple[Panel, ...], str]:
    """The credit of an input beside that of the neighbour which changes it most, and that in words."""
    if question is None and method is None:
        return (), ""
    radius, draws, seed = drawing
    numbers = question is not None and question.x.is_floating_point()
    if question is None or method is None or not numbers or bool(question.layout.categorical.any()):
        raise InputError(
            expected="the question about numbers, and the method, for a worst neighbour",
            got=f"{shown(question)} and {shown(method)}",
            advice="Hand over both, or neither: stability(score).",
        )
    if len(score.values) != question.n or not 0 < radius < math.inf or draws < 1:
        raise InputError(
            expected=f"a score of {question.n} inputs, a radius above 0 and at least one draw",
            got=f"a score of {len(score.values)}, radius {radius}, {draws} draws",
            advice="Hand over the question that was scored; radius=0.1 and draws=50 are usual.",
        )
    steps = rng.shared(seed, "worst neighbour").uniform(
        -radius, radius, (draws, question.x.shape[1])
    )
    # The input itself comes first, so that both are explained in one call.
    steps = np.concatenate([np.zeros((1, steps.shape[1])), steps])
    points = question.x[i : i + 1] + question.x.new_tensor(steps)
    answer = method(question.at(points, torch.full((draws + 1,), i, device=points.device)))
    values = values_of(answer)
    errors = np.nan_to_num(errors_of(answer, values))
    size = float(np.linalg.norm(values[0]))
    changes = np.linalg.norm(values[1:] - values[0], axis=1)
    k = 1 + int(changes.argmax())
    change = float(changes.max()) / size if size else math.nan
    sides = [
        _Side(f"input {i}", values[0], errors[0], "series-0"),
        _Side("its worst neighbour", values[k], errors[k], "series-1"),
    ]
    sizes = np.maximum(np.abs(values[0]), np.abs(values[k]))
    kept = np.argsort(-sizes, kind="stable")[:_ROWS].tolist()
    real = np.abs(values[k] - values[0]) > Z * np.hypot(errors[0], errors[k])
    labels = names(answer.names_of(0))
    told = f"; of {draws} neighbours within {radius:g} the worst changes it by {number(change)}"
    return (_dumbbells(sides, kept, labels, real, unit_of(answer, 0)),), told
