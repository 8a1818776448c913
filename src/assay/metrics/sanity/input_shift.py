"""Input invariance: an explanation should not depend on the origin from which inputs are told.

Kindermans et al. (2019, "The (un)reliability of saliency methods", section 2): a constant is added to
all inputs, and a model that takes it off again computes what the first did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import SettingError
from assay.metrics.axioms.derived_models import Shifted, predictor_of
from assay.metrics.base import Reading
from assay.metrics.sanity.asking import SanityCheck, asked_of
from assay.numerics.precision import rounding_floor
from assay.question.question import Question


@final
@dataclass(frozen=True)
class InputShift(SanityCheck):
    """How far an explanation moves where inputs and model are told from another origin.

    |phi(f, x) - phi(f(. - c), x + c)|_2 / |phi(f, x)|_2      (Kindermans et al. 2019, section 2)

    Settings:
        method: the method that is asked again; `compare` fills it in.
        shift: what is added to every element, in the inputs' units.

    What absent means stays as it is: a baseline of 0 is then another input than before, which is why
    methods with a fixed baseline move. 0 / 0 counts as 0. Cost: one explanation per input. Lower is
    better. Errors: InputError for a model of anything but one tensor of numbers.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(3, 1), torch.rand(2, 3))
    >>> InputShift(assay.Gradient())(question, assay.Gradient()(question)).mean
    0.0
    """

    shift: float = 0.5
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "relative"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "1 explanation"
    why: ClassVar[str] = "the explanation is zero and the other is not"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not abs(self.shift) > 0:
            raise SettingError(
                expected="a shift other than 0",
                got=self.shift,
                advice="Half of the inputs' range is a plain choice.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        super().check(question, attributions)
        predictor_of(question)

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        constant = torch.full_like(question.x[0], self.shift)
        model = Shifted(predictor_of(question), constant)
        # The removal is not shifted with the inputs: what that does is what is measured.
        asked = asked_of(question, model, question.x + constant)
        values = self.required_method().estimate(asked, seed).values.to(torch.float64)
        readings = []
        for answer in attributions:
            clean = answer.values.to(torch.float64)
            norm = clean.norm(dim=1)
            # In double precision: of a method that does not move, these are equal numbers.
            change = (values - clean).norm(dim=1)
            # What adding and taking off rounds is no move.
            size = norm + question.x.to(torch.float64).norm(dim=1)
            moved = change > rounding_floor(answer.values, size)
            relative = torch.where(moved, change / norm, 0.0)
            # A zero explanation that moves has nothing to be relative to: no score.
            readings.append(Reading(torch.where(relative.isinf(), torch.nan, relative)))
        return readings
