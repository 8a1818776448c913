"""What the sanity checks share: a method asked about another model, and how alike two answers are.

Alike is Spearman's rank correlation over the features of an input, ties sharing their rank: signed,
and of absolute values. Which of both a published figure means decides it: two opposite explanations
have -1 and 1 (Adebayo et al. 2018 report both).
"""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from assay.answers.attribution import Attribution
from assay.errors import InputError, KindError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.question.question import Question


@dataclass(frozen=True)
class SanityCheck(Metric, ABC):
    """A metric that asks the method again, about something that should matter."""

    method: Method | None = None
    asks_again: ClassVar[bool] = True
    units: ClassVar[str] = "rank correlation"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, Method):
            raise KindError(
                expected=f"a method to ask again in {type(self).__name__}",
                got=repr(self.method),
                advice=f"Hand over the method itself: {type(self).__name__}(Gradient()).",
            )

    def for_method(self, method: Method) -> Self:
        return self if self.method is not None else replace(self, method=method)

    def required_method(self) -> Method:
        """The method that is asked again."""
        if self.method is None:
            raise InputError(
                expected="the method to ask again",
                got="none",
                advice=f"Write {type(self).__name__}(method), or .for_method(method).",
            )
        return self.method

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        self.required_method().check(question)


def network_of(question: Question, who: str) -> nn.Module:
    """A copy of the question's network: the user's own is never touched."""
    model: Any = question.model
    module = getattr(model, "module", None)
    if not isinstance(module, nn.Module) or question.is_behind_layer or question.has_context:
        raise InputError(
            expected=f"a question about a whole torch network for {who}",
            got=model.name,
            advice="Hand over the torch.nn.Module itself, without context and layers.",
        )
    return copy.deepcopy(module)


def asked_of(question: Question, model: Any, x: Tensor | None = None) -> Question:
    """The same question of another model, and perhaps of other inputs (n, elements)."""
    parts = question.layout.fold(question.x if x is None else x)
    return Question(
        model,
        parts[0] if len(parts) == 1 else parts,
        target=question.fixed_target,
        features=question.features,
        removal=question.removal,
    )


def ranks(values: Tensor) -> Tensor:
    """Ranks (n, k) along each row, from 1; ties share the mean of theirs."""
    values = values.to(torch.float64).contiguous()
    ordered = values.sort(dim=1).values
    # How many are smaller, and how many no larger: the mean rank of a tie lies between.
    first = torch.searchsorted(ordered, values)
    behind = torch.searchsorted(ordered, values, right=True)
    return (first + behind + 1).to(torch.float64) / 2


def rank_correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Spearman's correlation of each row (n, k), float64; NaN where one of both is constant.

    >>> made = rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 8.0, 9.0]]))
    >>> made.round(decimals=9)
    tensor([1.], dtype=torch.float64)
    """
    a = ranks(ours)
    b = ranks(theirs)
    a = a - a.mean(1, keepdim=True)
    b = b - b.mean(1, keepdim=True)
    # Ranks of a constant are all alike: no correlation, which is not a correlation of 0.
    size = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(size > 0, (a * b).sum(1) / size, torch.nan)
