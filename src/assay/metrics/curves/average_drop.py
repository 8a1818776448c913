"""What is left of a prediction when the input shows only what the explanation points at.

Average drop and increase are those of Grad-CAM++ (Chattopadhyay et al. 2018, section 4.1), average
gain that of Opti-CAM (Zhang et al. 2024): the input under the explanation's own mask, against the
whole input. All of them like a mask that hides nothing, so that the share of the input that is
kept stands beside each.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import RATE, Direction
from assay.errors import InputError
from assay.metrics.base import Metric, Reading
from assay.numerics.precision import rounding_floor
from assay.question.question import Question
from assay.removals.base import Removal

_ROUNDINGS = 64  # machine epsilons by which a probability may lie outside of [0, 1]


class MaskedInput(Metric):
    """A metric of the input under the explanation's own mask.

    Must write: `_compare`, from the target of the whole input Y (n,) and of the masked one O (n,).
    """

    mask: Literal["soft", "positive"]
    removal: Removal | None
    cost: ClassVar[str] = "1 evaluation for each attribution"

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if self.removal is not None:
            question.part(0, 1).under(self.removal)
        if self._of_probabilities:
            check_probability(question.prediction, repr(self))

    def notes(self, question: Question) -> dict[str, str]:
        return {"removal": repr(question.removal if self.removal is None else self.removal)}

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        asked = question if self.removal is None else question.under(self.removal)
        existing = asked.existing_features()
        whole = asked.prediction.to(torch.float64)
        readings = []
        for attribution in attributions:
            mask = self._mask(attribution.values.to(torch.float64), existing)
            masked = _masked(asked, mask)
            # Replacements are averaged: an input that is shown whole may differ from itself by rounding.
            same = (masked - whole).abs() <= rounding_floor(asked.prediction, whole.abs())
            masked = torch.where(same, whole, masked)
            if self._of_probabilities:
                # A model may give a probability for whole inputs and something else under a mask.
                check_probability(masked, repr(self))
            # How much is shown: a map that shows everything never drops, and only this tells.
            kept = (mask.to(torch.float64) * existing).sum(1) / existing.sum(1)
            details = {"kept": kept, "whole": whole, "masked": masked}
            readings.append(Reading(self._compare(whole, masked), None, details))
        return readings

    @property
    def _of_probabilities(self) -> bool:
        """Whether the target has to be a probability."""
        return True

    @abstractmethod
    def _compare(self, whole: Tensor, masked: Tensor) -> Tensor:
        """The score of each input (n,)."""

    def _mask(self, credit: Tensor, existing: Tensor) -> Tensor:
        """How much of each feature is shown (n, features)."""
        # Maps of the paper are rectified: what speaks against the target is not shown.
        positive = credit.clamp_min(0) * existing
        if self.mask == "positive":
            return positive > 0
        # Of each input by itself: the largest of a batch is no unit of another's.
        largest = positive.amax(1, keepdim=True)
        return torch.where(largest > 0, positive / largest, 0.0)


def _masked(question: Question, mask: Tensor) -> Tensor:
    """The target under one mask of each input (n, features): (n,)."""
    values = question.prediction.to(torch.float64)
    # What every replacement leaves as it is has nothing to be asked.
    rows = question.changeable_features().any(dim=1).nonzero()[:, 0]
    if len(rows):
        asked = question if len(rows) == question.n else question.take(rows)
        # Shares mix input and replacement, and need the inputs' precision.
        shown = mask if mask.dtype == torch.bool else mask.to(question.precision)
        values = values.clone()
        values[rows] = asked.value(shown[rows].unsqueeze(1))[:, 0].to(torch.float64)
    return values


def check_probability(values: Tensor, metric: str) -> None:
    """Refuses what cannot be probabilities."""
    slack = _ROUNDINGS * torch.finfo(values.dtype).eps
    outside = (values < -slack) | (values > 1 + slack)
    if bool(outside.any()):
        raise InputError(
            expected=f"probabilities as the target of {metric}",
            got=f"{float(values[outside][0]):.4g}, of a model that gives scores",
            advice=(
                "Wrap the model with a softmax behind it; AverageDrop and AverageIncrease also "
                "compare scores: outputs='scores'."
            ),
        )


@final
@dataclass(frozen=True)
class AverageDrop(MaskedInput):
    """How much of the prediction is lost when only what the explanation shows is left, in per cent.

    100 max(0, Y - O) / Y, Y = f(x), O = f(x under the mask)   (Chattopadhyay et al. 2018, 4.1)

    Settings:
        mask: "soft" shows every feature by its share of the largest credit of its input, none below
            0; "positive" shows all features with credit above 0, whole.
        outputs: "probabilities", which are checked, or "scores": logits, of which only positive
            ones can drop in per cent.
        removal: what stands in for what is not shown; where nothing is said, the question's own.

    Details, each (n,): `kept`, the share of the input that is shown, without which the score means
    nothing (a constant explanation shows everything and scores 0, the optimum); `whole` and
    `masked`. A random explanation drops more than a good one that keeps as much; a negated one
    shows what spoke against the target. Y = 0, or a score below it, has no percentage: NaN.

    Units: %. Lower is better. Cost: 1 evaluation per input and attribution. Errors: InputError for
    probabilities outside of [0, 1].

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[0.6, 0.2]]))
    >>> answer = assay.InputXGradient()(question)
    >>> score = AverageDrop()(question, answer)                    # 0.6 and a third of 0.2
    >>> round(score.mean, 2), round(float(score.details["kept"][0]), 2)
    (16.67, 0.67)
    """

    mask: Literal["soft", "positive"] = "soft"
    outputs: Literal["probabilities", "scores"] = "probabilities"
    removal: Removal | None = None
    direction: ClassVar[Direction] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    units: ClassVar[str] = "%"
    why: ClassVar[str] = "the target is not positive, and has no percentage"

    @property
    def _of_probabilities(self) -> bool:
        return self.outputs == "probabilities"

    def _compare(self, whole: Tensor, masked: Tensor) -> Tensor:
        # A rise is no negative drop: it is what the increase counts.
        drop = 100 * (whole - masked).clamp_min(0) / whole
        return torch.where(whole > 0, drop, torch.nan)


@final
@dataclass(frozen=True)
class AverageIncrease(MaskedInput):
    """Whether the prediction rises when only what the explanation shows is left: 1 or 0.

    1[O > Y], Y = f(x), O = f(x under the mask)               (Chattopadhyay et al. 2018, 4.1)

    Settings:
        mask: "soft" shows every feature by its share of the largest credit of its input, none below
            0; "positive" shows all features with credit above 0, whole.
        outputs: "probabilities", which are checked, or "scores".
        removal: what stands in for what is not shown; where nothing is said, the question's own.

    Details, each (n,): `kept`, the share of the input that is shown; `whole` and `masked`. A
    constant explanation shows everything and scores 0; random and negated ones what chance gives,
    or less.

    Units: rate. Higher is better. Cost: 1 evaluation per input and attribution. Errors: InputError
    for probabilities outside of [0, 1].

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[0.9, -0.2], [0.4, 0.2]]))
    >>> AverageIncrease("positive")(question, assay.InputXGradient()(question)).values.tolist()
    [1.0, 0.0]
    """

    mask: Literal["soft", "positive"] = "soft"
    outputs: Literal["probabilities", "scores"] = "probabilities"
    removal: Removal | None = None
    direction: ClassVar[Direction] = "higher"
    units: ClassVar[str] = RATE

    @property
    def _of_probabilities(self) -> bool:
        return self.outputs == "probabilities"

    def _compare(self, whole: Tensor, masked: Tensor) -> Tensor:
        return (masked > whole).to(torch.float64)


@final
@dataclass(frozen=True)
class AverageGain(MaskedInput):
    """How much of what the prediction lacks is won when only what the explanation shows is left.

    100 max(0, O - Y) / (1 - Y), Y = f(x), O = f(x under the mask)   (Zhang et al. 2024, eq. 10)

    Settings:
        mask: "soft" shows every feature by its share of the largest credit of its input, none below
            0; "positive" shows all features with credit above 0, whole.
        removal: what stands in for what is not shown; where nothing is said, the question's own.

    Details, each (n,): `kept`, the share of the input that is shown; `whole` and `masked`. A
    constant explanation shows everything and gains 0; random and negated ones what chance gives, or
    less. A prediction of 1 has nothing to gain: NaN.

    Units: %. Higher is better. Cost: 1 evaluation per input and attribution. Errors: InputError for
    probabilities outside of [0, 1].

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[0.9, -0.1]]))
    >>> round(AverageGain("positive")(question, assay.InputXGradient()(question)).mean, 3)
    50.0
    """

    mask: Literal["soft", "positive"] = "soft"
    removal: Removal | None = None
    direction: ClassVar[Direction] = "higher"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    units: ClassVar[str] = "%"
    why: ClassVar[str] = "the prediction is 1, and has nothing to gain"

    def _compare(self, whole: Tensor, masked: Tensor) -> Tensor:
        room = 1 - whole
        return torch.where(room > 0, 100 * (masked - whole).clamp_min(0) / room, torch.nan)
