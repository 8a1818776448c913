"""Class sensitivity: explanations of two classes should differ.

Sixt, Granz and Landgraf (2020, "When explanations lie", random logit test): the explanation of one
output is compared with that of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import InputError
from assay.metrics.base import Reading
from assay.metrics.sanity.asking import SanityCheck, rank_correlation
from assay.question.question import Question


@final
@dataclass(frozen=True)
class ClassSensitivity(SanityCheck):
    """How alike the explanations of the target and of another output are.

    rank correlation of phi(f_c, x) and phi(f_o, x)      (Sixt et al. 2020, section 5)

    Settings:
        method: the method that is asked again; `compare` fills it in.
        other: the other output, by its number; of the others the smallest one of
            each input where nothing is said.
        absolute: whether magnitudes are ranked in the score; details have both.

    Two classes whose outputs are each other's negatives have explanations of correlation -1, and 1
    in magnitude: `absolute` hides that they differ. Details, each (n,): `signed`, `absolute`.

    Cost: one explanation per input, and one evaluation. Lower is better. Errors: InputError for a
    model of one output.

    >>> import torch, assay
    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0, -3.0], [-1.0, -2.0, 3.0]]))
    >>> question = assay.Question(net, torch.ones(1, 3), target=0)
    >>> score = ClassSensitivity(assay.Gradient())(question, assay.Gradient()(question))
    >>> round(score.mean, 9), round(float(score.details["absolute"]), 9)
    (-1.0, 1.0)
    """

    other: int | None = None
    absolute: bool = False
    direction: ClassVar[Direction] = "lower"
    cost: ClassVar[str] = "1 explanation"
    why: ClassVar[str] = "an explanation is constant"

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        other = self._other(question)
        asked = question.of(other.tolist())
        values = self.required_method().estimate(asked, seed).values
        readings = []
        for answer in attributions:
            signed = rank_correlation(answer.values, values)
            absolute = rank_correlation(answer.values.abs(), values.abs())
            details = {"signed": signed, "absolute": absolute}
            readings.append(Reading(absolute if self.absolute else signed, None, details))
        return readings

    def _other(self, question: Question) -> Tensor:
        """The number of the other output of each input, (n,)."""
        # Nothing masked: the smallest output is that of the input itself.
        everything = torch.ones(1, question.partition.count, dtype=torch.bool)
        outputs = question.outputs(everything.to(question.x.device))[:, 0]
        count = outputs.shape[1]
        if count < 2 or (self.other is not None and not 0 <= self.other < count):
            raise InputError(
                expected=f"several outputs, among them {self.other}, for {self!r}",
                got=f"{count} of {question.model.name}",
                advice="Ask a model of several classes; outputs are counted from 0.",
            )
        if self.other is None:
            explained = getattr(question.fixed_target, "index", None)
            if isinstance(explained, int | Tensor):
                # The class that is explained is no other one.
                index = torch.as_tensor(explained, device=outputs.device).expand(len(outputs))
                outputs = outputs.scatter(1, index[:, None], torch.inf)
            return outputs.argmin(1)
        return torch.full((len(outputs),), self.other, device=outputs.device)
