"""How far an explanation can move at most: what is proved of it, where slopes are bounded.

Of a method made of slopes the change within a ball follows from the range of the slopes there, and
the rate of change from their curvature; for a linear model both are 0. Of other methods, of networks
whose slopes nothing is known of and of targets that are not linear in the outputs nothing is proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.methods.base import Method
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import IntegratedGradients
from assay.methods.wrappers import Absolute, TimesInput
from assay.numerics.integration import quadrature
from assay.numerics.precision import rounding_tolerance
from assay.question.question import Question

_TOGETHER = 16  # inputs whose ranges are held at once

Ball: TypeAlias = Literal["linf", "l2"]


@final
@dataclass(frozen=True, eq=False)
class Movement:
    """How an explanation can move within a ball around each of n inputs, at most.

    Settings:
        farthest: the change of each value, (n, elements), float64.
        rate: the largest norm of the explanation's derivative, (n,); infinite where slopes may jump.
        elements: of the input, each of which moves.
    """

    farthest: Tensor
    rate: Tensor
    elements: int

    def pooled(self, question: Question) -> Movement:
        """The same of features: changes of what they own add up."""
        if question.partition.identity:
            return self
        sizes = question.pool(torch.ones_like(self.farthest)).amax(1)
        farthest = question.partition.pool(self.farthest)
        # A sum over m elements is no longer than sqrt(m) of their norm.
        return Movement(farthest, self.rate * sizes.clamp_min(1).sqrt(), self.elements)


def movement(method: Method, question: Question, radius: float, ball: Ball) -> Movement | None:
    """What is proved of a method near the inputs; None where nothing is."""
    if isinstance(method, Absolute):
        # Absolute values are no farther apart than signed ones.
        return movement(method.method, question, radius, ball)
    if isinstance(method, TimesInput) and isinstance(method.method, Gradient):
        if not _stays(question):
            return None
        return _of_products(question, radius, ball, question.absent)
    if isinstance(method, InputXGradient):
        return _of_products(question, radius, ball, torch.zeros_like(question.x))
    if isinstance(method, Gradient):
        slopes = _slopes(question, question.x, radius, ball)
        return None if slopes is None else slopes.movement.pooled(question)
    if isinstance(method, IntegratedGradients) and method.tolerance is None:
        return _of_path(method, question, radius, ball)
    return None


@final
@dataclass(frozen=True, eq=False)
class _Slopes:
    """The slopes at points (n, elements), and how they can move around them."""

    at: Tensor
    movement: Movement


def _of_products(question: Question, radius: float, ball: Ball, start: Tensor) -> Movement | None:
    """Of (x - b) times the slope, for a b that stays where it is."""
    slopes = _slopes(question, question.x, radius, ball)
    if slopes is None:
        return None
    return _times_way(slopes, question.x - start, radius).pooled(question)


def _of_path(
    method: IntegratedGradients, question: Question, radius: float, ball: Ball
) -> Movement | None:
    """Of a mean slope on the straight way, times that way."""
    if not _stays(question):
        return None
    way = question.x - question.absent
    nodes, weights = quadrature(method.rule, method.steps)
    mean = torch.zeros_like(way, dtype=torch.float64)
    farthest = torch.zeros_like(mean)
    rate = torch.zeros(question.n, dtype=torch.float64, device=way.device)
    for node, weight in zip(nodes.tolist(), weights.tolist()):
        # A place at a share of the way moves by that share.
        points = question.absent + node * way
        slopes = _slopes(question, points, node * radius, ball)
        if slopes is None:
            return None
        # The quadrature that the method itself uses: bounds are of its sum, not of the integral.
        mean += weight * slopes.at
        farthest += abs(weight) * slopes.movement.farthest
        # At the start nothing moves, whatever bends there.
        if node > 0:
            rate += abs(weight) * node * slopes.movement.rate
    slopes = _Slopes(mean, Movement(farthest, rate, way.shape[1]))
    if not method.multiply:
        return slopes.movement.pooled(question)
    return _times_way(slopes, way, radius).pooled(question)


def _times_way(slopes: _Slopes, way: Tensor, radius: float) -> Movement:
    size = way.to(torch.float64).abs()
    # (w + d)(s + e) - w s = w e + d (s + e) for a way w, a slope s and their moves d, e.
    largest = slopes.at.abs() + slopes.movement.farthest
    farthest = size * slopes.movement.farthest + radius * largest
    rate = largest.amax(1) + (size.amax(1) + radius) * slopes.movement.rate
    return Movement(farthest, rate, slopes.movement.elements)


def _stays(question: Question) -> bool:
    """Whether the absent input is the same for every input, so that it does not move with them."""
    fixed = question.fixed_replacements
    return fixed is not None and len(fixed) == 1 and question.replacements == 1


def _slopes(question: Question, points: Tensor, radius: float, ball: Ball) -> _Slopes | None:
    """The slopes at points (n, elements), with what is proved of them around there."""
    target = question.fixed_target
    # A target that bends has slopes of its own, which no range of the network's tells.
    if not target.linear or question.has_context:
        return None
    lows: list[Tensor] = []
    highs: list[Tensor] = []
    curvatures: list[Tensor] = []
    for start in range(0, question.n, _TOGETHER):
        rows = torch.arange(start, min(start + _TOGETHER, question.n), device=points.device)

        def seed(outputs: Tensor, rows: Tensor = rows) -> Tensor:
            # Metrics run without gradients; the slope of the target by the outputs needs them.
            with torch.enable_grad():
                leaf = outputs.detach().requires_grad_()
                (slope,) = torch.autograd.grad(target.score(leaf, rows).sum(), leaf)
            return slope

        radii = torch.full((len(rows),), radius, dtype=torch.float64, device=points.device)
        near: Any = question.model.slope_bounds(
            question.layout.fold(points[rows]), radii, ball, seed
        )
        if near is None:
            return None
        lows.append(near.low)
        highs.append(near.high)
        curvatures.append(near.curvature)
    low = torch.cat(lows)
    high = torch.cat(highs)
    at = question.slope(points).to(torch.float64)
    # What the network itself says has to lie inside, or the copy is another function.
    excused = rounding_tolerance(question.x) * at.abs().amax(1, keepdim=True)
    if bool(((at < low - excused) | (at > high + excused)).any()):
        return None
    farthest = torch.maximum(high - at, at - low).clamp_min(0)
    return _Slopes(at, Movement(farthest, torch.cat(curvatures), at.shape[1]))
