"""How pictures tell of answers: their unit, their method, their errors, in words and numbers.

What cannot be told truthfully is refused here: an array is no answer, and credit that is not finite none
that can be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from assay.answers.attribution import Attribution, Kind
from assay.errors import InputError, KindError
from assay.numerics import statistics
from assay.numerics.statistics import Floats
from assay.pictures.drawing.labels import Z, names, signed
from assay.pictures.numbers import clause
from assay.settings import shown

Answers: TypeAlias = Attribution | Sequence[Attribution] | Mapping[str, Attribution]

_RESAMPLES = 9999  # for the interval of a mean
_FEW = 200  # values, of which a mean may be far from normal
_SHORT = 40  # letters of a method with its settings
_ROUNDING = 2.0**-44  # of an input's largest credit, which sums in double precision may be off by


def check_answer(answer: Any) -> None:
    """Refuses what is no answer of a method."""
    if not isinstance(answer, Attribution):
        raise KindError(
            expected="an Attribution",
            got=shown(answer),
            advice="Ask a method first: answer = method(question).",
        )
    bad = ~np.isfinite(np.asarray(answer.values.detach().cpu(), dtype=np.float64)).all(axis=0)
    if bad.any():
        raise InputError(
            expected="finite credit",
            got=f"NaN or infinity for {answer.names[int(bad.argmax())]}",
            advice="An answer of the library has none; leave out what could not be answered.",
        )


def answers_by_name(answers: Answers) -> dict[str, Attribution]:
    """One or several answers by the name of their method, or the names that were given."""
    if isinstance(answers, Mapping):
        listed = [(str(name), answer) for name, answer in answers.items()]
    elif isinstance(answers, Attribution) or not isinstance(answers, Sequence):
        listed = [(_name(answers), answers)]
    else:
        listed = [(_name(answer), answer) for answer in answers]
    for _, answer in listed:
        check_answer(answer)
    if not listed:
        raise InputError(
            expected="an Attribution, or several",
            got="none",
            advice="Ask a method first: answer = method(question).",
        )
    # Two answers of one method are two answers.
    return dict(zip(names([name for name, _ in listed]), [answer for _, answer in listed]))


def _name(answer: Any) -> str:
    if isinstance(answer, Attribution):
        return method_of(answer)
    return ""


def row_number(answer: Attribution, i: int) -> int:
    """The number of an input, counted from 0."""
    n = len(answer.values)
    if isinstance(i, bool) or not isinstance(i, int | np.integer) or not -n <= i < n:
        raise InputError(
            expected=f"an input between 0 and {n - 1}",
            got=i,
            advice="Inputs are counted in the order of the question.",
        )
    return int(i) % n


def values_of(answer: Attribution, i: int | None = None) -> Floats:
    """The credits (n, features) in double precision, or those of one input.

    What is nothing but the rounding of an input's largest is 0: its sign is the machine's.
    """
    credit = answer.values if i is None else answer.values[i]
    values = np.asarray(credit.detach().cpu(), dtype=np.float64)
    largest = np.abs(values).max(axis=-1, initial=0.0, keepdims=True)
    return np.where(np.abs(values) <= _ROUNDING * largest, 0.0, values)


def errors_of(answer: Attribution, values: Floats, i: int | None = None) -> Floats:
    """The standard errors of an answer, or those of one input; 0 where nothing was drawn."""
    if answer.standard_error is None:
        return np.zeros_like(values)
    errors = answer.standard_error if i is None else answer.standard_error[i]
    return np.asarray(errors.detach().cpu(), dtype=np.float64)


def sampled(answer: Attribution) -> bool:
    """Whether its credits have sampling errors."""
    return answer.standard_error is not None


def z_of(joint: bool, features: int) -> float:
    """How many standard errors an interval reaches."""
    # Bonferroni: each of so many intervals at 0.05 / features, half of it on either side.
    if joint:
        return float(ndtri(1 - 0.05 / (2 * max(features, 1))))
    return Z


def unsure_of(answer: Attribution, *, joint: bool = False) -> NDArray[np.bool_]:
    """Which credits cannot be told from zero, (n, features): |v| <= z s."""
    values = values_of(answer)
    if not sampled(answer):
        return np.zeros(values.shape, dtype=bool)
    z = z_of(joint, values.shape[1])
    return np.asarray(np.abs(values) <= z * errors_of(answer, values))


def surely(values: Floats, errors: Floats, z: float) -> Floats:
    """The number of each interval that is nearest to zero: sign(v) max(0, |v| - z s)."""
    return np.sign(values) * np.maximum(0.0, np.abs(values) - z * errors)


def unit_of(answer: Attribution, i: int | None = None) -> str:
    """What its numbers are, of one input or of all, as an axis says it."""
    target = target_of(answer, i)
    if answer.kind == Kind.SLOPE.value:
        return f"slope, {target} per unit of input"
    if answer.kind == Kind.CONTRIBUTION.value:
        return f"credit, in units of {target}"
    return answer.kind


def target_of(answer: Attribution, i: int | None = None) -> str:
    """Which number was explained, in words."""
    told = answer.target
    if i is not None and answer.targets:
        told = answer.targets[i]
    if told:
        return f"the target ({told})"
    return "the target"


def told_apart(answer: Attribution) -> str:
    """What a caption says further where each input was asked for a target of its own: that credit for one
    may be credit against another; else nothing.
    """
    count = len(set(answer.targets or ()))
    return clause(f"; {count} different targets, each input's own", count > 1)


def caption_of(answer: Attribution, joint: bool) -> str:
    """How its numbers were got, and what whiskers and hatches mean."""
    if answer.standard_error is None:
        return f"{method_of(answer)}; computed, not sampled"
    intervals = "simultaneous 95 % intervals" if joint else "95 % intervals"
    return f"{method_of(answer)}; whiskers: {intervals} of sampling; hatched: not told from zero"


def method_of(answer: Attribution) -> str:
    """The method's name without empty brackets."""
    text = answer.method.replace("()", "") or "an unnamed method"
    # The settings of a long one are in the answer's provenance.
    if len(text) <= _SHORT:
        return text
    return text.split("(")[0]


def intervals_of(table: Floats, level: float = 0.95) -> Floats:
    """The intervals of the means of columns (n, k), from the same resampled inputs: (k, 2).

    Of many values fewer resamples tell the little that is not normal.
    """
    many = np.count_nonzero(~np.isnan(table), axis=0) > _FEW
    bounds = np.empty((table.shape[1], 2))
    for alike, resamples in ((~many, _RESAMPLES), (many, _RESAMPLES // 10)):
        members = np.flatnonzero(alike)
        if len(members):
            bounds[members] = statistics.intervals(table[:, members], level, resamples=resamples)
    return bounds


def too_few(inputs: int) -> str:
    """What a caption says further where so many inputs have no interval; else nothing."""
    return clause(f"; {statistics.TOO_FEW}", inputs < statistics.FEWEST)


def strongest(values: Sequence[float], labels: Sequence[str], count: int = 3) -> str:
    """The features with the most credit in words, with their signs."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    order = np.argsort(-sizes, kind="stable")[:count]
    told = [f"{labels[k]} {signed(float(values[k]))}" for k in order if sizes[k] > 0]
    return ", ".join(told) or "no credit anywhere"
