"""Line integrals of the slope from what is absent to the input (path attributions).

The fundamental theorem of calculus makes them complete: credit adds up to f(x) - f(absent)
(Friedman 2004; Sundararajan, Taly and Yan 2017). The three methods differ in the way that is walked
and in the weights of its points alone: straight (`IntegratedGradients`), anything (`Path`), straight
from random rows of a background (`ExpectedGradients`, GradientSHAP). The integral itself is
`Question.integrate`; quadrature rules are in `numerics/integration.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.integration import Rule, check_quadrature, quadrature
from assay.numerics.precision import rounding_tolerance
from assay.question.question import Question

_MOST_STEPS = 4096  # where doubling for a tolerance ends: 64 doubled six times

_PATH_AXIOMS = frozenset(
    {Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE}
)


@final
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The mean slope on the straight way from the absent input, times that way.

    phi_i = (x_i - b_i) sum_k w_k d f(b + a_k (x - b)) / d x_i
    (Sundararajan et al. 2017, equation 1; nodes a_k and weights w_k of a quadrature rule)

    Settings:
        steps: nodes on the way; Gauss-Legendre is exact for polynomials of degree 2 steps - 1.
        rule: the quadrature rule; `right` is the sum of the paper's equation 3.
        tolerance: where given, the steps of an input double, up to 4096, until its completeness gap
            is below it; `facts["steps"]` says how many the hardest input took, and
            `facts["converged"]` whether they sufficed.

    Cost: `steps` forward and backward passes per input. Values: (n, features), in units of the
    target. Errors: InputError for a removal with several replacements, AbilityError for a model
    without slopes.

    >>> import torch, assay
    >>> product = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]))
    >>> IntegratedGradients(steps=2)(product).values
    tensor([[6., 6.]])
    """

    steps: int = 64
    rule: Rule = "gauss_legendre"
    tolerance: float | None = None
    needs = frozenset({Ability.GRADIENT})
    axioms = _PATH_AXIOMS | {Axiom.SYMMETRY}
    cost: ClassVar[str] = "steps gradients"

    def __post_init__(self) -> None:
        check_quadrature(self.rule, self.steps)
        if self.tolerance is not None and not self.tolerance > 0:
            raise SettingError(
                expected="a positive tolerance or None",
                got=self.tolerance,
                advice="It is a gap in units of the target: try 1e-3 of f(x) - f(absent).",
            )

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        if self.tolerance is None:
            return question.pool(self._credit(question, self.steps))
        return self._converged(question, self.tolerance)

    def _converged(self, question: Question, tolerance: float) -> Estimate:
        """Doubles the steps of the inputs whose credit does not add up yet."""
        steps = self.steps
        difference = question.prediction.to(torch.float64) - question.base.to(torch.float64)
        credit = self._credit(question, steps)
        while True:
            # Every input goes on alone, so that its answer does not depend on its neighbours.
            gaps = (difference - credit.sum(1)).abs()
            unfinished = (gaps >= tolerance).nonzero().flatten()
            if len(unfinished) == 0 or steps * 2 > _MOST_STEPS:
                notes = {"steps": steps, "converged": len(unfinished) == 0}
                return Estimate(question.pool(credit), notes=notes)
            steps *= 2
            credit[unfinished] = self._credit(question.take(unfinished), steps)

    def _credit(self, question: Question, steps: int) -> Tensor:
        """Credit of elements (n, elements), float64."""
        start = question.absent
        way = question.x - start
        nodes, weights = quadrature(self.rule, steps)
        alphas = nodes.to(question.x.device, question.x.dtype)

        def straight(rows: Tensor, steps: Tensor) -> tuple[Tensor, None]:
            points = torch.addcmul(start[rows], alphas[steps].unsqueeze(1), way[rows])
            return points, None

        # The velocity is the same at every step: it is multiplied once, behind the sum.
        return way * question.integrate(straight, weights)


@final
@dataclass(frozen=True)
class Path(Method):
    """The line integral of the slope along any path from the absent input to the input.

    phi_i = integral_0^1 d f(g(a)) / d g_i(a) * g_i'(a) da
    (Sundararajan et al. 2017, equation 2; Friedman 2004)

    Settings:
        path: `path(a, b, x)` gives the points (r, elements) for positions a (r, 1), absent rows b
            and inputs x (r, elements), with path(0) = b and path(1) = x; torch differentiates it.
        steps: nodes on the way.
        rule: the quadrature rule.

    Cost: `steps` forward and backward passes per input. Values: (n, features), in units of the
    target. Errors: InputError for a path that does not lead from the absent input to the input.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]))
    >>> Path(lambda a, b, x: b + a**2 * (x - b), steps=8)(question).values
    tensor([[6.0000, 6.0000]])
    """

    path: Callable[[Tensor, Tensor, Tensor], Tensor]
    steps: int = 64
    rule: Rule = "gauss_legendre"
    needs = frozenset({Ability.GRADIENT})
    axioms = _PATH_AXIOMS
    cost: ClassVar[str] = "steps gradients"

    def __post_init__(self) -> None:
        check_quadrature(self.rule, self.steps)

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor:
        x = question.x
        absent = question.absent
        self._check_end(0.0, absent, absent, x)
        self._check_end(1.0, x, absent, x)
        nodes, weights = quadrature(self.rule, self.steps)
        alphas = nodes.to(x.device, x.dtype)

        def along(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
            position = alphas[steps].unsqueeze(1)
            # Forward differentiation gives points and velocities in one pass.
            points, velocities = torch.func.jvp(  # type: ignore[misc]
                lambda a: self.path(a, absent[rows], x[rows]),
                (position,),
                (torch.ones_like(position),),
            )
            return points.detach(), velocities.detach()

        return question.pool(question.integrate(along, weights))

    def _check_end(self, position: float, end: Tensor, absent: Tensor, x: Tensor) -> None:
        point = self.path(torch.full_like(x[:, :1], position), absent, x)
        scale = float(end.abs().max()) + 1
        where = "the absent input" if position == 0.0 else "the input"
        if point.shape != x.shape:
            distance = f"points of shape {tuple(point.shape)}"
        else:
            gap = float((point - end).abs().max())
            if gap <= rounding_tolerance(x) * scale:
                return
            distance = f"points up to {gap:.3g} away from it"
        raise InputError(
            expected=f"a path of points {tuple(x.shape)} whose position {position:g} is {where}",
            got=distance,
            advice="Its signature is path(a, b, x), such as lambda a, b, x: b + a * (x - b).",
        )


@final
@dataclass(frozen=True)
class ExpectedGradients(Method):
    """Integrated gradients averaged over random baselines of the removal's background.

    phi_i = E_{b, a} [(x_i - b_i) d f(b + a (x - b)) / d x_i], b uniform over the background's rows,
    a ~ U(0, 1)      (Erion et al. 2021, equation 5; GradientSHAP)

    Settings:
        draws: points per input. Positions are stratified: draw k lies in (k, k + 1) / draws;
            baselines come in shuffled rounds, so that every row serves equally often.

    Cost: `draws` forward and backward passes per input. Values: (n, features), in units of the
    target. The standard error takes draws as independent, which overstates that of a stratified
    sample.

    >>> import torch, assay
    >>> away = assay.Background(torch.randn(5, 2))
    >>> question = assay.Question(torch.nn.Linear(2, 1), torch.ones(3, 2), removal=away)
    >>> ExpectedGradients(draws=20)(question).values.shape
    torch.Size([3, 2])
    """

    draws: int = 200
    needs = frozenset({Ability.GRADIENT})
    axioms = frozenset({Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE})
    cost: ClassVar[str] = "draws gradients"

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise SettingError(
                expected="at least 2 draws for ExpectedGradients",
                got=self.draws,
                advice="One draw has no standard error: take some hundreds.",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        x = question.x
        streams = rng.streams(seed, question.keys, "expected gradients")
        # One uniform position within each of `draws` equal intervals.
        jitter = streams.uniform((0, 1), self.draws, torch.float64)[:, 0]
        positions = (torch.arange(self.draws, device=x.device) + jitter) / self.draws
        positions = positions.to(x.dtype)
        baselines = _shuffled_rounds(streams, self.draws, question.replacements)
        squares = torch.zeros_like(x, dtype=torch.float64)

        def way(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
            start = question.removed(rows, baselines[rows, steps])
            velocity = x[rows] - start
            points = torch.addcmul(start, positions[rows, steps].unsqueeze(1), velocity)
            return points, velocity

        weights = torch.full((self.draws,), 1.0 / self.draws, dtype=torch.float64)
        mean = question.integrate(way, weights, squares=squares)
        variance = (squares - mean**2).clamp_min(0) / (self.draws - 1)
        # Variances of elements add up, whatever the pooling of their credit.
        standard_error = question.pool(variance, pooling="sum").sqrt()
        return Estimate(question.pool(mean), standard_error)


def _shuffled_rounds(streams: rng.Streams, draws: int, rows: int) -> Tensor:
    """(n, draws) background rows in rounds, each of which is a random order of all rows."""
    rounds = -(-draws // rows)
    orders = []
    for number in range(1, rounds + 1):
        # Sorting uniforms is a uniform permutation; stream 0 holds the positions.
        uniforms = streams.uniform((number, number + 1), rows, torch.float64)[:, 0]
        orders.append(uniforms.argsort(dim=1))
    return torch.cat(orders, dim=1)[:, :draws]
