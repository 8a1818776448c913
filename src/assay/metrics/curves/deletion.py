"""Deletion, insertion, and the order turned round: areas under the target as features go or come.

Deletion and insertion are those of Petsiuk et al. (2018, "RISE", section 4.3); pixel flipping and
region perturbation (Bach et al. 2015; Samek et al. 2017) are the same curve, most relevant first
(MoRF), and least relevant first (LeRF). Their difference cancels what any order would have (Blücher
et al. 2024, symmetric relevance gain; the area between perturbation curves of Schulz et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.score import Direction
from assay.metrics.base import Reading
from assay.metrics.curves.curve import MaskingCurve, areas, least_first, reading
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Deletion(MaskingCurve):
    """The area under the target as features are removed, those with the most credit first.

    sum_k (f(x^(k-1)) + f(x^(k))) / 2 * (s_k - s_(k-1)), x^(k) without the first k features of the
    order, s_k = their share, from 0 to 1           (Petsiuk et al. 2018, section 4.3)

    Settings:
        steps: of the curve, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, one the other turned round, at inputs where a
            step ends inside a tie; the score is their mean, with its standard error.

    Details: `curve` and `share` (n, steps + 1), ready to be drawn, `ties` (n,), the share of steps
    that end inside a tie. A constant explanation has the mean over random orders, as a random one has;
    the negated one has the area of `LeastRelevantFirst`. On an additive model the sorted effects
    have the least. Scores under other removals or steps cannot be compared. One feature alone has
    no order: NaN.

    Units: target. Lower is better. Cost: `steps` - 1 evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> score = Deletion()(question, assay.InputXGradient()(question))
    >>> score.mean, score.details["curve"].tolist()
    (3.75, [[10.0, 6.0, 3.0, 1.0, 0.0]])
    """

    direction: ClassVar[Direction] = "lower"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        curves = self._curves(question, self._orders(question, credits), seed)
        return [reading(curve, areas(curve)) for curve in curves]


@final
@dataclass(frozen=True)
class Insertion(MaskingCurve):
    """The area under the target as features come back, those with the most credit first.

    As `Deletion`, with z^(k) in the place of x^(k): nothing but the first k features of the order,
    the rest removed (Petsiuk et al. 2018, section 4.3; they start from a blurred image:
    `removal=Blur(5)`). Of an additive model it is f(x) + f(absent) - deletion: both say the same.

    Settings:
        steps: of the curve, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for absent features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: those of `Deletion`. A constant explanation has the mean over random orders, as a
    random one has; a negated one less. On an additive model the sorted effects have the most.

    Units: target. Higher is better. Cost: `steps` - 1 evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> Insertion()(question, assay.InputXGradient()(question)).mean
    6.25
    """

    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = self._orders(question, credits)
        curves = self._curves(question, orders, seed, insert=True)
        return [reading(curve, areas(curve)) for curve in curves]


@final
@dataclass(frozen=True)
class LeastRelevantFirst(MaskingCurve):
    """The area under the target as features are removed, those with the least credit first.

    As `Deletion`, in the other order (LeRF; Samek et al. 2017, section III): what matters least may
    go without loss.

    Settings:
        steps: of the curve, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: those of `Deletion`. A constant explanation has the mean over random orders, as a
    random one has; a negated one has the area of `Deletion`. On an additive model the sorted effects
    have the most.

    Units: target. Higher is better. Cost: `steps` - 1 evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> LeastRelevantFirst()(question, assay.InputXGradient()(question)).mean
    6.25
    """

    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = [least_first(order) for order in self._orders(question, credits)]
        curves = self._curves(question, orders, seed)
        return [reading(curve, areas(curve)) for curve in curves]


@final
@dataclass(frozen=True)
class SymmetricRelevanceGain(MaskingCurve):
    """How much longer the target lasts when the least relevant go first than when the most do.

    LeRF - MoRF, the areas of `LeastRelevantFirst` and `Deletion` (Blücher et al. 2024; ABPC, Schulz
    et al. 2020). What a removal does to any order of features cancels: the steadiest of the family.

    Settings:
        steps: of both curves, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: `most` and `least`, the two areas (n,); `curve` and `share` of the first, `least curve`
    of the second (n, steps + 1); `ties`. A constant and a random explanation have 0 in expectation, a
    negated one the score with its sign turned.

    Units: target. Higher is better. Cost: 2 (`steps` - 1) evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one
    feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> SymmetricRelevanceGain()(question, assay.InputXGradient()(question)).mean
    2.5
    """

    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "2 steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = self._orders(question, credits)
        turned = [least_first(order) for order in orders]
        # Both at once: an explanation and its negation ask the same.
        curves = self._curves(question, [*orders, *turned], seed)
        readings = []
        for most, least in zip(curves[: len(orders)], curves[len(orders) :]):
            removed_first, removed_last = areas(most), areas(least)
            details = {
                "most": removed_first.mean(1),
                "least": removed_last.mean(1),
                "least curve": least.mean,
            }
            gain = reading(most, removed_last - removed_first, details)
            readings.append(gain)
        return readings


@final
@dataclass(frozen=True)
class AOPC(MaskingCurve):
    """What the target loses on average as features are removed, those with the most credit first.

    1 / (L + 1) sum_(k=0..L) f(x) - f(x^(k))        (Samek et al. 2017, equation 12)

    The area over the perturbation curve: `Deletion` turned round, counted from f(x), every step the
    same weight and the first one included.

    Settings:
        steps: L, at least 2, evenly from none to all; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: those of `Deletion`. A constant explanation has the mean over random orders, as a
    random one has; a negated one less. On an additive model the sorted effects have the most.

    Units: target. Higher is better. Cost: `steps` - 1 evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> AOPC()(question, assay.InputXGradient()(question)).mean
    6.0
    """

    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        # (n, 1, 1) beside curves (n, ways, steps + 1).
        clean = question.prediction.to(torch.float64)[:, None, None]
        readings = []
        for curve in self._curves(question, self._orders(question, credits), seed):
            # An input with fewer features than there are steps meets a count more than once.
            new = torch.ones_like(curve.counts, dtype=torch.bool)
            new[:, 1:] = curve.counts[:, 1:] > curve.counts[:, :-1]
            # Steps that repeat a count are left out of the sum, and of the number it is divided by.
            loss = (clean - curve.values) * new.unsqueeze(1)
            readings.append(
                reading(curve, loss.sum(2) / new.sum(1, keepdim=True).to(torch.float64))
            )
        return readings
