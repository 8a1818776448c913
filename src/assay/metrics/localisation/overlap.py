"""How much of the credit lies where it should: mass, ranks, ratios, overlap.

The features that speak for the target against a mask of what is known to matter. All of them are of
one input by itself; features with the same credit share a place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.score import RATE
from assay.errors import SettingError
from assay.metrics.base import Reading
from assay.metrics.localisation.located import LocatedMetric, fractional_top, positive_mass
from assay.numerics.ranks import roc_area
from assay.question.question import Question


@final
@dataclass(frozen=True)
class MassAccuracy(LocatedMetric):
    """The share of the positive credit that lies in the truth.

    sum_(i in truth) phi_i^+ / sum_i phi_i^+                       (Arras et al. 2022, equation 1)

    Settings:
        by: "value" counts positive credit, "magnitude" the size of all.

    Details: `area`, the share of features in the truth, which a constant explanation has, and a
    random one in expectation. A negated one has the share of what speaks against the target; 1 is the
    optimum. NaN for an empty truth and where no credit is positive.

    Units: rate. Higher is better. Cost: none. Errors: InputError for a question without a truth, or
    one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[1.0, 3.0, -5.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[0, 1, 1]]))
    >>> MassAccuracy()(question, assay.InputXGradient()(question)).mean
    0.75
    """

    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        mass = positive_mass(credit, own)
        total = mass.sum(1)
        inside = (mass * truth).sum(1)
        # Summed in another order a whole may exceed itself by a rounding.
        share = torch.where(total > 0, (inside / total).clamp_max(1), torch.nan)
        return Reading(share)


@final
@dataclass(frozen=True)
class RankAccuracy(LocatedMetric):
    """The share of the truth that is found among as many features with the most credit.

    |top-K and the truth| / K, K = |truth|; ties at the border by their share  (Arras et al. 2022, eq. 2)

    Settings:
        by: "value" ranks by signed credit, "magnitude" by its size.

    Details: `area`, the share of features in the truth, which a constant explanation has, and a
    random one in expectation. A negated one has what the other end of the ranking holds; 1 is the
    optimum. NaN for an empty truth.

    Units: rate. Higher is better. Cost: none. Errors: InputError for a question without a truth, or
    one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[4.0, 3.0, 3.0, 0.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[1, 1, 0, 0]]))
    >>> RankAccuracy()(question, assay.InputXGradient()(question)).mean   # the first, half the second
    0.75
    """

    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        size = truth.sum(1)
        found = (fractional_top(credit, size, own) * truth).sum(1)
        # An empty truth divides by 1 here; its score becomes NaN in `read`.
        return Reading((found / size.clamp_min(1)).clamp(0, 1))


@final
@dataclass(frozen=True)
class InsideOutsideRatio(LocatedMetric):
    """How much more credit a feature inside the truth has on average than one outside.

    mean_inside phi^+ / mean_outside phi^+, both at least `floor` times the mean of all
    (Lapuschkin et al. 2016, whose ratio of sums depends on the size of the truth)

    Settings:
        log: whether the score is the natural logarithm, whose mean over inputs no outlier decides.
        floor: below which share of the mean credit either side counts no less; without one a truth
            that holds everything would be infinitely good.
        by: "value" counts positive credit, "magnitude" the size of all.

    Details, each (n,): `area`, `ratio` and `log ratio`. A constant explanation has a ratio of 1, a random one
    some 1, a negated one that of what speaks against the target; the optimum is 1 / (area floor). NaN
    for a truth that is empty or everything, and where no credit is positive.

    Units: ratio, or its logarithm. Higher is better. Cost: none. Errors: SettingError for a floor
    outside (0, 1), InputError for a question without a truth, or one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[6.0, 2.0, 1.0, 1.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[1, 1, 0, 0]]))
    >>> InsideOutsideRatio()(question, assay.InputXGradient()(question)).mean
    4.0
    """

    log: bool = False
    floor: float = 1e-3
    by: Literal["value", "magnitude"] = "value"
    units: ClassVar[str] = "ratio"

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise SettingError(
                expected="a floor between 0 and 1 for InsideOutsideRatio",
                got=self.floor,
                advice="0.001 of the mean credit is the default.",
            )

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        mass = positive_mass(credit, own)
        outside = own & ~truth
        # The scale of the floor, in credit of a feature.
        mean = mass.sum(1) / own.sum(1)
        sides = []
        for side in (truth, outside):
            # A side without features has no mean, and 0 / 0 is the NaN that says so.
            side_mean = (mass * side).sum(1) / side.sum(1)
            sides.append(torch.maximum(side_mean, self.floor * mean))
        ratio = torch.where(mean > 0, sides[0] / sides[1], torch.nan)
        details = {"ratio": ratio, "log ratio": ratio.log()}
        return Reading(ratio.log() if self.log else ratio, None, details)


@final
@dataclass(frozen=True)
class IntersectionOverUnion(LocatedMetric):
    """How far the features with the most credit are those of the truth: intersection over union.

    |S and T| / |S or T|, S the features with the most credit, T the truth       (Jaccard 1901)

    Settings:
        share: of the features that are in S; where nothing is said, as many as the truth has.
        by: "value" ranks by signed credit, "magnitude" by its size.

    Ties at the border of S belong to it by their share, sum min(s, t) / sum max(s, t). Details:
    `area`, the share of features in the truth. Constant and random explanations have a / (2 - a) of an area a
    where nothing is said; a negated one what the other end of the ranking holds; 1 is the optimum.
    NaN for an empty truth.

    Units: rate. Higher is better. Cost: none. Errors: SettingError for a share outside (0, 1),
    InputError for a question without a truth, or one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[4.0, 3.0, 2.0, 0.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[1, 0, 1, 0]]))
    >>> round(IntersectionOverUnion()(question, assay.InputXGradient()(question)).mean, 4)
    0.3333
    """

    share: float | None = None
    by: Literal["value", "magnitude"] = "value"
    units: ClassVar[str] = RATE

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise SettingError(
                expected="a share of the features between 0 and 1 for IntersectionOverUnion",
                got=self.share,
                advice="Leave it out for as many features as the truth has.",
            )

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        size = truth.sum(1)
        if self.share is not None:
            # Of the features that each input has, at least one.
            size = (self.share * own.sum(1)).round().clamp_min(1).to(torch.int64)
        # Shares of membership at the border, so that the order of equal features has no part.
        member = fractional_top(credit, size, own)
        there = truth.to(torch.float64)
        union = torch.maximum(member, there).sum(1)
        return Reading((torch.minimum(member, there).sum(1) / union).clamp(0, 1))


@final
@dataclass(frozen=True)
class RocArea(LocatedMetric):
    """The probability that a feature in the truth has more credit than one outside it.

    P(phi_i > phi_j) + P(phi_i = phi_j) / 2, i inside, j outside          (Mann and Whitney 1947)

    Settings:
        by: "value" ranks by signed credit, "magnitude" by its size.

    Details: `area`, the share of features in the truth. A constant explanation has 0.5, a random one in
    expectation, a negated one 1 less the score; 1 is the optimum. NaN for a truth that is empty or
    everything.

    Units: rate. Higher is better. Cost: none. Errors: InputError for a question without a truth, or
    one of another shape.

    >>> import torch, assay
    >>> x = torch.tensor([[4.0, 3.0, 2.0, 2.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[1, 0, 1, 0]]))
    >>> RocArea()(question, assay.InputXGradient()(question)).mean        # 2 pairs and a half of 4
    0.625
    """

    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE

    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        return Reading(roc_area(credit, truth, own))
