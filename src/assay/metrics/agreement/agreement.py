"""How far an explanation agrees with another one, or with credit that is known.

Feature, sign and rank agreement (Krishna et al. 2022, "The disagreement problem in explainable machine
learning", section 3). Agreement is no faithfulness: two methods may agree on what is wrong.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import RATE, Direction
from assay.errors import InputError, SettingError
from assay.methods.base import Method
from assay.metrics.base import Metric, Reading
from assay.metrics.localisation.located import fractional_top
from assay.numerics.ranks import spearman
from assay.question.question import Question


class AgreementMetric(Metric):
    """A metric of an explanation beside another one.

    Must write: `_compare`, from two credits and what each input has, all (n, features).
    """

    reference: Method | None
    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "the reference's"

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if self.reference is None:
            known_credit(question, type(self).__name__)
        else:
            self.reference.check(question)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        if self.reference is None:
            known = known_credit(question, type(self).__name__)
        else:
            known = self.reference.estimate(question, seed).values.to(torch.float64)
        own = question.existing_features()
        return [
            Reading(self._compare(attribution.values.to(torch.float64), known, own))
            for attribution in attributions
        ]

    @abstractmethod
    def _compare(self, credit: Tensor, known: Tensor, own: Tensor) -> Tensor:
        """The agreement of each input (n,)."""


def known_credit(question: Question, metric: str) -> Tensor:
    """The truth of a question as credit of its features: (n, features), float64."""
    truth: Any = question.truth
    if truth is None:
        raise InputError(
            expected=f"something to agree with for {metric}",
            got="no reference, and a question without a truth",
            advice=(
                f"Name a method, {metric}(reference=ExactShapley()), or hand known credit to the "
                "question: Question(model, inputs, truth=values)."
            ),
        )
    shape = (question.n, question.partition.count)
    try:
        known = torch.as_tensor(np.array(truth) if not isinstance(truth, Tensor) else truth)
        known = known.to(question.x.device, torch.float64).reshape(shape)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            expected=f"credit of shape {shape} (inputs, features) as the truth for {metric}",
            got=f"{type(truth).__name__} that is none",
            advice="Hand over one number for each input and feature: truth=values.",
        ) from error
    if not bool(torch.isfinite(known).all()):
        raise InputError(
            expected=f"finite credit as the truth for {metric}",
            got="NaN or infinity",
            advice="Leave out the inputs whose credit is not known.",
        )
    return known


@final
@dataclass(frozen=True)
class RankCorrelation(AgreementMetric):
    """Whether two explanations rank the features alike: Spearman's correlation.

    corr(rank(phi), rank(psi)), ties by the mean of their ranks   (Krishna et al. 2022, section 3.2)

    Settings:
        reference: the method that gives psi, asked about the same question; where nothing is said,
            psi is the question's truth, known credit (n, features).
        by: "value" ranks by signed credit, "magnitude" by its size.

    1 is the same ranking; a random explanation has 0 in expectation, a negated one the score with its
    sign turned (of values), a constant one none: NaN.

    Units: rank correlation. Higher is better. Cost: that of the reference. Errors: InputError
    without a reference and a truth, and whatever the reference refuses.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] ** 2 + 3 * x[:, 1], torch.tensor([[1.0, 2.0]]))
    >>> RankCorrelation(assay.ExactShapley())(question, assay.Gradient()(question)).mean
    1.0
    """

    reference: Method | None = None
    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = "rank correlation"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    why: ClassVar[str] = "one of the two is the same for all features"

    def _compare(self, credit: Tensor, known: Tensor, own: Tensor) -> Tensor:
        if self.by == "magnitude":
            credit, known = credit.abs(), known.abs()
        return spearman(credit, known, own)


@final
@dataclass(frozen=True)
class TopKOverlap(AgreementMetric):
    """The share of the features with the most credit that two explanations have in common.

    sum_i min(s_i, t_i) / K, s and t the membership in the K first of each (Krishna et al. 2022, 3.2)

    Settings:
        reference: the method that gives the other one, asked about the same question; where nothing is
            said, it is the question's truth, known credit (n, features).
        k: the number of features, an int, or a share of them, a float, rounded up.
        by: "value" ranks by signed credit, "magnitude" by its size.

    Ties at the border belong to the first K by their share. 1 is the same set; constant and random
    explanations have K over the number of features, a negated one what the other end of the ranking
    shares.

    Units: rate. Higher is better. Cost: that of the reference. Errors: SettingError for a k that is
    no number or share of features, InputError without a reference and a truth, and whatever the
    reference refuses.

    >>> import torch, assay
    >>> x = torch.tensor([[3.0, 2.0, 1.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[9.0, 0.0, 4.0]]))
    >>> TopKOverlap(k=2)(question, assay.InputXGradient()(question)).mean
    0.5
    """

    reference: Method | None = None
    k: int | float = 0.1
    by: Literal["value", "magnitude"] = "value"
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE

    def __post_init__(self) -> None:
        share = isinstance(self.k, float)
        if not self.k > 0 or (share and self.k > 1):
            raise SettingError(
                expected="a number of features from 1, or a share from 0 to 1, for TopKOverlap",
                got=self.k,
                advice="k=3 is three features, k=0.1 a tenth of them.",
            )

    def _compare(self, credit: Tensor, known: Tensor, own: Tensor) -> Tensor:
        if self.by == "magnitude":
            credit, known = credit.abs(), known.abs()
        count = own.sum(1)
        size = torch.full_like(count, int(self.k))
        if isinstance(self.k, float):
            # 0.07 * 100 is a little above 7 in floating point, and rounding up would make it 8.
            size = (self.k * count).round(decimals=9).ceil().to(torch.int64)
        # An input with fewer features than k has all of them among its first.
        size = torch.minimum(size, count)
        # Sets with shares: a feature is in both by the smaller of its two memberships.
        both = torch.minimum(fractional_top(credit, size, own), fractional_top(known, size, own))
        return (both.sum(1) / size).clamp(0, 1)


@final
@dataclass(frozen=True)
class SignAgreement(AgreementMetric):
    """The share of the features on whose sign two explanations agree.

    mean_i 1[sign(phi_i) = sign(psi_i)], over features with psi_i not 0   (Krishna et al. 2022, 3.2)

    Settings:
        reference: the method that gives psi, asked about the same question; where nothing is said,
            psi is the question's truth, known credit (n, features).

    A feature without credit agrees with neither sign. 1 is agreement everywhere; a constant explanation has
    the share of its own sign, a random one a half, a negated one 1 less the score where no credit is
    0. NaN where psi is 0 everywhere.

    Units: rate. Higher is better. Cost: that of the reference. Errors: InputError without a
    reference and a truth, and whatever the reference refuses.

    >>> import torch, assay
    >>> x = torch.tensor([[3.0, -2.0]])
    >>> question = assay.Question(lambda x: x.sum(1), x, truth=torch.tensor([[1.0, 1.0]]))
    >>> SignAgreement()(question, assay.InputXGradient()(question)).mean
    0.5
    """

    reference: Method | None = None
    ideal: ClassVar[float | None] = 1.0
    units: ClassVar[str] = RATE
    why: ClassVar[str] = "what it is compared with has no sign anywhere"

    def _compare(self, credit: Tensor, known: Tensor, own: Tensor) -> Tensor:
        # Where psi says nothing there is no sign to agree with; a phi of 0 counts, and disagrees.
        counted = own & (known != 0)
        agree = ((credit.sign() == known.sign()) & counted).sum(1)
        # A count in double precision: whole numbers would be divided in single.
        return torch.where(counted.any(1), agree / counted.sum(1).to(torch.float64), torch.nan)
