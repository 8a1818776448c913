"""Necessity and sufficiency of the features that speak for the target (Wang et al. 2020).

"Interpreting interpretations: organizing attribution methods by criteria": are the features with
positive credit needed, and are they enough? Along their order (`NecessityOrdering`,
`SufficiencyOrdering`) and in proportion to their credit (`NecessityProportionality`,
`SufficiencyProportionality`). The target is measured on its way from f(absent), 0, to f(x), 1, in
all four; the last step always takes all features with positive credit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.score import Direction
from assay.metrics.base import Reading
from assay.metrics.curves.curve import MaskingCurve, least_first, reading
from assay.metrics.curves.masked_curves import Curves, area
from assay.metrics.curves.orderings import Order
from assay.numerics.precision import rounding_floor
from assay.question.question import Question

_NONE = "the target does not rise above its absence, or no credit is positive"


class _Positive(MaskingCurve):
    """Curves of features with positive credit, between f(absent) and f(x)."""

    why: ClassVar[str] = _NONE
    units: ClassVar[str] = "relative"

    def _relative(self, question: Question, curves: Curves) -> Tensor:
        """The target on its way from f(absent), not below it: (n, ways, m); NaN where it is none."""
        base = question.base.to(torch.float64)[:, None, None]
        whole = question.prediction.to(torch.float64)[:, None, None]
        rise = whole - base
        # A rise within rounding is none: every curve would be rounding divided by rounding.
        floor = rounding_floor(question.prediction, whole.abs() + base.abs())
        # Clipped below as in the paper, and not above: a mask may beat the whole input.
        relative = (curves.values - base).clamp_min(0) / rise
        return torch.where(rise > floor, relative, torch.nan)

    def _area_reading(self, question: Question, curves: Curves) -> Reading:
        relative = self._relative(question, curves)
        each = area(relative, curves.shares.unsqueeze(1))
        # Without positive credit the curve is one point repeated, which judges no order.
        each = torch.where(curves.lengths.unsqueeze(1) > 0, each, torch.nan)
        return _with_relative(reading(curves, each), relative, question, curves)


def _with_relative(made: Reading, relative: Tensor, question: Question, curves: Curves) -> Reading:
    existing = question.existing_features().sum(1).to(torch.float64)
    details = {
        **made.details,
        "relative curve": relative.mean(1),
        "positive": curves.lengths / existing,
    }
    # An input without a score has no sampling error either: 0, and not NaN.
    error = made.error if made.error is None else made.error.nan_to_num(0.0)
    return Reading(made.values, error, details)


@final
@dataclass(frozen=True)
class NecessityOrdering(_Positive):
    """How fast the target falls as features with positive credit are removed, the largest first.

    the area under max(0, f(x^(k)) - f(b)) / (f(x) - f(b)), over k / K    (Wang et al. 2020, N-Ord)

    x^(k) without the first k features of the order, K = all that have positive credit, b = nothing.

    Settings:
        steps: of the curve, at least 2, evenly from none to K; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size, which then is positive
            wherever it is not 0.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: `curve`, `relative curve` and `share` (n, steps + 1); `positive`, the share of features
    with positive credit, which the curve's end depends on; `ties`. A constant explanation removes
    everything in any order, as a random one that is positive does; a negated one removes what spoke
    against the target. NaN where f(x) <= f(b) or no credit is positive.

    Units: relative. Lower is better. Cost: `steps` evaluations per input and order; 2 `pairs` times
    as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[6.0, 4.0, -2.0]]))
    >>> score = NecessityOrdering()(question, assay.InputXGradient()(question))
    >>> score.mean                      # of 8: under 1, 1/4 and, below nothing, 0
    0.375
    """

    direction: ClassVar[Direction] = "lower"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = self._orders(question, credits, positive=True)
        curves = self._curves(question, orders, seed)
        return [self._area_reading(question, curve) for curve in curves]


@final
@dataclass(frozen=True)
class SufficiencyOrdering(_Positive):
    """How fast the target rises as features with positive credit are shown alone, the largest first.

    the area under max(0, f(z^(k)) - f(b)) / (f(x) - f(b)), over k / K    (Wang et al. 2020, S-Ord)

    z^(k) with nothing but the first k features of the order, K = all with positive credit.

    Settings:
        steps: of the curve, at least 2, evenly from none to K; at most one for each feature.
        by: "value" orders by signed credit, "magnitude" by its size, which then is positive
            wherever it is not 0.
        removal: what stands in for absent features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: those of `NecessityOrdering`. A constant explanation shows everything in any order, as a
    random one that is positive does; a negated one shows what spoke against the target. NaN where
    f(x) <= f(b) or no credit is positive. The authors' code divides by f(x) without
    f(b); here all four metrics count from f(b).

    Units: relative. Higher is better. Cost: `steps` evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[6.0, 2.0]]))
    >>> SufficiencyOrdering()(question, assay.InputXGradient()(question)).mean   # under 0, 3/4, 1
    0.625
    """

    direction: ClassVar[Direction] = "higher"
    cost: ClassVar[str] = "steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        orders = self._orders(question, credits, positive=True)
        curves = self._curves(question, orders, seed, insert=True)
        return [self._area_reading(question, curve) for curve in curves]


class _Proportional(_Positive):
    """The area between two curves over the share of positive credit: largest and smallest first."""

    ideal: ClassVar[float | None] = 0.0

    def _between(
        self, question: Question, credits: Sequence[Tensor], seed: int, *, insert: bool
    ) -> list[Reading]:
        orders = self._orders(question, credits, positive=True)
        turned = [least_first(order) for order in orders]
        # In one call: both directions break their ties by the same draws.
        curves = self._curves(question, [*orders, *turned], seed, insert=insert)
        readings = []
        for a, order in enumerate(orders):
            # In the order in which they were asked: all with the largest first, then all turned.
            down, up = curves[a], curves[len(orders) + a]
            # Over the share of credit, not of features: proportion is what is asked.
            shares = [_credit_shares(order, down.counts, largest=True)]
            shares.append(_credit_shares(order, up.counts, largest=False))
            relative = [self._relative(question, curve) for curve in (down, up)]
            between = [
                area_between(shares[0], relative[0][:, way], shares[1], relative[1][:, way])
                for way in range(relative[0].shape[1])
            ]
            each = torch.where(order.lengths.unsqueeze(1) > 0, torch.stack(between, 1), torch.nan)
            made = _with_relative(reading(down, each), relative[0], question, down)
            # What is drawn in either order, drawn in both.
            drawn = down.drawn | up.drawn
            both = Curves(down.counts, down.values, drawn, down.ties, down.lengths)
            details = {
                **made.details,
                "credit share": shares[0],
                "least curve": up.mean,
                "least relative curve": relative[1].mean(1),
                "least credit share": shares[1],
            }
            readings.append(Reading(made.values, both.error(each).nan_to_num(0.0), details))
        return readings


def _credit_shares(order: Order, counts: Tensor, *, largest: bool) -> Tensor:
    """The share of the positive credit that the first `counts` (n, m) features hold: (n, m)."""
    credit = torch.where(order.eligible, order.credit, 0.0)
    ranked = credit.sort(dim=1, descending=True).values
    # With a 0 in front: before the first step no credit is held.
    held = torch.nn.functional.pad(ranked.cumsum(1), (1, 0))
    total = held[:, -1:]
    if not largest:
        # The smallest k are all but the largest K - k.
        counts = order.lengths.unsqueeze(1) - counts
        return torch.where(total > 0, 1 - held.gather(1, counts) / total, torch.nan)
    return torch.where(total > 0, held.gather(1, counts) / total, torch.nan)


def area_between(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor) -> Tensor:
    """The area between two piecewise linear curves (n, m) each, from 0 to 1: (n,). Exact.

    >>> x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    >>> float(area_between(x, x, x, 1 - x))                          # two triangles of a quarter
    0.5
    """
    # Between the knots of both curves the difference is linear, and its area exact.
    grid = torch.cat([x, other_x], dim=1).sort(dim=1).values
    difference = _interpolated(grid, x, y) - _interpolated(grid, other_x, other_y)
    width = grid.diff(dim=1)
    left, right = difference[:, :-1], difference[:, 1:]
    whole = (left.abs() + right.abs()) / 2
    # Where the curves cross, two triangles are left of it.
    crossing = left * right < 0
    size = (left.abs() + right.abs()).clamp_min(torch.finfo(grid.dtype).tiny)
    triangles = (left**2 + right**2) / (2 * size)
    total: Tensor = (width * torch.where(crossing, triangles, whole)).sum(1)
    return total


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A piecewise linear curve x, y (n, m) at any places (n, k)."""
    x, y = x.contiguous(), y.contiguous()
    # The piece that each place lies in; the ends belong to the outermost pieces.
    right = torch.searchsorted(x, at.contiguous()).clamp(1, x.shape[1] - 1)
    low, high = x.gather(1, right - 1), x.gather(1, right)
    width = high - low
    # A step that takes no credit has no width: its left end stands for it.
    weight = torch.where(width > 0, (at - low) / width, 0.0).clamp(0, 1)
    return torch.lerp(y.gather(1, right - 1), y.gather(1, right), weight)


@final
@dataclass(frozen=True)
class NecessityProportionality(_Proportional):
    """Whether removing a share of the positive credit costs that share of the target.

    the area between max(0, f(x^(t)) - f(b)) / (f(x) - f(b)) with the largest credit removed first and
    the same with the smallest first, t = the share of the positive credit   (Wang et al. 2020, TPN)

    Settings:
        steps: of both curves, at least 2, evenly over the features with positive credit.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for removed features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: of the order with the largest first `curve`, `relative curve`, `share` and `credit share`
    (n, steps + 1), of the other `least curve`, `least relative curve` and `least credit share`;
    `positive`, the share of features with positive credit; `ties`. 0 is perfect: of an additive model with
    positive effects both curves are the diagonal. A constant explanation is judged by how far apart two
    random orders are, a random one by more, a negated one by what spoke against the target.

    Units: relative. Lower is better. Cost: 2 `steps` evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> NecessityProportionality()(question, assay.InputXGradient()(question)).mean < 1e-12
    True
    """

    direction: ClassVar[Direction] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "2 steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        return self._between(question, credits, seed, insert=False)


@final
@dataclass(frozen=True)
class SufficiencyProportionality(_Proportional):
    """Whether showing a share of the positive credit alone gives that share of the target.

    As `NecessityProportionality`, with f(z^(t)), nothing but the features in the place of all but
    them                                                           (Wang et al. 2020, TPS)

    Settings:
        steps: of both curves, at least 2, evenly over the features with positive credit.
        by: "value" orders by signed credit, "magnitude" by its size.
        removal: what stands in for absent features; where nothing is said, the question's own.
        pairs: of orders that break ties by chance, at inputs where a step ends inside one.

    Details: those of `NecessityProportionality`. 0 is perfect: of an additive model with positive
    effects both curves are the diagonal. A constant explanation is judged by how far apart two random
    orders are, a random one by more. Never alone: what speaks against the target does not let it rise,
    two curves of nothing are the same, and a negated explanation has 0.

    Units: relative. Lower is better. Cost: 2 `steps` evaluations per input and order; 2 `pairs`
    times as many at cut ties. Errors: SettingError for fewer than 2 steps, InputError for one feature.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x.sum(1), torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> SufficiencyProportionality()(question, assay.InputXGradient()(question)).mean < 1e-12
    True
    """

    direction: ClassVar[Direction] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "2 steps evaluations for each order"

    def _read(self, question: Question, credits: Sequence[Tensor], seed: int) -> list[Reading]:
        return self._between(question, credits, seed, insert=True)
