"""Line integrals of the slope from what is absent to the input (path attributions).

The fundamental theorem of calculus makes them complete: credit adds up to f(x) - f(absent)
(Friedman 2004; Sundararajan, Taly and Yan 2017). The three methods differ in the way that is walked
and in the weights of its points alone: straight (`IntegratedGradients`), anything (`Path`), straight
from random rows of a background (`ExpectedGradients`, GradientSHAP). Each has a local form
(`multiply=False`): the mean slope on the way, before it is multiplied by the way (Ancona et al. 2018,
section 3). The integral itself is `Question.integrate`; quadrature rules are in
`numerics/integration.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.integration import Rule, check_quadrature, quadrature
from assay.numerics.pieces import pieces
from assay.numerics.precision import rounding_tolerance
from assay.question.question import Question

_MOST_STEPS = 4096  # where doubling for a tolerance ends: 64 doubled six times
_POINTS = 1 << 21  # numbers of a path's points held at once while its velocities are checked
_TRAVELLED = 0.05  # share of the way that quadrature may miss on a path with kinks
_FINE_STEPS = 256  # nodes at which a path is looked at where its own rule is too coarse

_PATH_AXIOMS = frozenset(
    {Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY, Axiom.IMPLEMENTATION_INVARIANCE}
)
_LOCAL_AXIOMS = _PATH_AXIOMS - {Axiom.COMPLETENESS}


def _kind(multiply: bool) -> Kind:
    return Kind.CONTRIBUTION if multiply else Kind.SLOPE


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
        multiply: whether the mean slope is multiplied by the way x - b; without it the answer is
            local, in target per unit of input, and no longer complete.

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
    multiply: bool = True
    needs = frozenset({Ability.GRADIENT})
    cost: ClassVar[str] = "steps gradients"
    nearly_complete = True

    def __post_init__(self) -> None:
        check_quadrature(self.rule, self.steps)
        if self.tolerance is not None and not self.tolerance > 0:
            raise SettingError(
                expected="a positive tolerance or None",
                got=self.tolerance,
                advice="It is a gap in units of the target: try 1e-3 of f(x) - f(absent).",
            )

    @property
    def kind(self) -> Kind:
        return _kind(self.multiply)

    @property
    def axioms(self) -> frozenset[Axiom]:
        # Equal inputs with equal slopes may lie on ways of different lengths: a mean slope is alike.
        kept = _PATH_AXIOMS if self.multiply else _LOCAL_AXIOMS
        return kept | {Axiom.SYMMETRY}

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Tensor | Estimate]:
        if self.tolerance is None:
            means = self._mean_slopes(questions, self.steps)
            return [self._pooled(asked, mean) for asked, mean in zip(questions, means)]
        return self._converged(questions, self.tolerance)

    def _pooled(self, question: Question, slopes: Tensor) -> Tensor:
        """Credit of features from the mean slopes of elements."""
        if self.multiply:
            return question.pool((question.x - question.absent) * slopes)
        return question.pool(slopes)

    def _converged(self, questions: Sequence[Question], tolerance: float) -> list[Estimate]:
        """Doubles the steps of the inputs whose credit does not add up yet."""
        counts = [self.steps] * len(questions)
        converged = [False] * len(questions)
        steps = self.steps
        slopes = self._mean_slopes(questions, steps)
        waiting = list(range(len(questions)))
        while True:
            unfinished: dict[int, Tensor] = {}
            for which in waiting:
                unfinished[which] = _unfinished(questions[which], slopes[which], tolerance)
                converged[which] = len(unfinished[which]) == 0
            waiting = [which for which in waiting if not converged[which]]
            if not waiting or steps * 2 > _MOST_STEPS:
                break
            steps *= 2
            # Every input goes on alone, so that its answer does not depend on its neighbours; an
            # output that is done is not asked again.
            for rows, together in _alike(unfinished, waiting):
                taken = [questions[which].take(rows) for which in together]
                for which, finer in zip(together, self._mean_slopes(taken, steps)):
                    slopes[which][rows] = finer
                    counts[which] = steps
        return [
            Estimate(self._pooled(asked, mean), notes={"steps": count, "converged": done})
            for asked, mean, count, done in zip(questions, slopes, counts, converged)
        ]

    def _mean_slopes(self, questions: Sequence[Question], steps: int) -> list[Tensor]:
        """The mean slope of every element on the way (n, elements), float64, for each question."""
        question = questions[0]
        start = question.absent
        way = question.x - start
        nodes, weights = quadrature(self.rule, steps)
        alphas = nodes.to(question.x.device, question.x.dtype)

        def straight(rows: Tensor, steps: Tensor) -> tuple[Tensor, None]:
            points = torch.addcmul(start[rows], alphas[steps].unsqueeze(1), way[rows])
            return points, None

        # The velocity is the same at every step: it is multiplied once, behind the sum.
        targets = [asked.fixed_target for asked in questions]
        return question.integrals(targets, straight, weights)


def _unfinished(question: Question, slopes: Tensor, tolerance: float) -> Tensor:
    """The inputs whose credit, by mean slopes (n, elements), does not add up yet."""
    way = question.x - question.absent
    difference = question.prediction.to(torch.float64) - question.base.to(torch.float64)
    gaps = (difference - (way * slopes).sum(1)).abs()
    return (gaps >= tolerance).nonzero().flatten()


def _alike(
    unfinished: Mapping[int, Tensor], waiting: Sequence[int]
) -> Iterator[tuple[Tensor, list[int]]]:
    """Inputs that the same outputs are unfinished for, and these outputs: asked together."""
    by_input: dict[int, list[int]] = {}
    for which in waiting:
        for row in unfinished[which].tolist():
            by_input.setdefault(row, []).append(which)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, together in sorted(by_input.items()):
        groups.setdefault(tuple(together), []).append(row)
    for outputs, rows in groups.items():
        yield torch.tensor(rows, device=unfinished[outputs[0]].device), list(outputs)


def _slope_of_each(points: Tensor, position: Tensor) -> Tensor:
    """d points / d position (r, elements), each row by its own position (r, 1).

    Backward twice: the pull of directions w is linear in w, and its slope in w is what is asked for.
    Forward differentiation would do it once, but its first use in a process takes seconds to load.
    """
    nothing = torch.zeros_like(points)
    if not points.requires_grad:
        return nothing
    directions = nothing.requires_grad_()
    (pull,) = torch.autograd.grad(
        points, position, directions, create_graph=True, materialize_grads=True
    )
    if not pull.requires_grad:
        return nothing.detach()
    (velocities,) = torch.autograd.grad(pull.sum(), directions, materialize_grads=True)
    return velocities


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
        multiply: whether slopes are multiplied by the velocity g'(a); without it the answer is the
            mean slope along the path, in target per unit of input.

    Cost: `steps` forward and backward passes per input. Values: (n, features), in units of the
    target. Errors: InputError for a path that does not lead from the absent input to the input, or whose
    velocities do not add up to that way.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1], torch.tensor([[3.0, 4.0]]))
    >>> Path(lambda a, b, x: b + a**2 * (x - b), steps=8)(question).values
    tensor([[6.0000, 6.0000]])
    """

    path: Callable[[Tensor, Tensor, Tensor], Tensor]
    steps: int = 64
    rule: Rule = "gauss_legendre"
    multiply: bool = True
    needs = frozenset({Ability.GRADIENT})
    cost: ClassVar[str] = "steps gradients"
    nearly_complete = True

    def __post_init__(self) -> None:
        check_quadrature(self.rule, self.steps)

    @property
    def kind(self) -> Kind:
        return _kind(self.multiply)

    @property
    def axioms(self) -> frozenset[Axiom]:
        return _PATH_AXIOMS if self.multiply else _LOCAL_AXIOMS

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()

    def values(self, question: Question, seed: int) -> Tensor:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Tensor]:
        question = questions[0]
        x = question.x
        absent = question.absent
        self._check_end(0.0, absent, absent, x)
        self._check_end(1.0, x, absent, x)
        nodes, weights = quadrature(self.rule, self.steps)
        alphas = nodes.to(x.device, x.dtype)
        self._check_velocities(question)

        def along(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor | None]:
            points, velocities = self._walk(alphas[steps], absent[rows], x[rows])
            return points, velocities if self.multiply else None

        targets = [asked.fixed_target for asked in questions]
        totals = question.integrals(targets, along, weights)
        return [asked.pool(total) for asked, total in zip(questions, totals)]

    def _walk(self, alphas: Tensor, absent: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points and velocities (r, elements) at the positions alphas (r,)."""
        with torch.enable_grad():
            leaf = alphas.unsqueeze(1).requires_grad_()
            points = self._points(leaf.clone(), absent, x)
            velocities = _slope_of_each(points, leaf)
        return points.detach(), velocities

    def _points(self, position: Tensor, absent: Tensor, x: Tensor) -> Tensor:
        """What the path says, or a refusal that names it."""
        try:
            points = self.path(position, absent, x)
        except Exception as error:
            raise InputError(
                expected="a path(a, b, x) of points",
                got=f"{type(error).__name__}: {error}",
                advice="Write it in torch: lambda a, b, x: b + a * (x - b), a of shape (r, 1).",
            ) from error
        if not isinstance(points, Tensor):
            raise KindError(
                expected="a tensor of points from the path",
                got=type(points).__name__,
                advice="Write it in torch: lambda a, b, x: b + a * (x - b), a of shape (r, 1).",
            )
        return points

    def _check_velocities(self, question: Question) -> None:
        """Refuses, without asking the model, a path whose velocities do not lead to the input.

        By the fundamental theorem they integrate to x - b, whatever the path; a path that torch
        cannot differentiate (`.detach()`, a jump, a number taken out of the tensor) has velocities
        of zero, and all credit would be zero with them.
        """
        way = (question.x - question.absent).to(torch.float64)
        allowed = _TRAVELLED * float(way.abs().max()) + rounding_tolerance(question.x)
        # A rule of few steps has an error of its own, which is not the path's: a fine one decides.
        rules = [quadrature(self.rule, self.steps), quadrature("gauss_legendre", _FINE_STEPS)]
        gaps = []
        for nodes, weights in rules:
            gap = float((self._travelled(question, nodes, weights) - way).abs().max())
            if gap <= allowed:
                return
            gaps.append(gap)
        raise InputError(
            expected="a path whose velocities add up to x - b",
            got=f"a sum up to {min(gaps):.3g} away from it, over {self.steps} steps",
            advice=(
                "Write the path in differentiable torch, without .detach(), .item() or jumps, or "
                "raise steps if it winds."
            ),
        )

    def _travelled(self, question: Question, nodes: Tensor, weights: Tensor) -> Tensor:
        """The quadrature of the velocities (n, elements), float64."""
        x = question.x
        absent = question.absent
        inputs = torch.arange(len(x), device=x.device)
        alphas = nodes.to(x.device, x.dtype)
        shares = weights.to(x.device, torch.float64)
        travelled = torch.zeros_like(x, dtype=torch.float64)
        for piece in pieces(len(nodes), x.numel(), _POINTS):
            steps = torch.arange(piece.start, piece.stop, device=x.device)
            rows = inputs.repeat_interleave(len(steps))
            _, velocities = self._walk(alphas[steps].repeat(len(x)), absent[rows], x[rows])
            per_input = velocities.to(torch.float64).view(len(x), len(steps), -1)
            travelled += torch.einsum("k,nke->ne", shares[steps], per_input)
        return travelled

    def _check_end(self, position: float, end: Tensor, absent: Tensor, x: Tensor) -> None:
        point = self._points(torch.full_like(x[:, :1], position), absent, x)
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
        multiply: whether slopes are multiplied by the way x - b; without it the answer is the mean
            slope, in target per unit of input.

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
    multiply: bool = True
    needs = frozenset({Ability.GRADIENT})
    axioms = _LOCAL_AXIOMS
    cost: ClassVar[str] = "draws gradients"

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise SettingError(
                expected="at least 2 draws for ExpectedGradients",
                got=self.draws,
                advice="One draw has no standard error: take some hundreds.",
            )

    @property
    def kind(self) -> Kind:
        return _kind(self.multiply)

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        x = question.x
        streams = rng.streams(seed, question.keys, "expected gradients")
        # One uniform position within each of `draws` equal intervals.
        jitter = streams.uniform((0, 1), self.draws, torch.float64)[:, 0]
        positions = (torch.arange(self.draws, device=x.device) + jitter) / self.draws
        positions = positions.to(x.dtype)
        baselines = _shuffled_rounds(streams, self.draws, question.replacements)
        # Elements of one draw share it: they are pooled before they are squared.
        count = question.partition.count
        squares = [
            torch.zeros(len(x), count, dtype=torch.float64, device=x.device) for _ in questions
        ]

        def way(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor | None]:
            start = question.removed(rows, baselines[rows, steps])
            velocity = x[rows] - start
            points = torch.addcmul(start, positions[rows, steps].unsqueeze(1), velocity)
            return points, velocity if self.multiply else None

        weights = torch.full((self.draws,), 1.0 / self.draws, dtype=torch.float64)
        targets = [asked.fixed_target for asked in questions]
        totals = question.integrals(targets, way, weights, squares=squares)
        estimates = []
        for total, square in zip(totals, squares):
            mean = question.pool(total)
            variance = (square - mean**2).clamp_min(0) / (self.draws - 1)
            estimates.append(Estimate(mean, variance.sqrt()))
        return estimates


def _shuffled_rounds(streams: rng.Streams, draws: int, rows: int) -> Tensor:
    """(n, draws) background rows in rounds, each of which is a random order of all rows."""
    rounds = -(-draws // rows)
    orders = []
    for number in range(1, rounds + 1):
        # Sorting uniforms is a uniform permutation; stream 0 holds the positions.
        uniforms = streams.uniform((number, number + 1), rows, torch.float64)[:, 0]
        orders.append(uniforms.argsort(dim=1))
    return torch.cat(orders, dim=1)[:, :draws]
