"""Gradient sensitivity: the largest singular value of an explanation's Jacobian.

What an infinitely small step can move an explanation by, at most: the limit of the Lipschitz
sensitivity as its radius goes to 0 (SENS_grad, Yeh et al. 2019, section 3). Columns of the Jacobian
are central differences of explanations; where they are many and the Jacobian is symmetric, as that of
a slope is, the power method needs a few of its products alone (von Mises and Pollaczek-Geiringer
1929).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import InputError, KindError, SettingError
from assay.inputs.spreads import check_moves
from assay.methods.base import Method
from assay.metrics.base import Metric, Reading
from assay.metrics.sensitivity.upper_bounds import movement
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question

_CLOSE = 1e-6  # relative change of the singular value at which the power method stops
_ALIKE = 1e-3  # relative difference of u' J v and v' J u up to which a Jacobian counts as symmetric


@final
@dataclass(frozen=True)
class GradientSensitivity(Metric):
    """The largest singular value of the derivative of an explanation by its input.

    SENS_grad(phi, x) = |d phi(x) / d x|_2      (Yeh et al. 2019, section 3)

    Settings:
        method: the method whose explanations are differentiated; `compare` fills it in.
        step: of the central differences, in the inputs' units; by default the cube root of the
            inputs' precision (6e-6 in double, 5e-3 in single).
        largest: up to so many elements every column of the Jacobian is made.
        iterations: of the power method, at most, for more elements.

    Details, each (n,): `upper`, a proved bound where there is one (as in `MaxSensitivity`), else NaN;
    `asymmetry`, |u' J v - v' J u| of random directions relative to |J|, 0 where all columns were
    made; `converged`, 1 or 0. A kink within the step of a difference shows as a large quotient: a
    rectified network's slopes have derivative 0 almost everywhere.

    Cost: 2 explanations for each element, or up to 4 `iterations`. Units: those of the explanation,
    per unit of input. Lower is better, but never alone. Errors: SettingError for settings out of
    range, KindError for integer inputs, InputError for more elements than `largest` where the
    Jacobian is not symmetric, and whatever the method refuses.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: (x**2).sum(1), torch.ones(1, 3, dtype=torch.float64))
    >>> metric = GradientSensitivity(assay.Gradient())
    >>> round(metric(question, assay.Gradient()(question)).mean, 6)
    2.0
    """

    method: Method | None = None
    step: float | None = None
    largest: int = 128
    iterations: int = 50
    direction: ClassVar[Direction] = "lower"
    units: ClassVar[str] = "credit per input"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "2 explanations for each element, or 4 iterations"
    asks_again: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, Method):
            raise KindError(
                expected="a method to ask again in GradientSensitivity",
                got=repr(self.method),
                advice="Hand over the method itself: GradientSensitivity(Gradient()).",
            )
        bad_step = self.step is not None and not self.step > 0
        if bad_step or self.largest < 1 or self.iterations < 1:
            raise SettingError(
                expected="a positive step, and at least 1 as largest and iterations",
                got=f"step={self.step}, largest={self.largest}, iterations={self.iterations}",
                advice="Start from GradientSensitivity(method).",
            )

    def for_method(self, method: Method) -> GradientSensitivity:
        return self if self.method is not None else replace(self, method=method)

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        method = self._required_method()
        if not question.x.is_floating_point():
            raise KindError(
                expected="floating inputs for GradientSensitivity",
                got=question.x.dtype,
                advice="Convert real numbers with .float(); tokens cannot move a little.",
            )
        check_moves(question.layout, "GradientSensitivity")
        method.check(question)

    def _required_method(self) -> Method:
        if self.method is None:
            raise InputError(
                expected="the method to ask again",
                got="none",
                advice="Write GradientSensitivity(method), or .for_method(method).",
            )
        return self.method

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        jacobian = _Jacobian(question, self._required_method(), seed, self._step(question))
        if question.x.shape[1] <= self.largest:
            largest, details = _by_columns(jacobian)
        else:
            largest, details = self._by_power(jacobian)
        details["upper"] = self._upper(question)
        # It is a property of the method at the input: the same for every answer of it.
        return [Reading(largest, None, dict(details)) for _ in attributions]

    def _step(self, question: Question) -> float:
        if self.step is not None:
            return self.step
        # Balances the rounding of a difference, eps / h, with its truncation, h^2.
        return float(torch.finfo(question.x.dtype).eps ** (1 / 3))

    def _upper(self, question: Question) -> Tensor:
        none = torch.full((question.n,), torch.nan, dtype=torch.float64, device=question.x.device)
        # At a radius of 0, since the derivative is that of the input itself.
        proved = movement(self._required_method(), question, 0.0, "l2")
        if proved is None:
            return none
        return torch.where(proved.rate.isinf(), none, proved.rate)

    def _by_power(self, jacobian: _Jacobian) -> tuple[Tensor, dict[str, Tensor]]:
        question = jacobian.question
        n, elements = question.x.shape
        streams = rng.streams(jacobian.seed, question.keys, "power method")
        # One direction to start from, and a second that the symmetry is tested with.
        first, second = streams.normal((0, 2), elements, torch.float64).unbind(1)
        vector = _unit(first)
        value = torch.zeros(n, dtype=torch.float64, device=vector.device)
        product = self._symmetric(jacobian, vector)
        asymmetry = _asymmetry(product, jacobian, vector, _unit(second))
        if bool((asymmetry > _ALIKE).any()):
            raise InputError(
                expected=f"at most {self.largest} elements, or a symmetric Jacobian, for {self!r}",
                got=f"{elements} elements and {float(asymmetry.max()):.2g} of asymmetry",
                advice="Raise `largest` (2 explanations for each element), or ask a smaller input.",
            )
        converged = torch.zeros(n, dtype=torch.bool, device=vector.device)
        for _ in range(self.iterations):
            # Twice: a pair of values of opposite sign would turn the vector to and fro.
            vector = _unit(jacobian.times(_unit(product)))
            product = jacobian.times(vector)
            following = product.norm(dim=1)
            converged = (following - value).abs() <= _CLOSE * following
            # |J v| of a unit v is at most the singular value: the largest one seen is the nearest.
            value = torch.maximum(value, following)
            if bool(converged.all()):
                break
        details = {"asymmetry": asymmetry, "converged": converged.to(torch.float64)}
        return value, details

    def _symmetric(self, jacobian: _Jacobian, vector: Tensor) -> Tensor:
        """A product with a Jacobian that can be symmetric."""
        question = jacobian.question
        if not question.partition.identity:
            raise InputError(
                expected=f"features that own one element each for {self!r}",
                got=f"{question.x.shape[1]} elements, above `largest`, of {question.features!r}",
                advice="Ask about Elements(), or raise `largest`.",
            )
        return jacobian.times(vector)


@final
@dataclass(frozen=True, eq=False)
class _Jacobian:
    """The derivative of explanations by their inputs, in products."""

    question: Question
    method: Method
    seed: int
    step: float

    def times(self, vectors: Tensor) -> Tensor:
        """J v for unit vectors (n, elements) or (n, k, elements): (n, ..., features), float64."""
        several = vectors if vectors.dim() == 3 else vectors.unsqueeze(1)
        moves = (self.step * several).to(self.question.x.dtype)
        x = self.question.x.unsqueeze(1)
        # Central differences: their error falls with the square of the step.
        points = torch.stack([x + moves, x - moves], dim=2)
        n, k = several.shape[:2]
        owners = torch.arange(n, device=points.device).repeat_interleave(2 * k)
        # Targets and contexts stay those of the input that each point is near.
        near = self.question.at(points.flatten(0, 2), owners)
        values = self.method.estimate(near, self.seed).values.to(torch.float64)
        ahead, behind = values.view(n, k, 2, -1).unbind(2)
        products = (ahead - behind) / (2 * self.step)
        return products if vectors.dim() == 3 else products[:, 0]


def _by_columns(jacobian: _Jacobian) -> tuple[Tensor, dict[str, Tensor]]:
    """The largest singular values (n,) from every column."""
    n, elements = jacobian.question.x.shape
    everything = torch.eye(elements, dtype=torch.float64, device=jacobian.question.x.device)
    columns = []
    # A piece of the columns at a time: each column takes two explanations of every input.
    for piece in pieces(elements, 2 * n * elements):
        columns.append(jacobian.times(everything[piece].expand(n, -1, -1)))
    # The columns lie along dim 1: a transposed Jacobian has the same singular values.
    largest = torch.linalg.matrix_norm(torch.cat(columns, dim=1), 2)
    return largest, {"asymmetry": torch.zeros_like(largest), "converged": torch.ones_like(largest)}


def _unit(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors / length.clamp_min(torch.finfo(vectors.dtype).tiny)


def _asymmetry(product: Tensor, jacobian: _Jacobian, first: Tensor, second: Tensor) -> Tensor:
    """|u' J v - v' J u| / |J|, from J u (n, elements)."""
    other = jacobian.times(second)
    # Two products tell symmetry up to chance, without a transposed Jacobian to multiply by.
    difference = ((second * product).sum(1) - (first * other).sum(1)).abs()
    size = torch.maximum(product.norm(dim=1), other.norm(dim=1))
    return torch.where(size > 0, difference / size, 0.0)
