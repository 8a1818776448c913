"""Lines: masking curves, reliability, convergence, series, and what the model says of other values.

- `curves`: what becomes of the target as features go in the order of their credit
- `reliability`: how often a model that is so sure is right
- `convergence`: whether the draws were enough
- `series`: when credit falls, channel by channel
- `what_if`: what the model says where one feature takes other values (it is asked)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.errors import InputError, KindError
from assay.numerics import rng
from assay.numerics.statistics import FEWEST
from assay.pictures.described import (
    Answers,
    answers_by_name,
    errors_of,
    row_number,
    sampled,
    too_few,
    unit_of,
    values_of,
)
from assay.pictures.drawing.drawing import Chart
from assay.pictures.drawing.kinds import Curve, curve_keys, curve_marks
from assay.pictures.drawing.labels import Z, names, signed
from assay.pictures.drawing.marks import Band, Box, Dots, Floats, Line, Mark
from assay.pictures.drawing.panel import Panel
from assay.pictures.drawing.scales import Axis, axis_of
from assay.pictures.numbers import clause, content, number
from assay.question.question import Question
from assay.settings import shown

Scores: TypeAlias = Score | Sequence[Score] | Mapping[str, Score]

_RESAMPLES = 1999
_CHANNELS = 12
_STEPS = 2000  # of a line, above which it is drawn by its ends in each place


# --- masking curves


def curves(scores: Scores, *, reference: Score | None = None, level: float = 0.95) -> Chart:
    """What becomes of the target as features go (or come) in the order of their credit.

    Each line is the mean over inputs; its band holds the whole line at once (max-t, by a studentised
    bootstrap over inputs). What is read off is the area, the metric's own score.

    Settings:
        scores: of `Deletion`, `Insertion` or `LeastRelevantFirst`, one, several or by name.
        reference: the same metric of a random order, drawn in grey.
        level: of the bands.

    Errors: KindError for scores without curves.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> score = assay.Deletion()(question, assay.InputXGradient()(question))
    >>> curves(score).data["mean"].tolist()
    [10.0, 6.0, 3.0, 1.0, 0.0]
    """
    named = _by_name(scores)
    drawn = [
        _curve(name, score, f"series-{k}", level) for k, (name, score) in enumerate(named.items())
    ]
    if reference is not None:
        _check_score(reference)
        drawn.append(_curve("random order", reference, "muted", level, dashed=True))
    ends = [end for curve in drawn for end in (*_known(curve.low), *_known(curve.high), *curve.y)]
    first = next(iter(named.values()))
    rows = [
        (curve.name, float(x), float(y), low, high)
        for curve in drawn
        for x, y, low, high in _points(curve)
    ]
    areas = ", ".join(f"{name} {number(score.mean)}" for name, score in named.items())
    return Chart(
        drawn=(
            Panel(
                marks=curve_marks(drawn),
                x=Axis(0.0, 1.0, "share of the features, in the order of their credit"),
                y=axis_of([float(end) for end in ends], "target, mean over inputs"),
                size=(440.0, 280.0),
                keys=curve_keys(drawn),
            ),
        ),
        table=_columns(("method", "share", "mean", "low", "high"), rows),
        caption=(
            f"{first.name.partition('(')[0]}, {first.direction} area is better; {len(first)} inputs; bands "
            f"hold the whole line with {100 * level:g} %; area: {areas}"
            f"{too_few(FEWEST if all(curve.low is not None for curve in drawn) else 0)}"
        ),
        alt=(
            f"Curves by {first.name} of {len(named)} methods over {len(first)} inputs, {first.direction} is "
            f"better. Areas: {areas}."
        ),
    )


def _by_name(scores: Scores) -> dict[str, Score]:
    if isinstance(scores, Mapping):
        listed = [(str(name), score) for name, score in scores.items()]
    elif isinstance(scores, Sequence):
        listed = [(_scored(score), score) for score in scores]
    else:
        listed = [(_scored(scores), scores)]
    for _, score in listed:
        _check_score(score)
    if not listed:
        raise InputError(
            expected="a score with a curve, or several",
            got="none",
            advice="Ask a metric first: Deletion()(question, answer).",
        )
    return dict(zip(names([name for name, _ in listed]), [score for _, score in listed]))


def _scored(score: Any) -> str:
    """The method that was scored."""
    told = getattr(score, "provenance", {})
    method = told.get("method") or told.get("attribution") or getattr(score, "name", "")
    return str(method).replace("()", "")[:40]


def _check_score(score: Any) -> None:
    if not isinstance(score, Score) or "curve" not in score.details:
        raise KindError(
            expected="a Score with a curve, of Deletion, Insertion or LeastRelevantFirst",
            got=shown(score),
            advice="Ask such a metric: curves(Deletion()(question, answer)).",
        )


def _curve(name: str, score: Score, colour: str, level: float, dashed: bool = False) -> Curve:
    table = score.details["curve"].numpy()
    table = table[np.isfinite(table).all(axis=1)]
    share = score.details["share"].numpy()
    x = share[0]
    if np.ptp(share, axis=0).max() > 1e-9:
        # Inputs with fewer features have other steps: all are read off at the same shares.
        x = np.linspace(0, 1, share.shape[1])
        table = np.stack([np.interp(x, own, row) for own, row in zip(share, table)])
    low, high = simultaneous_band(table, level)
    return Curve(name, x, table.mean(axis=0), low, high, colour, dashed)


def simultaneous_band(
    table: Floats, level: float = 0.95, seed: int = 0
) -> tuple[Floats | None, Floats | None]:
    """A band that holds the mean of all columns at once with probability `level`; None for fewer than
    8 rows.

    mean +- c s / sqrt(n), c the quantile of max_k |m*_k - m_k| / (s*_k / sqrt(n)) over resamples of
    the rows (max-t; Beran 1988).
    """
    n = len(table)
    if n < FEWEST:
        return None, None
    mean, spread = table.mean(axis=0), table.std(axis=0, ddof=1)
    moving = spread > 1e-12 * np.abs(table).max(initial=1e-300)
    if not moving.any():
        return mean, mean
    counts = rng.shared(seed, "band").multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    # Around the mean: squares of large numbers would cancel.
    centred = (table - mean)[:, moving]
    moved = counts @ centred / n
    squares = counts @ centred**2 / n - moved**2
    # A resample of one row alone has no spread, and says nothing.
    own = np.sqrt(np.maximum(squares, 0) * n / (n - 1))
    told = np.where(own > 1e-9 * spread[moving], np.abs(moved) / np.where(own > 0, own, 1), 0.0)
    factor = float(np.quantile(told.max(axis=1), level))
    half = factor * spread
    return mean - half, mean + half


def _known(values: Floats | None) -> list[float]:
    if values is None:
        return []
    return [float(value) for value in values]


def _points(curve: Curve) -> list[tuple[float, ...]]:
    none = np.full(len(curve.x), np.nan)
    low = none if curve.low is None else curve.low
    high = none if curve.high is None else curve.high
    return list(zip(*(column.tolist() for column in (curve.x, curve.y, low, high))))


def _columns(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {title: [row[k] for row in rows] for k, title in enumerate(titles)}


# --- reliability


class Reliable(Protocol):
    """Confidences in bins, as `assay.metrics.calibration` gives them."""

    low: Floats
    high: Floats
    count: Floats
    confidence: Floats
    accuracy: Floats

    @property
    def intervals(self) -> Floats:
        """Of each accuracy, (bins, 2)."""

    @property
    def error(self) -> float:
        """The expected calibration error."""

    @property
    def corrected(self) -> float:
        """The same less what chance adds."""


def reliability(found: Any) -> Chart:
    """How often a model that is so sure is right: accuracies of bins beside their confidence.

    On the diagonal a model is as often right as it says. Whiskers are Wilson's 95 % intervals; below,
    how many answers each bin has.

    Settings:
        found: what `calibration(...)` gives, or one of its curves, `.reliability` or `.adaptive`.
    """
    curve: Any = getattr(found, "reliability", found)
    for name in ("low", "high", "count", "confidence", "accuracy", "intervals"):
        if not hasattr(curve, name):
            raise KindError(
                expected="figures of calibration, or one of their curves",
                got=shown(found),
                advice="Draw reliability(calibration(outputs, labels, kind='logits')).",
            )
    ends = np.array([0.0, 1.0])
    gap = np.full(len(curve.count), np.nan)
    at = np.repeat(curve.confidence, 3)
    bounds = curve.intervals
    whiskers = np.stack([bounds[:, 0], bounds[:, 1], gap], axis=1).ravel()
    outside = (curve.confidence < bounds[:, 0]) | (curve.confidence > bounds[:, 1])
    colours = tuple("flipped" if out else "text" for out in outside)
    above = Panel(
        marks=(
            Line("diagonal", ends, ends, "muted", 1.0, True),
            Line("errors-0", at, whiskers, "muted"),
            Dots("dots-0", curve.confidence, curve.accuracy, colours, 6.0),
        ),
        x=Axis(-0.02, 1.02, marked=()),
        y=Axis(-0.02, 1.02, "share of right answers"),
        size=(300.0, 300.0),
    )
    boxes = tuple(
        Box(
            f"count-{k}",
            float(low),
            float(high),
            0.0,
            float(count),
            "muted",
            title=f"{count:g} answers",
        )
        for k, (low, high, count) in enumerate(zip(curve.low, curve.high, curve.count))
    )
    below = Panel(
        marks=boxes,
        x=Axis(-0.02, 1.02, "confidence"),
        y=Axis(0.0, 1.05 * float(curve.count.max()), "answers", whole=True),
        size=(300.0, 80.0),
    )
    total = int(curve.count.sum())
    worst = int(np.abs(curve.confidence - curve.accuracy).argmax())
    return Chart(
        drawn=(above, below),
        table={
            "confidence": curve.confidence.tolist(),
            "accuracy": curve.accuracy.tolist(),
            "low": bounds[:, 0].tolist(),
            "high": bounds[:, 1].tolist(),
            "answers": curve.count.tolist(),
        },
        caption=(
            f"{total} answers; whiskers: 95 % intervals; purple: the confidence lies outside; calibration "
            f"error {number(curve.error)}, without chance {number(curve.corrected)}"
        ),
        alt=(
            f"Reliability over {total} answers in {len(curve.count)} bins: calibration error "
            f"{number(curve.error)}. Largest gap: confidence {number(float(curve.confidence[worst]))}, right "
            f"{number(float(curve.accuracy[worst]))}."
        ),
    )


# --- convergence


def convergence(answers: Answers, i: int | None = None) -> Chart:
    """Were the draws enough? The mean standard error by what each answer cost, on two log axes.

    The dashed line falls as one over the root of the rows, as sampling does: half the error costs four
    times the rows.

    Settings:
        answers: of one method with several budgets, or several methods; those without errors or cost
            are refused.
        i: which input; the mean over all where nothing is said.
    """
    named = answers_by_name(answers)
    rows = []
    for name, answer in named.items():
        cost = answer.facts.get("forwards", answer.facts.get("rows"))
        if not sampled(answer) or not isinstance(cost, int | float) or cost <= 0:
            raise InputError(
                expected="sampled answers with their cost in model rows",
                got=f"{name}, which has none",
                advice="Ask a sampling method with several budgets: KernelShap(budget=512).",
            )
        errors = errors_of(answer, values_of(answer))
        chosen = errors if i is None else errors[row_number(answer, i)]
        rows.append((name, float(cost), float(chosen.mean())))
    # Where every coalition was asked there is no error, and no place on a log axis.
    drawn = [row for row in rows if row[2] > 0]
    if not drawn:
        raise InputError(
            expected="an answer with a sampling error above 0",
            got="answers for which every coalition was asked",
            advice="They are exact: more draws would change nothing.",
        )
    x = np.array([row[1] for row in drawn])
    y = np.array([row[2] for row in drawn])
    last = int(x.argmax())
    span = np.array([x.min() / 2, x.max() * 2])
    guide = y[last] * np.sqrt(x[last] / span)
    reach = [*y.tolist(), *guide.tolist()]
    listed = [row[0] for row in drawn]
    exact = len(rows) - len(drawn)
    more = clause(f"; {exact} answers without any error are not drawn", exact)
    return Chart(
        drawn=(
            Panel(
                marks=(
                    Line("guide", span, guide, "muted", 1.0, True),
                    Dots("dots-0", x, y, "series-0", 6.0, titles=tuple(listed)),
                ),
                x=Axis(float(span[0]), float(span[1]), "rows asked of the model", log=True),
                y=Axis(min(reach) / 1.3, max(reach) * 1.3, "mean standard error", log=True),
                size=(400.0, 260.0),
            ),
        ),
        table=_columns(("method", "rows", "error"), rows),
        caption=(
            f"dashed: one over the root of the rows, through {listed[last]}; half of its error needs about "
            f"{number(4 * float(x[last]))} rows{more}"
        ),
        alt=(
            f"Standard error by cost of {len(drawn)} answers: {number(float(y[last]))} at "
            f"{number(float(x[last]))} rows, by {listed[last]}."
        ),
    )


# --- series


def series(
    answer: Attribution, i: int = 0, *, question: Question, time: int = 0, top: int = 6
) -> Chart:
    """When credit falls: each channel of a series, and below it bars of its credit on one axis.

    Settings:
        answer: about inputs (time, channels) or (channels, time), an element each.
        i: which input.
        question: what was asked, for the values.
        time: which of the two axes is time.
        top: channels with a panel, those with the most credit.

    Errors: InputError for inputs of another shape.
    """
    [(name, answer)] = answers_by_name(answer).items()
    i = row_number(answer, i)
    shape = question.layout.shapes[0]
    if len(question.layout.shapes) != 1 or len(shape) > 2 or not question.partition.identity:
        raise InputError(
            expected="one tensor of series (time, channels) with credit for every element",
            got=f"inputs of shape {question.layout.describe()} with {question.features!r}",
            advice="Ask about elements: features=Elements().",
        )
    x = question.x[i].detach().cpu().numpy().astype(np.float64)
    table, credit, errors = (
        _channels(column, shape, time)
        for column in (x, values_of(answer)[i], errors_of(answer, values_of(answer))[i])
    )
    kept = sorted(
        np.argsort(-np.abs(credit).sum(axis=1), kind="stable")[: min(top, _CHANNELS)].tolist()
    )
    half = Z * errors
    reach = float((np.abs(credit[kept]) + half[kept]).max(initial=0)) or 1.0
    panels = []
    for index, k in enumerate(kept):
        last = index == len(kept) - 1
        panels += _channel(index, k, table[k], credit[k], half[k], reach, unit_of(answer, i), last)
    total = credit.sum(axis=1)
    steps = credit.shape[1]
    moment = int(np.abs(credit).sum(axis=0).argmax())
    rest = len(credit) - len(kept)
    more = clause(f"; {rest} channels with less credit are not shown", rest)
    bands = clause("; bands: 95 % intervals of sampling", sampled(answer))
    return Chart(
        drawn=tuple(panels),
        table={
            "time": list(range(steps)) * len(kept),
            "channel": [k for k in kept for _ in range(steps)],
            "value": np.concatenate([table[k] for k in kept]).tolist(),
            "credit": np.concatenate([credit[k] for k in kept]).tolist(),
        },
        caption=f"{name}, input {i}; {unit_of(answer, i)}{bands}{more}",
        alt=(
            f"Series of input {i} with the credit of {name}: {len(credit)} channels, {steps} steps. Most "
            f"credit at step {moment}; of channels: "
            + ", ".join(f"{k} {signed(float(total[k]))}" for k in kept[:3])
            + "."
        ),
    )


def _channels(column: Floats, shape: tuple[int, ...], time: int) -> Floats:
    table = column.reshape(shape if len(shape) == 2 else (-1, 1))
    if time == 0 or len(shape) == 1:
        return table.T
    return table


def _channel(
    index: int,
    k: int,
    values: Floats,
    credit: Floats,
    half: Floats,
    reach: float,
    unit: str,
    last: bool,
) -> list[Panel]:
    """A channel's values, and its credit below."""
    steps = np.arange(len(values), dtype=np.float64)
    x, y, low, high = _thinned(steps, values)
    ends = Axis(-0.5, len(values) - 0.5, marked=())
    line: list[Mark] = [Line(f"values-{index}", x, y, "text")]
    if low is not None and high is not None:
        line.insert(0, Band(f"range-{index}", x, low, high, "text"))
    above = Panel(
        marks=tuple(line), x=ends, y=axis_of(values.tolist(), f"channel {k}"), size=(480.0, 70.0)
    )
    at = Axis(ends.low, ends.high, clause("time", last), None if last else (), whole=True)
    below = Panel(
        marks=tuple(_falls(index, credit, half)),
        x=at,
        y=Axis(-1.05 * reach, 1.05 * reach, "" if index else "credit"),
        size=(480.0, 60.0),
    )
    return [above, below]


def _falls(index: int, credit: Floats, half: Floats) -> list[Mark]:
    """Bars of credit as two steps, one of each sign: a thousand boxes would be as many marks."""
    edges = np.repeat(np.arange(len(credit) + 1) - 0.5, 2)[1:-1]
    level = np.zeros(len(edges))
    marks: list[Mark] = []
    for name, part in (("for", np.maximum(credit, 0)), ("against", np.minimum(credit, 0))):
        colour = "positive" if name == "for" else "negative"
        heights = np.repeat(part, 2)
        marks.append(Band(f"{name}-{index}", edges, level, heights, colour))
        marks.append(Line(f"{name}-line-{index}", edges, heights, colour, 0.8))
    if half.any():
        around = np.repeat(half, 2)
        middle = np.repeat(credit, 2)
        marks.append(Band(f"error-{index}", edges, middle - around, middle + around, "text"))
    return marks


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats | None, Floats | None]:
    """A line of many steps by the mean and the ends of each place."""
    if len(x) <= _STEPS:
        return x, y, None, None
    parts: list[NDArray[np.intp]] = np.array_split(np.arange(len(x)), _STEPS)
    means, low, high = (
        np.array([reduce(y[part]) for part in parts]) for reduce in (np.mean, np.min, np.max)
    )
    return np.array([x[part].mean() for part in parts]), means, low, high


# --- other values


def what_if(question: Question, feature: int | str, i: int = 0, *, points: int = 50) -> Chart:
    """What the model says of input i where one feature takes other values: it is asked `points` rows.

    The line is broken where no input of the question has a value near by; ticks below are the inputs'.

    Settings:
        question: about inputs whose features are single numbers.
        feature: by number or name.
        i: which input.
        points: of the line, between the smallest and the largest value of the inputs.

    Errors: InputError for a feature that there is not, for a category, and for inputs that have all the
    same value.
    """
    partition = question.partition
    listed = list(partition.names)
    k = listed.index(feature) if isinstance(feature, str) and feature in listed else feature
    if not partition.identity or not isinstance(k, int) or not 0 <= k < partition.count:
        raise InputError(
            expected=f"one of {partition.count} features that are single numbers",
            got=repr(feature),
            advice="By number, or by one of the question's names.",
        )
    if bool(question.layout.categorical[k]):
        raise InputError(
            expected="a feature that is measured, for what_if",
            got=f"the category {listed[k]}",
            advice="Ask about rows with another category: Question(model, rows).",
        )
    column = question.x[:, k].detach().cpu().numpy().astype(np.float64)
    seen = np.sort(column[np.isfinite(column)])
    if len(seen) < 2 or seen[0] == seen[-1]:
        raise InputError(
            expected=f"inputs with different values of {listed[k]}",
            got="one value",
            advice="Ask about more inputs, whose range is then gone through.",
        )
    at = np.linspace(seen[0], seen[-1], points)
    rows = question.x[i : i + 1].repeat(points, 1)
    rows[:, k] = rows.new_tensor(at)
    asked = question.part(i, i + 1) if i >= 0 else question.part(question.n + i, question.n + i + 1)
    said = asked.score(rows[None])[0].detach().cpu().numpy().astype(np.float64)
    # As near as a twentieth of the range: what lies further from any input is not known to be data.
    near = np.abs(at[:, None] - seen[None]).min(axis=1) <= 0.05 * (seen[-1] - seen[0])
    # Together with the points beside, or a single one would be no line.
    away = ~near | np.append(~near[1:], False) | np.append(False, ~near[:-1])
    now, there = float(column[i]), float(question.prediction[i])
    y = axis_of([*said.tolist(), there], "target")
    foot = y.low + 0.02 * (y.high - y.low)
    label = names(listed)[k]
    marks = (
        Line("line-0", at, np.where(near, said, np.nan), "series-0", 1.8),
        Line("line-away", at, np.where(away, said, np.nan), "series-0", 1.2, True),
        Dots("inputs", seen, np.full(len(seen), foot), "muted", 3.0),
        Line("present", np.full(2, now), np.array([y.low, y.high]), "grid", behind=True),
        Dots("present-dot", np.array([now]), np.array([there]), "text", 7.0),
    )
    low, high = int(said.argmin()), int(said.argmax())
    return Chart(
        drawn=(Panel(marks=marks, x=axis_of(seen.tolist(), label), y=y, size=(420.0, 240.0)),),
        table={"value": at.tolist(), "target": said.tolist(), "near inputs": near.tolist()},
        caption=(
            f"input {i}, all other features as they are; dot: as it is; broken: no input near by; below: the "
            "inputs of the question"
        ),
        alt=(
            f"What the model says of input {i} as {label} changes: now {content(now)}, {number(there)}; from "
            f"{number(float(said[low]))} at {number(float(at[low]))} to {number(float(said[high]))} at "
            f"{number(float(at[high]))}."
        ),
    )
