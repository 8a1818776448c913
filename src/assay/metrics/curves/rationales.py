"""How few features carry the target: comprehensiveness and sufficiency of a rationale.

Of texts (DeYoung et al. 2020, "ERASER", section 4), and of whatever else has features: some shares of
them, those with the most credit, are taken away, or left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.score import Direction
from assay.metrics.base import Reading
from assay.metrics.curves.curve import MaskedShares, reading
from assay.metrics.curves.masked_curves import Curves
from assay.question.question import Question
from assay.removals.base import Removal

_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # DeYoung et al. 2020, section 4


def _losses(question: Question, curves: Sequence[Curves]) -> list[Reading]:
    clean = question.prediction.to(torch.float64)[:, None, None]
    return [reading(curve, (clean - curve.values).mean(2)) for curve in curves]


@final
@dataclass(frozen=True)
class Comprehensiveness(MaskedShares):
    """What the target loses without the features that have the most credit.

    mean_q f(x) - f(x without the top q)            (DeYoung et al. 2020, section 4)

    Settings:
        shares: q, of the features that an input has, each rounded up to whole features.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a share ends inside one.

    Details: `curve` and `share` (n, shares), `ties` (n,). Constant and random explanations have the
    mean over random orders, a negated one less. On an additive model the sorted effects have the most.

    Units: target (the paper's is a probability). Higher is better. Cost: an evaluation per input,
    share and order; 2 `pairs` times as many at cut ties. Errors: SettingError for shares outside
    (0, 1).

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> Comprehensiveness((0.25, 0.5))(question, assay.InputXGradient()(question)).mean  # 4 and 7
    5.5
    """

    shares: tuple[float, ...] = _SHARES
    by: Literal["value", "magnitude"] = "value"
    removal: Removal | None = None
    pairs: int = 4
    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "1 evaluation for each share and order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        return _losses(question, self._curves(question, credits, seed))


@final
@dataclass(frozen=True)
class Sufficiency(MaskedShares):
    """What the target loses when nothing but the features with the most credit is left.

    mean_q f(x) - f(the top q alone)                (DeYoung et al. 2020, section 4)

    Settings:
        shares: q, of the features that an input has, each rounded up to whole features.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for absent features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a share ends inside one.

    Details: `curve` and `share` (n, shares), `ties` (n,). Constant and random explanations have the
    mean over random orders, a negated one more. On an additive model the sorted effects have the least.

    Units: target (the paper's is a probability). Lower is better. Cost: an evaluation per input,
    share and order; 2 `pairs` times as many at cut ties. Errors: SettingError for shares outside
    (0, 1).

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> Sufficiency((0.25, 0.5))(question, assay.InputXGradient()(question)).mean        # 6 and 3
    4.5
    """

    shares: tuple[float, ...] = _SHARES
    by: Literal["value", "magnitude"] = "value"
    removal: Removal | None = None
    pairs: int = 4
    direction: ClassVar[Direction] = "lower"
    cost: ClassVar[str] = "1 evaluation for each share and order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        return _losses(question, self._curves(question, credits, seed, insert=True))
