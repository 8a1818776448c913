"""What all metrics of place share: the truth as masks, and credit that speaks for the target."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.metrics.base import Metric, Reading
from assay.metrics.localisation.truths import true_masks
from assay.question.question import Question


class LocatedMetric(Metric):
    """A metric that compares credit with the place that is known to matter.

    Must write: `_locate`, from credit (n, features), the truth and what each input has, both
    (n, features), bool.
    """

    by: Literal["value", "magnitude"]
    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "none"
    why: ClassVar[str] = "the truth is empty, or there is nothing to compare it with"

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        true_masks(question, type(self).__name__)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        own = question.existing_features()
        # Masks of a padded batch may mark what an input does not have.
        truth = true_masks(question, type(self).__name__) & own
        # The share that chance hits, beside which every score is to be read.
        area = truth.sum(1) / own.sum(1).to(torch.float64)
        readings = []
        for attribution in attributions:
            credit = attribution.values.to(torch.float64)
            credit = credit.abs() if self.by == "magnitude" else credit
            made = self._locate(question, credit, truth, own)
            # Without a place there is nothing to hit.
            values = torch.where(truth.any(1), made.values, torch.nan)
            readings.append(Reading(values, None, {"area": area, **made.details}))
        return readings

    @abstractmethod
    def _locate(self, question: Question, credit: Tensor, truth: Tensor, own: Tensor) -> Reading:
        """The score of each input (n,), which may be anything where the truth is empty."""


def positive_mass(credit: Tensor, own: Tensor) -> Tensor:
    """The credit that speaks for the target: (n, features)."""
    return credit.clamp_min(0) * own


def fractional_top(credit: Tensor, size: Tensor, own: Tensor) -> Tensor:
    """Membership in the `size` (n,) features with the most credit: (n, features), 1, 0, or for those
    of a tie at the border the share of them that still fits.
    """
    credit = credit.masked_fill(~own, -torch.inf)
    ranked = credit.sort(dim=1, descending=True).values
    # The credit of the last feature that fits; a size of 0 has none, and is settled at the end.
    border = ranked.gather(1, (size - 1).clamp(0, credit.shape[1] - 1).unsqueeze(1))
    above = (credit > border) & own
    tied = (credit == border) & own
    room = (size.unsqueeze(1) - above.sum(1, keepdim=True)).to(torch.float64)
    share = room / tied.sum(1, keepdim=True).clamp_min(1)
    member = above.to(torch.float64) + tied * share.clamp(0, 1)
    return torch.where(size.unsqueeze(1) > 0, member, 0.0)
