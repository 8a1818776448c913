"""What all masking curves share: the order, the steps, what stands in, and ties."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.errors import InputError, SettingError
from assay.metrics.base import Metric, Reading
from assay.metrics.curves.masked_curves import TARGET, Curves, Readout, area, masked_curves
from assay.metrics.curves.orderings import Order, even_counts
from assay.question.question import Question
from assay.removals.base import Removal

_DIGITS = 9  # 0.07 * 100 is 7.000000000000001: rounding up must not make it 8

TOO_FEW = "fewer than two features to order"


class OrderedMasks(Metric):
    """A metric that masks features in the order of their credit.

    Must have the settings below. Must write: `_read`, a reading for each of several credits.
    """

    by: Literal["value", "magnitude"]
    removal: Removal | None
    pairs: int
    units: ClassVar[str] = "target"
    why: ClassVar[str] = TOO_FEW

    def __post_init__(self) -> None:
        if self.pairs < 2:
            raise SettingError(
                expected=f"at least 2 pairs of orders that break ties for {type(self).__name__}",
                got=self.pairs,
                advice="A standard error needs two; 4 is the default.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if question.partition.count < 2:
            raise InputError(
                expected=f"two features or more for {type(self).__name__}, which orders them",
                got=f"{question.partition.count} of {question.features!r}",
                advice="Ask about finer features: Elements(), Pixels(), Patches(8).",
            )
        # What stands in is refused before the work, on the first input.
        self._asked(question.part(0, 1))

    def notes(self, question: Question) -> dict[str, str]:
        return {"removal": repr(question.removal if self.removal is None else self.removal)}

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        asked = self._asked(question)
        credits = [_ranked_by(attribution, self.by) for attribution in attributions]
        readings = self._read(asked, credits, seed)
        # One feature alone is first in any order: what is read of it judges no credit.
        few = asked.existing_features().sum(1) < 2
        for reading in readings:
            reading.values[few] = torch.nan
        return readings

    @abstractmethod
    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        """A reading for each of several credits (n, features), largest first."""

    def _asked(self, question: Question) -> Question:
        """The question, under the removal of this metric."""
        return question if self.removal is None else question.under(self.removal)

    def _orders(
        self, question: Question, credits: Sequence[Tensor], *, positive: bool = False
    ) -> list[Order]:
        """The features that inputs have, largest credit first; `positive` ones alone, where asked."""
        existing = question.existing_features()
        return [
            Order(credit, existing & (credit > 0) if positive else existing) for credit in credits
        ]


@dataclass(frozen=True)
class MaskingCurve(OrderedMasks):
    """A curve in even steps from none to all of the features."""

    steps: int = 50
    by: Literal["value", "magnitude"] = "value"
    removal: Removal | None = None
    pairs: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise SettingError(
                expected=f"a curve of at least 2 steps for {type(self).__name__}",
                got=self.steps,
                advice="50 is the default; as many steps as features ask for one at a time.",
            )

    def _curves(
        self, question: Question, orders: Sequence[Order], seed: int, *, insert: bool = False
    ) -> list[Curves]:
        """The target along each order, in even steps from none to all of its features."""
        # More steps than features would ask the same masks again.
        steps = min(self.steps, question.partition.count)
        # Lengths differ between inputs; every input has as many steps, some of them doubled.
        counts = [even_counts(order.lengths, steps) for order in orders]
        return masked_curves(question, orders, counts, insert=insert, pairs=self.pairs, seed=seed)


class MaskedShares(OrderedMasks):
    """The target without, or with nothing but, some shares of the features."""

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise SettingError(
                expected=f"shares of the features between 0 and 1 for {type(self).__name__}",
                got=self.shares,
                advice="Leave them out, or write shares=(0.1, 0.2, 0.5).",
            )

    def _curves(
        self,
        question: Question,
        credits: Sequence[Tensor],
        seed: int,
        *,
        insert: bool = False,
        readout: Readout = TARGET,
    ) -> list[Curves]:
        """What is read with each share of the features removed, or alone there."""
        orders = self._orders(question, credits)
        counts = [rounded_up(order, self.shares) for order in orders]
        return masked_curves(
            question, orders, counts, insert=insert, pairs=self.pairs, seed=seed, readout=readout
        )


def rounded_up(order: Order, shares: Sequence[float]) -> Tensor:
    """Shares of the features as numbers of them, at least one: (n, shares)."""
    share = torch.tensor(shares, dtype=torch.float64, device=order.credit.device)
    # Of the features that each input has, not of the longest input of a batch.
    exact = order.lengths.unsqueeze(1) * share
    return exact.round(decimals=_DIGITS).ceil().to(torch.int64)


def least_first(order: Order) -> Order:
    """The same features, smallest credit first."""
    # Negated, and not the finished order turned round: ties stay ties, and are broken by chance.
    return Order(-order.credit, order.eligible)


def reading(curves: Curves, each: Tensor, details: Mapping[str, Tensor] | None = None) -> Reading:
    """A reading of what was read off each way to break ties (n, ways), with its curve."""
    mean, error = curves.average(each)
    drawn = {"curve": curves.mean, "share": curves.shares, "ties": curves.ties}
    return Reading(mean, error, {**drawn, **(details or {})})


def areas(curves: Curves) -> Tensor:
    """The area under each way's curve over the share of features taken: (n, ways)."""
    return area(curves.values, curves.shares.unsqueeze(1))


def _ranked_by(attribution: Attribution, by: str) -> Tensor:
    credit = attribution.values.to(torch.float64)
    return credit.abs() if by == "magnitude" else credit
