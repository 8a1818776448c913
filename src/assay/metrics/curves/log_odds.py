"""How far erasing what speaks for one class and against another moves their log-odds.

The experiment of DeepLIFT that makes a 3 of an 8 (Shrikumar et al. 2017, section 4.1): with the credit
for 8 less that for 3, the pixels are erased whose difference is largest, a fifth of them at most,
and the scores of the two classes are compared before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import SettingError
from assay.metrics.base import Metric, Reading
from assay.numerics.precision import rounding_floor
from assay.question.question import Question
from assay.removals.base import Removal


@final
@dataclass(frozen=True)
class LogOddsChange(Metric):
    """What the log-odds of two classes lose when the features that speak for the first are erased.

    (S_a - S_b)(x) - (S_a - S_b)(x without E), E = {i : phi_i > max(0, phi_(K+1))}, phi_(K+1) the
    largest but K, K = share * features              (Shrikumar et al. 2017, section 4.1)

    It is asked of a question about the difference of two scores, `target=Contrast(8, 3)`: the
    credit is then that for 8 less that for 3. At most K features are erased, none without positive credit;
    of a tie at the threshold, none.

    Settings:
        share: of the features, the most that are erased; the paper's fifth is 157 of 784.
        removal: what stands in for erased features; where nothing is said, the question's own.

    Details, each (n,): `erased`, the share of features erased, which differs between methods;
    `before` and `after`; `flipped`, 1 where a positive difference became negative. A constant
    explanation erases nothing and has 0; a random one what chance takes, a negated one less than 0. Of a
    linear model the optimum sorts (w_a - w_b) * x.

    Units: target. Higher is better. Cost: 1 evaluation per input and attribution. Errors:
    SettingError for a share outside (0, 1].

    >>> import torch, assay
    >>> digits = lambda x: torch.stack([x @ torch.tensor([3.0, 2.0, 1.0]), x.sum(1)], dim=1)
    >>> question = assay.Question(digits, torch.ones(1, 3), target=assay.Contrast(0, 1))
    >>> LogOddsChange(share=0.4)(question, assay.InputXGradient()(question)).mean
    2.0
    """

    share: float = 0.2
    removal: Removal | None = None
    direction: ClassVar[Direction] = "higher"
    units: ClassVar[str] = "target"
    cost: ClassVar[str] = "1 evaluation for each attribution"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingError(
                expected="a share of erased features between 0 and 1 for LogOddsChange",
                got=self.share,
                advice="0.2 is the default: 157 pixels of 784.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if self.removal is not None:
            question.part(0, 1).under(self.removal)

    def notes(self, question: Question) -> dict[str, str]:
        return {"removal": repr(question.removal if self.removal is None else self.removal)}

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        asked = question if self.removal is None else question.under(self.removal)
        before = asked.prediction.to(torch.float64)
        floor = rounding_floor(asked.prediction, before.abs())
        existing = asked.existing_features()
        lengths = existing.sum(1)
        readings = []
        for attribution in attributions:
            erased = self._erased(attribution.values.to(torch.float64), existing, lengths)
            after = _without(asked, erased)
            details = {
                "erased": erased.sum(1) / lengths.to(torch.float64),
                "before": before,
                "after": after,
                # All evidence erased leaves 0 up to rounding, which favours neither class.
                "flipped": ((before > 0) & (after < -floor)).to(torch.float64),
            }
            readings.append(Reading(before - after, None, details))
        return readings

    def _erased(self, credit: Tensor, existing: Tensor, lengths: Tensor) -> Tensor:
        """Which features are erased (n, features)."""
        # What an input does not have comes last, and sets no threshold for what it has.
        credit = credit.masked_fill(~existing, -torch.inf)
        ranked = credit.sort(dim=1, descending=True).values
        # The paper's fifth of 784 pixels, 156.8, is 157: rounded, and not cut off.
        most = (self.share * lengths.to(torch.float64)).round().to(torch.int64)
        # Where all may be erased, there is no largest but them.
        unbounded = (most >= lengths).unsqueeze(1)
        # An index that exists; where it did not, the threshold is 0 in any case.
        most = most.clamp_max(ranked.shape[1] - 1)
        threshold = torch.where(unbounded, 0.0, ranked.gather(1, most.unsqueeze(1)))
        # Strictly above: a tie at the threshold could only be cut by chance.
        return existing & (credit > threshold.clamp_min(0))


def _without(question: Question, erased: Tensor) -> Tensor:
    """The target without features `erased` (n, features): (n,)."""
    values = question.prediction.to(torch.float64).clone()
    # An input of which nothing is erased keeps its target, and costs no evaluation.
    changed = (erased & question.changeable_features()).any(dim=1)
    rows = changed.nonzero()[:, 0]
    if len(rows):
        asked = question if len(rows) == question.n else question.take(rows)
        values[rows] = asked.value(~erased[rows].unsqueeze(1))[:, 0].to(torch.float64)
    return values
