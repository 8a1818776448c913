"""Shapley values with a formula: of a maximum, and of any game small enough to be regressed on
whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Method
from assay.models.base import Ability
from assay.question.question import Question


def max_values(x: Tensor, reference: Tensor, floor: Tensor | None = None) -> Tensor:
    """Shapley values of a maximum, v(S) = max(floor, max_i (x_i if i in S else r_i)): (..., M) for
    x and r alike.

    The maximum is the integral of 1{max > t} over t. Above max_i min(x_i, r_i) the features with
    x_i > t (a of them) and those with r_i > t (b of them) are different ones, and the maximum stays
    below t exactly if none of the former and all of the latter are present; so per unit of t the
    former get (a - 1)! b! / (a + b)! each, the latter -a! (b - 1)! / (a + b)!. For r = 0 this is
    the max game of Lundberg and Lee 2017, section 4.2. O(M log M) per row, float64.

    >>> max_values(torch.tensor([5.0, 4.0, 0.0]), torch.zeros(3)).tolist()
    [3.0, 2.0, 0.0]
    """
    x, reference = x.to(torch.float64), reference.to(torch.float64).expand_as(x)
    lowest = torch.minimum(x, reference).amax(dim=-1, keepdim=True)
    if floor is not None:
        lowest = torch.maximum(lowest, floor.to(torch.float64).unsqueeze(-1))
    x, reference = x.maximum(lowest), reference.maximum(lowest)
    levels = torch.cat((x, reference), dim=-1).sort(dim=-1).values
    width, starts = levels.diff(dim=-1), levels[..., :-1].contiguous()
    above, below = (
        x.shape[-1] - torch.searchsorted(side.sort(dim=-1).values, starts, right=True)
        for side in (x, reference)
    )
    gains = _running(width * _share(above, below))
    losses = _running(width * _share(below, above))
    at_x, at_reference = torch.searchsorted(levels, x), torch.searchsorted(levels, reference)
    gain = gains.gather(-1, at_x) - gains.gather(-1, at_reference)
    return torch.where(
        x > reference, gain, losses.gather(-1, at_x) - losses.gather(-1, at_reference)
    )


def _share(own: Tensor, other: Tensor) -> Tensor:
    """(own - 1)! other! / (own + other)!, zero where own is zero."""
    a, b = own.clamp_min(1).to(torch.float64), other.to(torch.float64)
    return torch.where(
        own > 0, (torch.lgamma(a) + torch.lgamma(b + 1) - torch.lgamma(a + b + 1)).exp(), 0.0
    )


def _running(parts: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(parts[..., :1]), parts.cumsum(dim=-1)), dim=-1)


@final
@dataclass(frozen=True)
class MaxShap(Method):
    """Shapley values of a model that returns the largest of its inputs, whatever each of them is
    replaced by.

    See `max_values` for the formula (Lundberg and Lee 2017, section 4.2, for a common reference). A
    feature of several elements is worth its largest one. Values are averaged over the draws of the
    removal. Cost: 2 evaluations per input, to check that the model is a maximum (`InputError`
    otherwise); O(M log M) arithmetic.

    >>> from assay.question.question import Question
    >>> question = Question(lambda x: x.amax(1), torch.tensor([[5.0, 4.0, 0.0]]))
    >>> MaxShap()(question).values.tolist()
    [[3.0, 2.0, 0.0]]
    """

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY})
    cost: ClassVar[str] = "2"

    def values(self, question: Question, seed: int) -> Tensor:
        x, labels = question.x, question.partition.labels
        count, draws = question.partition.count, question.replacements
        _check_maximum(question)
        total = torch.zeros(len(x), count, dtype=torch.float64, device=x.device)
        slots = torch.where(labels < 0, count, labels).expand(len(x), -1)
        rows = torch.arange(len(x), device=x.device)
        own = _largest(x, slots, count)
        floor = own[:, -1]
        for draw in range(draws):
            gone = _largest(question.removed(rows, torch.full_like(rows, draw)), slots, count)
            total += max_values(own[:, :-1], gone[:, :-1], floor)
        return total / draws


def _largest(x: Tensor, slots: Tensor, count: int) -> Tensor:
    """The largest element of every feature and, last, of the elements that nobody owns: (n, count +
    1).
    """
    empty = torch.full((len(x), count + 1), -torch.inf, dtype=torch.float64, device=x.device)
    return empty.scatter_reduce(1, slots, x.to(torch.float64), "amax")


def _check_maximum(question: Question) -> None:
    rows = torch.arange(len(question.x), device=question.x.device)
    gone = question.removed(rows, torch.zeros_like(rows))
    for points in (question.x, gone):
        answer, expected = (
            question.score(points).to(torch.float64),
            points.amax(dim=1).to(torch.float64),
        )
        worst = (answer - expected).abs().max()
        if not bool(worst <= 1e-5 * (1.0 + expected.abs().max())):
            raise InputError(
                f"MaxShap expects a model that returns the largest of its inputs, but answers differ from it by up to "
                f"{float(worst):.3g}: use ExactShapley (few features) or KernelShap"
            )
