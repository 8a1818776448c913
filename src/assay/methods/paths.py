"""Line integrals of the slope from what is absent to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.integration import Rule, quadrature
from assay.numerics.precision import rounding_tolerance
from assay.question.question import Question

_MOST_STEPS = 4096

_PATH_AXIOMS = frozenset(
    {Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE}
)


@final
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The mean slope on the straight way from the absent input, times that way.

    phi_i = (x_i - b_i) sum_k w_k d f(b + a_k (x - b)) / d x_i
    (Sundararajan et al. 2017, equation 1; nodes a_k and weights w_k of a quadrature rule, `right`
    being their equation 3) Cost: `steps` forward and backward passes per input. With `tolerance`,
    the steps of an input double until its completeness gap is below it; `facts["steps"]` says how
    many the hardest input took, and `facts["converged"]` whether they sufficed. Units: target.
    Gauss-Legendre is exact for polynomials of degree 2 steps - 1 along the way.

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
        quadrature(self.rule, self.steps)
        if self.tolerance is not None and not self.tolerance > 0:
            raise SettingError(
                expected="a positive tolerance or None",
                got=self.tolerance,
                advice="",
            )

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        if self.tolerance is None:
            return question.pool(self._along(question, self.steps))
        due, steps = (
            question.prediction.to(torch.float64) - question.base.to(torch.float64),
            self.steps,
        )
        elements = self._along(question, steps)
        while True:
            # Every input goes on alone, so that its answer does not depend on its neighbours.
            open_ = ((due - elements.sum(1)).abs() >= self.tolerance).nonzero().flatten()
            if len(open_) == 0 or steps * 2 > _MOST_STEPS:
                return Estimate(
                    question.pool(elements), notes={"steps": steps, "converged": len(open_) == 0}
                )
            steps *= 2
            elements[open_] = self._along(question.take(open_), steps)

    def _along(self, question: Question, steps: int) -> Tensor:
        """Credit of elements (n, elements), float64."""
        start = question.absent
        way = question.x - start
        nodes, weights = quadrature(self.rule, steps)
        alphas = nodes.to(question.x.device, question.x.dtype)

        def straight(rows: Tensor, steps: Tensor) -> tuple[Tensor, None]:
            return torch.addcmul(start[rows], alphas[steps].unsqueeze(1), way[rows]), None

        return way * question.integrate(straight, weights)


@final
@dataclass(frozen=True)
class Path(Method):
    """The line integral of the slope along any path from the absent input to the input.

    phi_i = integral_0^1 d f(g(a)) / d g_i(a) * g_i'(a) da      (Sundararajan et al. 2017, equation 2; Friedman 2004)
    `path(a, b, x)` gives the points (r, elements) for positions a (r, 1), absent rows b and inputs
    x (r, elements), with path(0) = b and path(1) = x; it is differentiated by torch. Cost: `steps`
    forward and backward passes per input. Units: target.

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
        quadrature(self.rule, self.steps)

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor:
        absent, x = question.absent, question.x
        self._ends(absent, x)
        nodes, weights = quadrature(self.rule, self.steps)
        alphas = nodes.to(x.device, x.dtype)

        def along(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
            position = alphas[steps].unsqueeze(1)
            points, velocities = torch.func.jvp(  # type: ignore[misc]
                lambda a: self.path(a, absent[rows], x[rows]),
                (position,),
                (torch.ones_like(position),),
            )
            return points.detach(), velocities.detach()

        return question.pool(question.integrate(along, weights))

    def _ends(self, absent: Tensor, x: Tensor) -> None:
        for position, end in ((0.0, absent), (1.0, x)):
            point = self.path(torch.full_like(x[:, :1], position), absent, x)
            scale = float(end.abs().max()) + 1
            if (
                point.shape != x.shape
                or float((point - end).abs().max()) > rounding_tolerance(x) * scale
            ):
                where = "the absent input" if position == 0.0 else "the input"
                raise InputError(
                    f"Expected a path of points {tuple(x.shape)} whose position {position:g} is {where}."
                )


@final
@dataclass(frozen=True)
class ExpectedGradients(Method):
    """Integrated gradients averaged over baselines from the removal's background, one random
    position on each way.

    phi_i = E_{b, a} [(x_i - b_i) d f(b + a (x - b)) / d x_i], b uniform over the background's rows,
    a ~ U(0, 1) (Erion et al. 2021, equation 5). Positions are stratified: draw k lies in ((k, k +
    1) / draws), and baselines come in shuffled rounds, so that every row serves equally often.
    Cost: `draws` forward and backward passes per input. Units: target. The standard error takes
    draws as independent, which overstates that of a stratified sample.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(2, 1), torch.ones(3, 2), removal=assay.Background(torch.randn(5, 2)))
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
                advice="",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        x = question.x
        streams = rng.streams(seed, question.keys, "expected gradients")
        alphas = (
            torch.arange(self.draws, device=x.device)
            + streams.uniform((0, 1), self.draws, torch.float64)[:, 0]
        ) / self.draws
        alphas = alphas.to(x.dtype)
        baselines = _rounds(streams, self.draws, question.replacements)
        squares = torch.zeros_like(x, dtype=torch.float64)

        def way(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
            start = question.removed(rows, baselines[rows, steps])
            velocity = x[rows] - start
            return torch.addcmul(start, alphas[rows, steps].unsqueeze(1), velocity), velocity

        weights = torch.full((self.draws,), 1.0 / self.draws, dtype=torch.float64)
        mean = question.integrate(way, weights, squares=squares)
        variance = (squares - mean**2).clamp_min(0) / (self.draws - 1)
        return Estimate(question.pool(mean), question.pool(variance, pooling="sum").sqrt())


def _rounds(streams: rng.Streams, draws: int, rows: int) -> Tensor:
    """(n, draws) background rows in shuffled rounds: each round is a random order of all rows."""
    rounds = -(-draws // rows)
    order = [
        streams.uniform((1 + r, 2 + r), rows, torch.float64)[:, 0].argsort(dim=1)
        for r in range(rounds)
    ]
    return torch.cat(order, dim=1)[:, :draws]
