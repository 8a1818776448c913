"""Completeness: what the credit's sum misses of f(x) - f(absent).

The axiom is called efficiency in cooperative games (Shapley 1953) and local accuracy by SHAP; what
is missing to it is Captum's convergence delta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.metrics.base import Metric, Reading
from assay.metrics.faithfulness.units import check_adds_up
from assay.numerics.precision import rounding_floor
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Completeness(Metric):
    """How far the values' sum is from what they are to explain.

    gap = |sum_i phi_i - (f(x) - f(b))|, and `relative` divides it by |f(x) - f(b)|
    (Sundararajan et al. 2017, proposition 1).

    Details: `absolute` and `relative`, each (n,); 0 / 0 counts as 0, and a gap where there is
    nothing to explain has no relative size. Never a yes or no: of slopes the number says how far they
    are from adding up, as they are. Weights, which have no unit, are refused. A gap within rounding
    (16 units in the last place of what is added up) is 0.

    Units: target. Lower is better. Cost: one evaluation of x and of b per input.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> bool(Completeness()(question, assay.IntegratedGradients(steps=2)(question)).mean < 1e-5)
    True
    """

    direction: ClassVar[Direction] = "lower"
    ideal: ClassVar[float | None] = 0.0
    units: ClassVar[str] = "target"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "1 evaluation of the input and of its absence"
    order_blind: ClassVar[bool] = True

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        check_adds_up(attributions, "Completeness()")

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        # In float64: a small difference of numbers of the inputs' precision.
        prediction = question.prediction.to(torch.float64)
        base = question.base.to(torch.float64)
        change = prediction - base
        # What means over replacements differ by in their last place is nothing to explain.
        still = change.abs() <= rounding_floor(question.prediction, prediction.abs() + base.abs())
        readings = []
        for attribution in attributions:
            credit = attribution.values.to(torch.float64)
            gap = (credit.sum(1) - change).abs()
            size = prediction.abs() + base.abs() + credit.abs().sum(1)
            # Below that, a smaller gap is no better one.
            gap = torch.where(gap <= rounding_floor(attribution.values, size), 0.0, gap)
            # Without a change there is nothing to be relative to.
            undefined = torch.where(gap > 0, torch.nan, 0.0)
            ratio = gap / change.abs()
            relative = torch.where(still, undefined, ratio)
            details = {"absolute": gap, "relative": relative}
            readings.append(Reading(gap, None, details))
        return readings
