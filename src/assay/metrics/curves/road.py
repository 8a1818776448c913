"""ROAD: how often the class stays as pixels are removed and imputed from what is around them.

"A consistent and efficient evaluation strategy for attribution methods" (Rong et al. 2022): a mask of
one colour tells the network its own shape; imputed pixels do not, and orders no longer depend on
whether the most or the least relevant go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.score import RATE, Direction
from assay.errors import InputError
from assay.metrics.base import Reading
from assay.metrics.curves.curve import MaskedShares, reading
from assay.metrics.curves.masked_curves import Readout
from assay.question.question import Question
from assay.removals.base import Removal
from assay.removals.imputed import LinearImputation


@final
@dataclass(frozen=True)
class Road(MaskedShares):
    """The share of removals after which the class is still predicted, the most relevant first.

    mean_q 1[argmax f(x^(q)) = argmax f(x)], x^(q) without the top q, imputed (Rong et al. 2022)

    Settings:
        shares: q, of the features that an input has, each rounded up to whole features.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features: noisy linear imputation of images; `None` is
            the question's own.
        pairs: of orders that break ties by chance, at inputs where a share ends inside one.

    Details: `curve` (1 where the class stays) and `share` (n, shares), `ties` (n,). The class is the
    predicted one, whatever the question's target. Constant and random explanations have the mean over
    random orders, a negated one more. One number of each input is a share: its mean over inputs is the
    area under the accuracy curve.

    Units: rate. Lower is better. Cost: an evaluation per input, share and order; 2 `pairs` times as
    many at cut ties. Errors: SettingError for shares outside (0, 1), InputError for a model of one
    output, and for inputs that are no images.

    >>> import torch, assay
    >>> x = torch.zeros(1, 1, 4, 4).index_fill(3, torch.tensor([1]), 1.0)
    >>> f = lambda x: torch.stack([x.flatten(1).sum(1), 1.5 + 0 * x[:, 0, 0, 0]], dim=1)
    >>> question = assay.Question(f, x, features=assay.Pixels())
    >>> Road(shares=(0.1, 0.5))(question, assay.InputXGradient()(question)).details["curve"].tolist()
    [[1.0, 0.0]]
    """

    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    by: Literal["value", "magnitude"] = "value"
    removal: Removal | None = field(default_factory=LinearImputation)
    pairs: int = 4
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = RATE
    cost: ClassVar[str] = "1 evaluation for each share and order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        readout = Readout(_stays, _surely, _stays_without_all)
        curves = self._curves(question, credits, seed, readout=readout)
        return [reading(curve, curve.values.mean(2)) for curve in curves]


def _stays(question: Question, masks: Tensor) -> Tensor:
    """Whether the predicted class stays under masks (n, m, features): (n, m), 1 or 0."""
    # Compared with the prediction for the input itself, which need not be the true class.
    everything = torch.ones(1, masks.shape[-1], dtype=torch.bool, device=masks.device)
    classes = _classes(question.outputs(everything))
    return (_classes(question.outputs(masks)) == classes).to(torch.float64)


def _surely(question: Question) -> Tensor:
    # With nothing removed the class stays by definition: no evaluation.
    return torch.ones(question.n, dtype=torch.float64, device=question.x.device)


def _stays_without_all(question: Question) -> Tensor:
    # The question knows the target of the absent input, and not its class: one more mask.
    nothing = torch.zeros(
        question.n, 1, question.partition.count, dtype=torch.bool, device=question.x.device
    )
    return _stays(question, nothing)[:, 0]


def _classes(outputs: Tensor) -> Tensor:
    if outputs.shape[2] < 2:
        raise InputError(
            expected="a model of two outputs or more for Road, which asks whether the class stays",
            got="one output",
            advice="Deletion() measures one number; or wrap the model to give both classes.",
        )
    return outputs.argmax(2)
