"""On how many features the credit lies: compactness, Gini, entropy, effective number.

None of them asks the model, and none sees which feature has which credit: a short explanation may be
wrong, and shuffled credit is as short. They stand beside a metric of faithfulness, never alone. Sizes
of credit count, |phi|, over the features that an input has.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import SettingError
from assay.metrics.base import Metric, Reading
from assay.question.question import Question

_NO_CREDIT = "there is no credit at all"
_ROUNDING = 1e-12  # of the mass: 0.9 of ten equal parts is nine of them


class MassMetric(Metric):
    """A metric of the sizes of credit alone.

    Must write: `_measure`, from the shares of the mass p (n, features) and the numbers of features
    (n,).
    """

    direction: ClassVar[Direction] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "none"
    order_blind: ClassVar[bool] = True
    why: ClassVar[str] = _NO_CREDIT

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        existing = question.existing_features()
        readings = []
        for attribution in attributions:
            mass = attribution.values.to(torch.float64).abs() * existing
            total = mass.sum(1, keepdim=True)
            # No credit at all has no shares: NaN then goes through every measure.
            share = torch.where(total > 0, mass / total, torch.nan)
            readings.append(self._measure(share, existing.sum(1).to(torch.float64)))
        return readings

    @abstractmethod
    def _measure(self, share: Tensor, count: Tensor) -> Reading:
        """What is read off the shares of the mass; NaN where there is none."""


@final
@dataclass(frozen=True)
class Compactness(MassMetric):
    """How many features hold most of the credit.

    min {k : the k largest |phi| add up to `mass` of all}

    Settings:
        mass: the share of the credit's size that has to be held.

    Details: `share`, of the features that the input has (n,). A constant explanation needs `mass` of the
    features, rounded up, the most; a random or negated one as many as its sizes say: the sign has no
    part. No credit at all: NaN.

    Units: features. Lower is more compact. Cost: none. Errors: SettingError for a mass outside (0, 1).

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[8.0, 1.0, 0.5, -0.5]]))
    >>> Compactness()(question, assay.InputXGradient()(question)).mean
    2.0
    """

    mass: float = 0.9
    units: ClassVar[str] = "features"

    def __post_init__(self) -> None:
        if not 0 < self.mass < 1:
            raise SettingError(
                expected="a share of the mass between 0 and 1 for Compactness",
                got=self.mass,
                advice="0.9 is the default.",
            )

    def _measure(self, share: Tensor, count: Tensor) -> Reading:
        # Largest first: no other set of so many features holds more.
        held = share.sort(dim=1, descending=True).values.cumsum(1)
        needed = (held < self.mass - _ROUNDING).sum(1) + 1.0
        # NaN is smaller than nothing, so that inputs without credit were counted as 1 here.
        needed = torch.where(torch.isnan(share[:, 0]), torch.nan, needed)
        return Reading(needed, None, {"share": needed / count})


@final
@dataclass(frozen=True)
class Gini(MassMetric):
    """How unequally the credit is spread over the features: the Gini index of |phi|.

    sum_i (2 i - d - 1) |phi|_(i) / (d sum |phi|), sizes in rising order (Hurley and Rickard 2009)

    A constant explanation has 0, a single feature 1 - 1 / d; a negated one what the explanation has,
    a random one what its sizes say. No credit at all: NaN.

    Units: index from 0 to 1. Higher is sparser. Cost: none.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    >>> round(Gini()(question, assay.InputXGradient()(question)).mean, 6)
    0.25
    """

    direction: ClassVar[Direction] = "higher"
    units: ClassVar[str] = "index"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _measure(self, share: Tensor, count: Tensor) -> Reading:
        # Features that an input does not have come first, with no weight of their own.
        ranked = share.sort(dim=1).values
        d = count.unsqueeze(1)
        position = torch.arange(share.shape[1], device=share.device) + 1.0
        # The ranks i of the formula count an input's own features alone, from 1.
        position = position - (share.shape[1] - d)
        index = ((2 * position - d - 1) * ranked).sum(1) / count
        # Of equal shares the sum is 0 up to rounding.
        return Reading(index.clamp_min(0))


@final
@dataclass(frozen=True)
class Entropy(MassMetric):
    """How evenly the credit is spread over the features: the entropy of its shares.

    -sum_i p_i log p_i, p = |phi| / sum |phi|                (Bhatt et al. 2020, definition 5)

    Details: `relative`, to log d, the most that d features can have: entropies of other resolutions
    cannot be compared without it; NaN for one feature. A constant explanation has log d, a single
    feature 0; a negated one what the explanation has, a random one what its sizes say. No credit at
    all: NaN.

    Units: nats. Lower is simpler. Cost: none.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[2.0, 2.0, 0.0]]))
    >>> round(Entropy()(question, assay.InputXGradient()(question)).mean, 4)       # log 2
    0.6931
    """

    units: ClassVar[str] = "nats"

    def _measure(self, share: Tensor, count: Tensor) -> Reading:
        entropy = _entropy(share)
        # log 1 is 0: one feature has no spread that could be relative to anything.
        relative = torch.where(count > 1, entropy / count.log(), torch.nan)
        return Reading(entropy, None, {"relative": relative})


@final
@dataclass(frozen=True)
class EffectiveNumber(MassMetric):
    """As how many equal features the credit counts: the exponential of its entropy.

    exp(-sum_i p_i log p_i), p = |phi| / sum |phi|                (Hill 1973, of order 1)

    Details: `share`, of the features that the input has (n,). A constant explanation has d, a single
    feature 1; a negated one what the explanation has, a random one what its sizes say. No credit at
    all: NaN.

    Units: features. Lower is simpler. Cost: none.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[2.0, -2.0, 0.0]]))
    >>> round(EffectiveNumber()(question, assay.InputXGradient()(question)).mean, 6)
    2.0
    """

    units: ClassVar[str] = "features"

    def _measure(self, share: Tensor, count: Tensor) -> Reading:
        number = _entropy(share).exp()
        return Reading(number, None, {"share": number / count})


def _entropy(share: Tensor) -> Tensor:
    """-sum p log p (n,), 0 log 0 = 0."""
    # p * p.log() would be NaN at p = 0; entr has its limit there.
    entropy: Tensor = torch.special.entr(share).sum(1)
    return entropy
