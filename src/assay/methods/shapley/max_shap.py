"""Shapley values of a maximum, by a formula: the max game of Lundberg and Lee (2017, section 4.2).

The airport game (Littlechild and Owen 1973) with any replacement for what is absent: the maximum is
cut into levels, and each level is a small game whose Shapley values are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from assay.errors import InputError
from assay.methods.base import Axiom, Method
from assay.numerics import rng
from assay.question.question import Question

_CHECKS = (
    3  # coalitions drawn at random, each with what it leaves out, at which the model is tried out
)

_TOLERANCE = 1e-5  # relative to the largest answer, in which single precision rounds


def max_values(x: Tensor, reference: Tensor, floor: Tensor | None = None) -> Tensor:
    """Shapley values of a maximum, v(S) = max(floor, max_i (x_i if i in S else r_i)).

    (..., M) for x and r alike. The maximum is the integral of 1{max > t} over t. Above
    max_i min(x_i, r_i) the features with x_i > t (a of them) and those with r_i > t (b of them) are
    different ones, and the maximum stays below t exactly if none of the former and all of the
    latter are present; so per unit of t the former get (a - 1)! b! / (a + b)! each, the latter
    -a! (b - 1)! / (a + b)!. For r = 0 this is the max game of Lundberg and Lee 2017, section 4.2.
    O(M log M) per row, float64.

    >>> max_values(torch.tensor([5.0, 4.0, 0.0]), torch.zeros(3)).tolist()
    [3.0, 2.0, 0.0]
    """
    x = x.to(torch.float64)
    reference = reference.to(torch.float64).expand_as(x)
    # Below this level the maximum lies for every
    # coalition: nobody earns anything there.
    lowest = torch.minimum(x, reference).amax(dim=-1, keepdim=True)
    if floor is not None:
        floor = floor.to(torch.float64)
        lowest = torch.maximum(lowest, floor.unsqueeze(-1))
    x = x.maximum(lowest)
    reference = reference.maximum(lowest)
    # The integrand changes at the 2 M values alone:
    # between two neighbours it is constant.
    both = torch.cat((x, reference), dim=-1)
    levels = both.sort(dim=-1).values
    widths = levels.diff(dim=-1)
    starts = levels[..., :-1].contiguous()
    # a and b of every interval: how many x_i, and
    # how many r_i, lie above its start.
    x_above = _count_above(x, starts)
    reference_above = _count_above(reference, starts)
    # What one feature with x_i > t gains, and one with r_i > t
    # loses, from the lowest level up to each: (..., 2 M).
    gain_rate = _share(x_above, reference_above)
    loss_rate = _share(reference_above, x_above)
    gains = _running(widths * gain_rate)
    losses = _running(widths * loss_rate)
    # A feature is above t from the smaller of its two
    # values to the larger. Its share is what the running
    # integral adds between them; where r_i > x_i that is
    # counted backwards, and negative.
    at_x = torch.searchsorted(levels, x)
    at_reference = torch.searchsorted(levels, reference)
    gain = gains.gather(-1, at_x) - gains.gather(-1, at_reference)
    loss = losses.gather(-1, at_x) - losses.gather(-1, at_reference)
    return torch.where(x > reference, gain, loss)


def _count_above(values: Tensor, levels: Tensor) -> Tensor:
    """How many of `values` (..., M) are greater than each of the levels (..., k): (..., k)."""
    ordered = values.sort(dim=-1).values
    not_above = torch.searchsorted(ordered, levels, right=True)
    return values.shape[-1] - not_above


def _share(a: Tensor, b: Tensor) -> Tensor:
    """(a - 1)! b! / (a + b)!, zero where a is zero."""
    positive = a.clamp_min(1).to(torch.float64)
    other = b.to(torch.float64)
    # Factorials of thousands of features overflow: their logarithms do not.
    numerator = torch.lgamma(positive) + torch.lgamma(other + 1)
    denominator = torch.lgamma(positive + other + 1)
    share = (numerator - denominator).exp()
    return torch.where(a > 0, share, 0.0)


def _running(parts: Tensor) -> Tensor:
    """The integral up to each level, zero at the first: (..., k) to (..., k + 1)."""
    zero = torch.zeros_like(parts[..., :1])
    return torch.cat((zero, parts.cumsum(dim=-1)), dim=-1)


@final
@dataclass(frozen=True)
class MaxShap(Method):
    """Shapley values of a model that returns the largest of its inputs, by a formula.

    See `max_values` for the formula (Lundberg and Lee 2017, section 4.2, for a common reference),
    which holds whatever each input is replaced by. A feature of several elements is worth its
    largest one. Values are averaged over the draws of the removal.

    Cost: 9 evaluations per input, to check that the model is a maximum: with everything present,
    nothing, all but the largest, and at six coalitions drawn at random; O(M log M) arithmetic.
    Values (n, features) in units of the target. Errors: InputError for another model.

    >>> from assay.question.question import Question
    >>> question = Question(lambda x: x.amax(1), torch.tensor([[5.0, 4.0, 0.0]]))
    >>> MaxShap()(question).values.tolist()
    [[3.0, 2.0, 0.0]]
    """

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY})
    cost: ClassVar[str] = "9"

    def values(self, question: Question, seed: int) -> Tensor:
        x = question.x
        labels = question.partition.labels
        count = question.partition.count
        draws = question.replacements
        # Elements that nobody owns are always present: a
        # slot of their own, which is the floor.
        slots = torch.where(labels < 0, count, labels).expand(len(x), -1)
        largest = _largest(x, slots, count)
        _check_maximum(question, largest[:, :-1], seed)
        floor = largest[:, -1]
        rows = torch.arange(len(x), device=x.device)
        total = torch.zeros(len(x), count, dtype=torch.float64, device=x.device)
        for draw in range(draws):
            removed = question.removed(rows, torch.full_like(rows, draw))
            reference = _largest(removed, slots, count)
            total += max_values(largest[:, :-1], reference[:, :-1], floor)
        return total / draws


def _largest(x: Tensor, slots: Tensor, count: int) -> Tensor:
    """The largest element of every feature and, last, of what nobody owns: (n, count + 1)."""
    shape = (len(x), count + 1)
    lowest = torch.full(shape, -torch.inf, dtype=torch.float64, device=x.device)
    return lowest.scatter_reduce(1, slots, x.to(torch.float64), "amax")


def _check_maximum(question: Question, largest: Tensor, seed: int) -> None:
    """Refuses a model that answers with something else, where features are absent too.

    `largest` (n, features). A model may answer with one of its inputs, which is the largest: there
    the coalition without it tells.
    """
    count = largest.shape[1]
    rows = torch.arange(len(question.x), device=question.x.device)
    first = torch.zeros_like(rows)
    without = ~one_hot(largest.argmax(dim=1), count).bool()
    drawn = torch.from_numpy(rng.shared(seed, "maximum check").random((_CHECKS, count)) < 0.5)
    coalitions = torch.cat((drawn, ~drawn)).to(rows.device)
    masks = (without, *(present.expand_as(without) for present in coalitions))
    masked = (question.masked(rows, present, first) for present in masks)
    for points in (question.x, question.removed(rows, first), *masked):
        answers = question.score(points).to(torch.float64)
        expected = points.amax(dim=1).to(torch.float64)
        largest_gap = (answers - expected).abs().max()
        # Written so that NaN is refused too.
        if not bool(largest_gap <= _TOLERANCE * (1.0 + expected.abs().max())):
            raise InputError(
                expected="for MaxShap a model that returns the largest of its inputs",
                got=f"answers that differ from it by up to {float(largest_gap):.3g}",
                advice="Use ExactShapley (few features) or KernelShap.",
            )
