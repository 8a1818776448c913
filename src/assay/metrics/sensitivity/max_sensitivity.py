"""Max-sensitivity: how much an explanation moves when its input hardly does.

An estimate from samples of the supremum in definition 3.1 of Yeh et al. (2019), and of the local
Lipschitz constant of Alvarez-Melis and Jaakkola (2018), which divides by how far the input moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import InputError, KindError, SettingError
from assay.inputs.spreads import as_spread, check_moves, in_units, left_alone
from assay.methods.base import Method
from assay.metrics.base import Metric, Reading
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.precision import rounding_floor
from assay.perturbations import Perturbation
from assay.question.question import Question

Neighbours: TypeAlias = Callable[[Tensor, int], Tensor]
"""Inputs (n, elements) and the number of a draw to that neighbour of each input, the same shape."""


@final
@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """The largest relative change of an explanation among sampled neighbours of the input.

    SENS_max(phi, x, r) = max_{|d| <= r} |phi(x + d) - phi(x)|_2 / |phi(x)|_2
    (Yeh et al. 2019, definition 3.1; their norm).

    Settings:
        method: the method that is asked again at every neighbour; `compare` fills it in.
        radius: of the ball, in the inputs' units, or in those of `scale`. Categories do not move.
        ball: "linf", where every element moves by up to the radius, or "l2", where the whole step
            is no longer than that.
        draws: neighbours of each input. The maximum is a lower bound of the supremum that grows
            with them: compare at equal draws.
        neighbours: other neighbours than those of the ball: a perturbation I, which gives x - I, or
            a function of the inputs x (n, elements) and the number of the draw, which gives points
            of the same shape. Radius and ball then have no part.
        scale: rows of data; the radius then counts in standard deviations of each of their columns.

    Details, each (n,): `max`, `mean`, and `lipschitz`, the largest
    |phi(x + d) - phi(x)|_2 / |d|_2. 0 / 0 counts as 0. The target stays what it is on the clean
    input; a method that samples is asked anew at every neighbour.

    Cost: `draws` explanations per input. Lower is better, but never alone: a constant explanation
    has 0. Errors: SettingError for settings out of range, KindError for integer inputs,
    InputError for the answer of another method, and whatever the method refuses.

    >>> import torch, assay
    >>> question = assay.Question(torch.nn.Linear(4, 1), torch.randn(3, 4))
    >>> metric = MaxSensitivity(assay.Gradient(), radius=0.1, draws=5)
    >>> metric(question, assay.Gradient()(question)).mean
    0.0
    """

    method: Method | None = None
    radius: float = 0.1
    ball: Literal["linf", "l2"] = "linf"
    draws: int = 50
    neighbours: Perturbation | Neighbours | None = None
    scale: Any = None
    direction: ClassVar[Direction] = "lower"
    ideal: ClassVar[float | None] = 0.0
    units: ClassVar[str] = "relative"
    cost: ClassVar[str] = "draws explanations"
    asks_again: ClassVar[bool] = True
    why: ClassVar[str] = "the explanation is zero and its neighbours are not"

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, Method):
            raise KindError(
                expected="a method to ask again in MaxSensitivity",
                got=repr(self.method),
                advice="Hand over the method itself: MaxSensitivity(Gradient()).",
            )
        object.__setattr__(self, "scale", as_spread(self.scale))
        known = self.neighbours is None or isinstance(self.neighbours, Perturbation)
        if not known and not callable(self.neighbours):
            raise KindError(
                expected="a perturbation or a function of (x, draw) as neighbours",
                got=repr(self.neighbours),
                advice="Write MaxSensitivity(method, neighbours=GaussianNoise(0.1)).",
            )
        if not self.radius > 0 or self.draws < 1 or self.ball not in ("linf", "l2"):
            raise SettingError(
                expected=(
                    "a positive radius, at least one draw and the ball 'linf' or 'l2' "
                    "for MaxSensitivity"
                ),
                got=f"radius={self.radius}, draws={self.draws}, ball={self.ball!r}",
                advice="Start from MaxSensitivity(method, radius=0.1), in the inputs' units.",
            )

    def for_method(self, method: Method) -> MaxSensitivity:
        if self.method is not None:
            return self
        return replace(self, method=method)

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        method = self._required_method()
        for attribution in attributions:
            self._check_method(method, attribution)
        if not question.x.is_floating_point():
            raise KindError(
                expected="floating inputs for MaxSensitivity",
                got=question.x.dtype,
                advice="Convert real numbers with .float(); tokens cannot move a little.",
            )
        if self.neighbours is None:
            check_moves(question.layout, "MaxSensitivity")
        method.check(question)

    def notes(self, question: Question) -> dict[str, str]:
        return left_alone(question.layout) if self.neighbours is None else {}

    def _check_method(self, method: Method, attribution: Attribution) -> None:
        answered_by = attribution.provenance.get("method")
        # Differences between two methods are no moves of an explanation.
        if answered_by and _without_addresses(answered_by) != _without_addresses(repr(method)):
            raise InputError(
                expected=f"an answer of {method!r}, which is asked again at the neighbours",
                got=f"one of {answered_by}",
                advice="Name the method that answered: MaxSensitivity(method).",
            )

    def _required_method(self) -> Method:
        if self.method is None:
            raise InputError(
                expected="the method to ask again",
                got="none",
                advice="Write MaxSensitivity(method, radius=...), or .for_method(method).",
            )
        return self.method

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        n, elements = question.x.shape
        # The same neighbours for all attributions, and for all methods.
        streams = rng.streams(seed, question.keys, "sensitivity")
        clean = [answer.values.to(torch.float64) for answer in attributions]
        changes: list[list[Tensor]] = [[] for _ in attributions]
        lengths: list[Tensor] = []
        for piece in pieces(self._count(question), n * elements):
            draws = (piece.start, piece.stop)
            if isinstance(self.neighbours, Perturbation):
                moves = -self.neighbours.draw(question, seed, draws).step
            elif self.neighbours is not None:
                moves = _moves_of(self.neighbours, question.x, draws)
            else:
                moves = self._moves(streams, draws, elements, question.x.dtype)
                moves = in_units(moves, self.scale, question.layout)
            neighbours = self._explain(question, moves, seed)
            lengths.append(moves.to(torch.float64).norm(dim=2))
            for parts, values in zip(changes, clean):
                difference = neighbours - values.unsqueeze(1)
                parts.append(difference.norm(dim=2))
        # Only norms are kept of the neighbours: (n, draws) for each attribution.
        length = torch.cat(lengths, dim=1)
        readings = []
        for parts, values, answer in zip(changes, clean, attributions):
            change = torch.cat(parts, dim=1)
            readings.append(self._reading(change, values.norm(dim=1), length, answer.values))
        return readings

    def _count(self, question: Question) -> int:
        """How many neighbours each input has; a finite list of perturbations has a size."""
        if isinstance(self.neighbours, Perturbation):
            return self.neighbours.size(question, self.draws)
        return self.draws

    def _explain(self, question: Question, moves: Tensor, seed: int) -> Tensor:
        """The explanations at the neighbours: (n, k, features), float64."""
        n, k = moves.shape[:2]
        # A neighbour keeps the target and the context of its input.
        rows = torch.arange(n, device=moves.device)
        owners = rows.repeat_interleave(k)
        # All at once: the engine cuts them as it cuts inputs.
        points = (question.x.unsqueeze(1) + moves).flatten(0, 1)
        neighbours = question.at(points, owners)
        method = self._required_method()
        values = method.estimate(neighbours, seed).values
        return values.to(torch.float64).view(n, k, -1)

    def _moves(
        self, streams: rng.Streams, draws: tuple[int, int], elements: int, dtype: torch.dtype
    ) -> Tensor:
        """Steps uniform in the ball: (n, k, elements)."""
        if self.ball == "linf":
            uniform = streams.uniform(draws, elements, dtype)
            return (uniform * 2 - 1) * self.radius
        # The first d of d + 2 coordinates of a uniform point on
        # the sphere are uniform in the d-ball.
        normal = streams.normal(draws, elements + 2, dtype)
        sphere: Tensor = normal / normal.norm(dim=2, keepdim=True)
        return sphere[..., :elements] * self.radius

    @staticmethod
    def _reading(change: Tensor, norm: Tensor, length: Tensor, precision: Tensor) -> Reading:
        """The score from changes (n, draws), the clean norms (n,) and lengths (n, draws).

        `precision` is any tensor of the explanations' number type.
        """
        # 0 / 0 counts as 0: zero explanations that stay zero do not move.
        ratio = change / norm.unsqueeze(1)
        # A move within rounding is none.
        moved = change > rounding_floor(precision, norm).unsqueeze(1)
        relative = torch.where(moved, ratio, 0.0)
        # No explanation to be relative to: the input has no score.
        no_norm = torch.isinf(relative)
        largest = torch.where(no_norm, torch.nan, relative).amax(1)
        details = {
            "max": largest,
            "mean": relative.mean(1).nan_to_num(posinf=torch.nan),
            # A neighbour that is the input itself does not move it: 0 / 0 counts as 0.
            "lipschitz": torch.where(change > 0, change / length, 0.0).amax(1),
        }
        return Reading(largest, None, details)


def _without_addresses(description: str) -> str:
    """What a method is called, without the memory addresses of functions among its settings."""
    return re.sub(r" at 0x[0-9a-f]+", "", description)


def _moves_of(function: Neighbours, x: Tensor, draws: tuple[int, int]) -> Tensor:
    """Steps to the neighbours that a function gives: (n, k, elements)."""
    points = [_neighbour(function, x, draw) for draw in range(*draws)]
    return torch.stack(points, dim=1) - x.unsqueeze(1)


def _neighbour(function: Neighbours, x: Tensor, draw: int) -> Tensor:
    """One neighbour of each input (n, elements), from the function that was handed over."""
    advice = "Its signature is neighbours(x, draw), such as lambda x, draw: x + 0.01 * draw."
    expected = f"neighbours of shape {tuple(x.shape)} for draw {draw}"
    try:
        point = function(x.clone(), draw)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise InputError(expected=expected, got=message, advice=advice) from error
    if not isinstance(point, Tensor):
        raise KindError(expected=expected, got=type(point).__name__, advice=advice)
    if point.shape != x.shape or not bool(torch.isfinite(point).all()):
        message = f"shape {tuple(point.shape)}, or numbers that are not finite"
        raise InputError(expected=expected, got=message, advice=advice)
    return point.detach().to(x)
