"""Completeness: what the credit's sum misses of f(x) - f(absent)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.metrics.base import Metric, Reading
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Completeness(Metric):
    """How far the values' sum is from what they are to explain.

    gap = |sum_i phi_i - (f(x) - f(b))|; `relative` divides it by |f(x) - f(b)|   (Sundararajan et al. 2017, proposition 1)
    Cost: one evaluation of x and of b per input. Units: target. Lower is better; never a yes or no.
    For attributions in other units than the target's the number says how far they are from adding
    up, as they are.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> bool(Completeness()(question, assay.IntegratedGradients(steps=2)(question)).mean < 1e-5)
    True
    """

    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "target"
    cost: ClassVar[str] = "1 evaluation of the input and of its absence"

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        due = question.prediction.to(torch.float64) - question.base.to(torch.float64)
        readings = []
        for attribution in attributions:
            gap = (attribution.values.to(torch.float64).sum(1) - due).abs()
            relative = torch.where(due != 0, gap / due.abs(), torch.where(gap > 0, torch.nan, 0.0))
            readings.append(Reading(gap, None, {"absolute": gap, "relative": relative}))
        return readings
