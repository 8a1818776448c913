"""Monotonicity: features with more credit raise the target more.

As features are added in the order of their credit, each step should add more than the one before (the
curve of Luss et al. 2019 and Arya et al. 2019, judged by ranks as in Nguyen and Martinez 2020). A yes
or no on whether the target never falls says little: every order of an additive model with positive
effects passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.score import Direction
from assay.metrics.base import Reading
from assay.metrics.curves.curve import MaskingCurve, least_first, reading
from assay.metrics.curves.masked_curves import Curves
from assay.numerics.precision import rounding_floor
from assay.numerics.ranks import spearman
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Monotonicity(MaskingCurve):
    """Whether features with more credit raise the target more, as they are added by rising credit.

    corr_k(k, f(z^(k)) - f(z^(k-1))) by ranks, z^(k) nothing but the k steps of least credit
    (after Luss et al. 2019 and Nguyen and Martinez 2020, section 4)

    Settings:
        steps: of the curve, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for absent features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: `curve` and `share` (n, steps + 1), ready to be drawn; `rising`, the share of steps that do
    not lower the target, 1 where it rises all the way, which is what other libraries answer with yes or no;
    `ties`. An exact account of an additive model has 1, constant and random explanations 0 in
    expectation, a negated one the negative. NaN where every step adds the same.

    Units: rank correlation. Higher is better. Cost: `steps` - 1 evaluations per input and order;
    2 `pairs` times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for
    one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, -3.0, 2.0, 1.0]]))
    >>> Monotonicity()(question, assay.InputXGradient()(question)).mean
    1.0
    """

    direction: ClassVar[Direction] = "higher"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    units: ClassVar[str] = "rank correlation"
    cost: ClassVar[str] = "steps evaluations for each order"
    why: ClassVar[str] = "every step adds the same, or there are fewer than two"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = [least_first(order) for order in self._orders(question, credits)]
        curves = self._curves(question, orders, seed, insert=True)
        return [self._reading(question, curve) for curve in curves]

    def _reading(self, question: Question, curves: Curves) -> Reading:
        # What each step adds, (n, ways, steps): with the least credit first, gains should rise.
        gains = curves.values.diff(dim=2)
        # A step that adds rounding adds nothing: ranks would make an order of it.
        size = curves.values.abs().amax(2, keepdim=True)
        gains = torch.where(gains.abs() <= rounding_floor(question.prediction, size), 0.0, gains)
        # An input with fewer features than there are steps adds nothing at some of them.
        own = curves.counts.diff(dim=1) > 0
        number = torch.arange(gains.shape[2], device=gains.device).expand_as(own)
        ways = [spearman(number, gains[:, way], own) for way in range(gains.shape[1])]
        steps = own.sum(1, keepdim=True).clamp_min(1).to(torch.float64)
        # A step that adds nothing does not fall, and counts as rising.
        rising = ((gains >= 0) & own.unsqueeze(1)).sum(2) / steps
        made = reading(curves, torch.stack(ways, dim=1), {"rising": rising.mean(1)})
        error = curves.error(torch.stack(ways, dim=1)).nan_to_num(0.0)
        return Reading(made.values, error, made.details)
