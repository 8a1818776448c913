"""Credit of one input as a ladder or as bars, and the importance of features over many inputs.

- `ladder`: how the credits lead from the base to the prediction (a waterfall)
- `bars`: which features speak for and against, and how sure that is
- `importance`: what matters over all inputs

No model is asked. An interval is 1.96 standard errors to both sides; a credit whose interval holds
zero is hatched, neighbours whose order is within their errors are bracketed, and the error of a sum
is never made up from those of its parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.answers.attribution import Attribution, Kind
from assay.errors import KindError, SettingError
from assay.numerics.statistics import Floats
from assay.pictures.described import (
    caption_of,
    check_answer,
    errors_of,
    intervals_of,
    method_of,
    row_number,
    target_of,
    told_apart,
    too_few,
    unit_of,
    values_of,
    z_of,
)
from assay.pictures.drawing.labels import Z, names, signed
from assay.pictures.drawing.row_chart import Row, RowChart, joined_rows
from assay.pictures.numbers import clause, content, number
from assay.question.question import Question

_MOST = 200  # rows of a chart
_SHORT = 40  # letters of a method with its settings
_GAP = 1e-6  # of the prediction's change: what is not accounted for and worth a row
_NULL = math.sqrt(2 / math.pi)  # the mean size of a standard normal number


@final
@dataclass(frozen=True)
class _Credit:
    """The credits of one input, strongest first, in double precision."""

    order: list[int]
    values: Floats
    errors: Floats
    names: list[str]
    sampled: bool

    def unsure(self, k: int, z: float) -> bool:
        """Whether the interval of a feature's credit holds zero."""
        return self.sampled and abs(self.values[k]) <= z * self.errors[k]

    def row(self, index: int, k: int, start: float, z: float, joined: bool) -> Row:
        """The row of feature k, its bar from `start` on."""
        value = float(self.values[k])
        # A computed credit has no error, which is not an error of 0.
        error = float(self.errors[k]) if self.sampled else None
        # In a ladder, too, the whisker is of this credit alone, around the end of its bar.
        end = start + value
        # An error of 0 has no whisker, which would be a dot on the bar's end.
        half = Z * error if error else math.nan
        return Row(
            role="credit",
            index=index,
            name=self.names[k],
            value=value,
            text=signed(value, error),
            start=start,
            end=end,
            low=end - half,
            high=end + half,
            unsure=self.unsure(k, z),
            joined=joined,
        )


def ladder(
    answer: Attribution,
    i: int = 0,
    *,
    question: Question | None = None,
    top: int | None = 10,
    joint: bool = False,
) -> RowChart:
    """How the credits of input i lead from the base to the prediction, strongest first (a waterfall).

    base + shown credits + others + what is not accounted for = f(x)

    Settings:
        answer: contributions; slopes do not add up to anything.
        i: which input.
        question: what was asked, for the values of the features beside their names.
        top: features with a row of their own, None for all (up to 200).
        joint: hatches by simultaneous intervals over all features (Bonferroni).

    Errors: KindError for slopes and weights, InputError for an input that there is not, SettingError
    for too many rows.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    >>> ladder(assay.ExactShapley()(question)).data["text"].tolist()
    ['0', '+3.00', '+3.00', '6.00']
    """
    check_answer(answer)
    if answer.kind != Kind.CONTRIBUTION.value:
        raise KindError(
            expected="contributions for a ladder, which add up",
            got=f"{answer.kind}s of {answer.method}",
            advice="Draw bars(answer, i), or make contributions of them: TimesInput(method).",
        )
    credit = _credit_of(answer, i, question)
    shown_features = _top(credit, top)
    z = z_of(joint, len(credit.values))
    base = float(answer.base[i])
    prediction = float(answer.prediction[i])
    rows = [_total("base", "base", base)]
    at = base
    for index, (k, joined) in enumerate(_in_order(credit, shown_features)):
        rows.append(credit.row(index, k, at, z, joined))
        at = rows[-1].end
    rest = [k for k in credit.order if k not in set(shown_features)]
    if rest:
        rows.append(_others(credit, rest, at))
        at = rows[-1].end
    gap = prediction - base - float(credit.values.sum())
    # What a method leaves over is shown as that, and not spread over the credits.
    if abs(gap) > _GAP * max(abs(prediction - base), abs(credit.values).max(initial=0)):
        rows.append(Row("gap", 0, "not accounted for", gap, signed(gap), at, at + gap))
    rows.append(_total("prediction", "f(x)", prediction))
    start = f"the target goes from {number(base)} (nothing known) to {number(prediction)}"
    return RowChart(
        rows=tuple(rows),
        axis=unit_of(answer, i),
        marked=(("base-line", base), ("prediction-line", prediction)),
        caption=caption_of(answer, joint),
        alt=_alt("Ladder", answer, i, start, credit, shown_features, z, rest),
        connected=True,
    )


def bars(
    answer: Attribution,
    i: int = 0,
    *,
    question: Question | None = None,
    top: int | None = 10,
    joint: bool = False,
) -> RowChart:
    """Which features of input i speak for and against the target, strongest first.

    Settings: as of `ladder`; any kind of credit has bars, from a shared zero.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    >>> bars(assay.Gradient()(question)).data[["name", "text"]].values.tolist()
    [['[0]', '+3.00'], ['[1]', '+2.00']]
    """
    check_answer(answer)
    credit = _credit_of(answer, i, question)
    shown_features = _top(credit, top)
    z = z_of(joint, len(credit.values))
    rows = [
        credit.row(index, k, 0.0, z, joined)
        for index, (k, joined) in enumerate(_in_order(credit, shown_features))
    ]
    rest = [k for k in credit.order if k not in set(shown_features)]
    # Slopes of different features are in different units, and have no sum.
    if rest and answer.kind == Kind.CONTRIBUTION.value:
        rows.append(_others(credit, rest, 0.0))
    said = f"{len(credit.values)} features"
    return RowChart(
        rows=tuple(rows),
        axis=unit_of(answer, i),
        marked=(("zero-line", 0.0),),
        caption=caption_of(answer, joint),
        alt=_alt("Bars", answer, i, said, credit, shown_features, z, rest),
    )


def importance(
    answer: Attribution, *, top: int | None = 10, debias: bool = False, level: float = 0.95
) -> RowChart:
    """What matters over all inputs: the mean size of each feature's credit, with its interval.

    mean_i |v_ij|; a credit of zero that was sampled with the error s has the mean size 0.798 s: a
    dotted tick stands at mean_i 0.798 s_ij, and a bar below twice that is hatched, since it may be
    nothing but noise. Along its lower edge a bar is split into credit for and against the target. The
    last row is the mean size of the sum of all other credits, and not the sum of their means.

    Settings:
        answer: of many inputs.
        top: features with a row, None for all (up to 200).
        debias: root mean squares with the sampling error taken out, (mean_i v^2 - s^2)^(1/2), 0
            where that is negative.
        level: of the intervals over inputs.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: 2 * x[:, 0] + x[:, 1], torch.tensor([[1.0, 1], [-1, 3]]))
    >>> importance(assay.ExactShapley()(question)).data[["name", "value"]].values.tolist()
    [['[0]', 2.0], ['[1]', 2.0]]
    """
    check_answer(answer)
    values = values_of(answer)
    errors = errors_of(answer, values)
    means = np.abs(values).mean(axis=0)
    if debias:
        # Squares, since E[v^2] is larger by just s^2: of sizes no such term can be taken off.
        means = np.sqrt(np.clip((values**2 - errors**2).mean(axis=0), 0, None))
    # What the mean size would be if every credit were 0 and all that is seen were noise.
    floor = _NULL * errors.mean(axis=0)
    order = _by_size(means)
    kept = order[: _limit(top, len(order))]
    labels = names(answer.names)
    sampled = answer.standard_error is not None
    rest = order[len(kept) :]
    together = values[:, rest].sum(axis=1)
    # All columns at once, from one set of resampled inputs.
    bounds = intervals_of(np.abs(np.column_stack([values[:, kept], together])), level)
    rows = [
        _size_row(
            index, labels[k], values[:, k], means[k], floor[k], sampled, debias, bounds[index]
        )
        for index, k in enumerate(kept)
    ]
    # Slopes of different features are in different units, and have no sum.
    if rest and answer.kind == Kind.CONTRIBUTION.value:
        rows.append(_together(together, len(rest), debias, bounds[-1]))
    what = "root mean square credit" if debias else "mean size of the credit"
    sizes_of = [row for row in rows if row.role == "size"]
    strongest = ", ".join(f"{row.name} {row.text}" for row in sizes_of[:3])
    more = clause(f" {len(rest)} further features have no row of their own.", rest)
    return RowChart(
        rows=tuple(rows),
        axis=f"{what}, in units of {target_of(answer)}",
        marked=(("zero-line", 0.0),),
        caption=(
            f"{method_of(answer)}, {len(values)} inputs, {100 * level:g} % intervals over inputs"
            f"{clause('; lower edge: for (red) and against (blue)', not debias)}"
            f"{clause('; dotted tick: noise alone', sampled)}"
            f"{too_few(len(values))}{told_apart(answer)}"
        ),
        alt=(
            f"Importance by {method_of(answer)} over {len(values)} inputs, {what}. "
            f"Strongest: {strongest}.{more}"
        ),
    )


# --- parts


def _size_row(
    index: int, name: str, values: Floats, size: float, floor: float, sampled: bool, debias: bool,
    bounds: Floats,
) -> Row:  # fmt: skip
    """The row of one feature: the mean size of its credit, and how much of it is for and against."""
    low = high = toward = against = math.nan
    # A root of means has not this interval, and what is for and against does not add up to it.
    if not debias:
        low, high = map(float, bounds)
        toward = float(np.maximum(values, 0).mean())
        against = float(np.maximum(-values, 0).mean())
    mean = float(size)
    return Row(
        role="size",
        index=index,
        name=name,
        value=mean,
        text=number(mean),
        start=0.0,
        end=mean,
        # NaN stays: fewer than 8 inputs have no interval.
        low=low if math.isnan(low) else max(low, 0.0),
        high=high,
        unsure=sampled and bool(size <= 2 * floor),
        toward=toward,
        against=against,
        floor=float(floor) if sampled else math.nan,
    )


def _together(sums: Floats, count: int, debias: bool, bounds: Floats) -> Row:
    """The row of all other features: the size of their sum, without a floor, since the error of a sum
    is not known.
    """
    sizes = np.abs(sums)
    mean = float(np.sqrt((sums**2).mean()) if debias else sizes.mean())
    low, high = (math.nan, math.nan) if debias else map(float, bounds)
    name = f"sum of {count} others"
    # NaN stays: fewer than 8 inputs have no interval.
    low = low if math.isnan(low) else max(low, 0.0)
    return Row("rest", 0, name, mean, number(mean), 0.0, mean, low, high)


def _credit_of(answer: Attribution, i: int, question: Question | None) -> _Credit:
    i = row_number(answer, i)
    values = values_of(answer, i)
    errors = errors_of(answer, values, i)
    own = answer.names_of(i)
    listed = names(own)
    # A text with fewer words than others has no features beyond its own.
    values = values[: len(listed)]
    order = _by_size(values)
    if question is not None:
        listed = _with_contents(listed, question, i)
    return _Credit(order, values, errors[: len(values)], listed, answer.standard_error is not None)


def _by_size(values: Floats) -> list[int]:
    """Features by |v| descending, equal ones in their own order."""
    order: list[int] = np.argsort(-np.abs(values), kind="stable").tolist()
    return order


def _with_contents(listed: list[str], question: Question, i: int) -> list[str]:
    """The names with the values of a table's columns or of plain numbers beside them."""
    if not question.partition.identity or len(listed) != question.x.shape[1]:
        return listed
    folded: Any = question.layout.fold(question.x[i : i + 1])[0]
    if hasattr(folded, "columns"):
        values = [folded[column].to_list()[0] for column in folded.columns]
    else:
        values = question.x[i].tolist()
    return [f"{name} = {content(value)}" for name, value in zip(listed, values)]


def _top(credit: _Credit, top: int | None) -> list[int]:
    return credit.order[: _limit(top, len(credit.order))]


def _limit(top: int | None, features: int) -> int:
    rows = features if top is None else top
    if rows < 1 or (top is None and features > _MOST):
        raise SettingError(
            expected=f"1 to {_MOST} rows",
            got=f"top={top} of {features} features",
            advice="Say how many: top=20.",
        )
    return min(rows, _MOST)


def _in_order(credit: _Credit, kept: list[int]) -> list[tuple[int, bool]]:
    """The features with a row, and whether their order and the next one's is within their errors."""
    sizes = [float(abs(credit.values[k])) for k in kept]
    errors = [float(credit.errors[k]) for k in kept]
    return list(zip(kept, joined_rows(sizes, errors, Z)))


def _total(role: Any, name: str, value: float) -> Row:
    return Row(role, 0, name, value, number(value), value, value)


def _others(credit: _Credit, rest: list[int], start: float) -> Row:
    values = credit.values[rest]
    # Without an error: the errors of the parts may depend on each other.
    total = float(values.sum())
    name = f"{len(rest)} others: {int((values > 0).sum())} for, {int((values < 0).sum())} against"
    return Row("others", 0, name, total, signed(total), start, start + total)


def _alt(
    noun: str,
    answer: Attribution,
    i: int,
    said: str,
    credit: _Credit,
    kept: list[int],
    z: float,
    rest: list[int],
) -> str:
    phrases = []
    for k in kept[:3]:
        error = float(credit.errors[k]) if credit.sampled else None
        sure = clause(" (not told from zero)", credit.unsure(k, z))
        phrases.append(f"{credit.names[k]} {signed(float(credit.values[k]), error)}{sure}")
    short = method_of(answer).split("(")[0]
    sentence = f"{noun} of {short} for input {i}: {said}. Strongest: {', '.join(phrases)}."
    if rest and answer.kind == Kind.CONTRIBUTION.value:
        total = signed(float(credit.values[rest].sum()))
        sentence += f" {len(rest)} further features {total} together."
    return sentence
