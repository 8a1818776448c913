"""What the sensitivities share: a method that is asked again at neighbours of the inputs.

Neighbours are sampled (Yeh et al. 2019, definition 3.1, takes a supremum: the largest of samples is a
lower bound of it, and in many dimensions a poor one), then looked for by ascent, and last bounded from
above where something is proved of the method and the network. The ascent is the power method: the
next step is where the explanation's change of now would grow fastest, were its derivative symmetric,
as that of a slope is; whatever it finds is a change, and so a lower bound.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.errors import InputError, KindError, SettingError
from assay.inputs.spreads import as_spread, check_moves, in_units, left_alone
from assay.methods.base import Method
from assay.metrics.base import Metric, Reading
from assay.metrics.sensitivity.shared_changes import SharedChanges, digest_of, shared_changes
from assay.metrics.sensitivity.upper_bounds import Movement, movement
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.precision import rounding_floor
from assay.perturbations import Perturbation
from assay.question.question import Question

Neighbours: TypeAlias = Callable[[Tensor, int], Tensor]
"""Inputs (n, elements) and the number of a draw to that neighbour of each input, the same shape."""

_PROBE = 0.25  # of the radius: how far the ascent looks for where a change grows


@final
@dataclass(frozen=True, eq=False)
class Changes:
    """How far an explanation moved at k neighbours of each input.

    Settings:
        change: the norm of the move, (n, k), float64; 0 where it is within rounding.
        norm: of the explanation at the input, (n,).
        length: of the step to the neighbour, (n, k).
    """

    change: Tensor
    norm: Tensor
    length: Tensor

    @property
    def relative(self) -> Tensor:
        """|phi(x + d) - phi(x)| / |phi(x)|; 0 / 0 counts as 0."""
        ratio = self.change / self.norm.unsqueeze(1)
        return torch.where(self.change > 0, ratio, 0.0)

    @property
    def rate(self) -> Tensor:
        """|phi(x + d) - phi(x)| / |d|; 0 / 0 counts as 0."""
        return torch.where(self.change > 0, self.change / self.length, 0.0)

    def joined(self, other: Changes) -> Changes:
        """The same at the neighbours of both."""
        change = torch.cat([self.change, other.change], dim=1)
        return Changes(change, self.norm, torch.cat([self.length, other.length], dim=1))


@dataclass(frozen=True)
class NeighbourSensitivity(Metric):
    """A metric that asks the method again near the inputs."""

    method: Method | None = None
    radius: float = 0.1
    ball: Literal["linf", "l2"] = "linf"
    draws: int = 50
    neighbours: Perturbation | Neighbours | None = None
    scale: Any = None
    ascent: int = 5
    asks_again: ClassVar[bool] = True
    ideal: ClassVar[float | None] = 0.0
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    cost: ClassVar[str] = "draws + 3 ascent explanations"

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, Method):
            raise KindError(
                expected=f"a method to ask again in {type(self).__name__}",
                got=repr(self.method),
                advice=f"Hand over the method itself: {type(self).__name__}(Gradient()).",
            )
        # The dataclass is frozen; whatever form a scale comes in, one is kept.
        object.__setattr__(self, "scale", as_spread(self.scale))
        known = self.neighbours is None or isinstance(self.neighbours, Perturbation)
        if not known and not callable(self.neighbours):
            raise KindError(
                expected="a perturbation or a function of (x, draw) as neighbours",
                got=repr(self.neighbours),
                advice=f"Write {type(self).__name__}(method, neighbours=GaussianNoise(0.1)).",
            )
        few = self.draws < 1 or self.ascent < 0
        if not self.radius > 0 or few or self.ball not in ("linf", "l2"):
            raise SettingError(
                expected=(
                    "a positive radius, at least one draw, an ascent of at least 0 steps and the "
                    f"ball 'linf' or 'l2' for {type(self).__name__}"
                ),
                got=(
                    f"radius={self.radius}, draws={self.draws}, ascent={self.ascent}, "
                    f"ball={self.ball!r}"
                ),
                advice=f"Start from {type(self).__name__}(method, radius=0.1), in the inputs' units.",
            )

    def for_method(self, method: Method) -> Self:
        if self.method is not None:
            return self
        return replace(self, method=method)

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        method = self._required_method()
        for attribution in attributions:
            self._check_method(method, attribution)
        if not question.x.is_floating_point():
            raise KindError(
                expected=f"floating inputs for {type(self).__name__}",
                got=question.x.dtype,
                advice="Convert real numbers with .float(); tokens cannot move a little.",
            )
        if self.neighbours is None:
            check_moves(question.layout, type(self).__name__)
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
                advice=f"Name the method that answered: {type(self).__name__}(method).",
            )

    def _required_method(self) -> Method:
        if self.method is None:
            raise InputError(
                expected="the method to ask again",
                got="none",
                advice=f"Write {type(self).__name__}(method, radius=...), or .for_method(method).",
            )
        return self.method

    @abstractmethod
    def statistic(self, changes: Changes) -> Tensor:
        """What is measured of each change, (n, k); infinite where there is nothing to divide by."""

    @abstractmethod
    def bound(self, proved: Movement, norm: Tensor) -> Tensor:
        """The largest that the statistic can be, (n,), for explanations of a norm (n,)."""

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        proved = None
        # Bounds are about balls in the inputs' own units.
        if self.neighbours is None and self.scale is None:
            method = self._required_method()
            proved = movement(method, question, self.radius, self.ball)
        return [
            self._reading(sampled, found, proved)
            for sampled, found in self._found(question, attributions, seed)
        ]

    def _found(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[tuple[Changes, Changes]]:
        """The changes of each attribution at sampled neighbours, and with those of the ascent; once
        for all sensitivities of a comparison.
        """
        known: SharedChanges[Any] | None = shared_changes()
        if known is None:
            return self._asked(question, attributions, seed)
        sizes = (self.radius, self.ball, self.draws, self.ascent, seed)
        key = (question.digest, digest_of(attributions), sizes)
        # Objects may hold what no name of theirs tells.
        objects = (self.method, self.neighbours, self.scale)
        found: list[tuple[Changes, Changes]] = known.once(
            key, objects, lambda: self._asked(question, attributions, seed)
        )
        return found

    def _asked(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[tuple[Changes, Changes]]:
        # The same neighbours for all attributions, and for all methods.
        sampled, farthest = self._sampled(question, attributions, seed)
        pairs = []
        for changes, start, answer in zip(sampled, farthest, attributions):
            found = changes
            if self._ascends(question):
                clean = answer.values.to(torch.float64)
                found = changes.joined(self._climbed(question, start, clean, answer.values, seed))
            pairs.append((changes, found))
        return pairs

    def _sampled(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> tuple[list[Changes], list[Tensor]]:
        """The changes at sampled neighbours of each attribution, and the step to the one that
        changes most, (n, elements).
        """
        n, elements = question.x.shape
        # By each input's own key: its neighbours do not depend on the batch that it is in.
        streams = rng.streams(seed, question.keys, "sensitivity")
        clean = [answer.values.to(torch.float64) for answer in attributions]
        count = self._count(question)
        # Before any neighbour: small tensors that are kept between large ones would hold their memory.
        lengths = question.x.new_zeros(n, count, dtype=torch.float64)
        changes = [torch.zeros_like(lengths) for _ in attributions]
        farthest = [torch.zeros_like(question.x) for _ in attributions]
        # Below any change, so that the first neighbour always sets the record.
        record = [torch.full_like(lengths[:, 0], -1.0) for _ in attributions]
        rows = torch.arange(n, device=question.x.device)
        for piece in pieces(count, n * elements):
            moves = self._moves_of_piece(question, streams, piece, seed)
            neighbours = self._explain(question, moves, seed)
            # In double precision: squares of a small step vanish in half.
            lengths[:, piece] = moves.to(torch.float64).norm(dim=2)
            for which, (values, answer) in enumerate(zip(clean, attributions)):
                part = _changes(neighbours, values, lengths[:, piece], answer.values).change
                changes[which][:, piece] = part
                # Only norms are kept of the neighbours, and the best step.
                best = part.argmax(1)
                larger = part[rows, best] > record[which]
                record[which][larger] = part[rows, best][larger]
                farthest[which][larger] = moves[rows, best][larger]
        found = [
            Changes(change, values.norm(dim=1), lengths) for change, values in zip(changes, clean)
        ]
        return found, farthest

    def _moves_of_piece(
        self, question: Question, streams: rng.Streams, piece: slice, seed: int
    ) -> Tensor:
        """The steps to some neighbours, by number: (n, k, elements)."""
        draws = (piece.start, piece.stop)
        if isinstance(self.neighbours, Perturbation):
            # Perturbations are taken off, x - I: the step to their neighbour is -I.
            return -self.neighbours.draw(question, seed, draws).step
        if self.neighbours is not None:
            return _moves_of(self.neighbours, question.x, draws)
        moves = self._moves(streams, draws, question.x.shape[1], question.x.dtype)
        return in_units(moves, self.scale, question.layout)

    # --- ascent

    def _ascends(self, question: Question) -> bool:
        # Neighbours of one's own are a list, in which nothing lies between.
        return self.neighbours is None and self.ascent > 0

    def _climbed(
        self, question: Question, start: Tensor, values: Tensor, precision: Tensor, seed: int
    ) -> Changes:
        """The changes on the way up from a step (n, elements)."""
        rows = torch.arange(question.n, device=start.device)
        move = start
        # The values there, of which the ascent needs the direction.
        there = self._explain(question, move.unsqueeze(1), seed)[:, 0]
        steps = []
        for _ in range(self.ascent):
            change = there - values
            elements = change
            if not question.partition.identity:
                elements = question.partition.spread(change, rows)
            # Of a symmetric Jacobian J, as slopes have, J (change) points where the change grows.
            # Of others it is a guess, and what is found still a lower bound.
            probe = self._longest(question, elements.to(move.dtype)) * _PROBE
            # A probe may lie outside of the ball: it tells where to go, and is not counted.
            both = torch.stack([move + probe, move - probe], dim=1)
            ahead, behind = self._explain(question, both, seed).unbind(1)
            growth = ahead - behind
            if not question.partition.identity:
                growth = question.partition.spread(growth, rows)
            # A step to the edge of the ball: to first order, changes are largest there.
            following = self._longest(question, growth.to(move.dtype))
            # Where nothing grows there is no way up.
            flat = ~growth.any(dim=1, keepdim=True)
            move = torch.where(flat, move, following)
            there = self._explain(question, move.unsqueeze(1), seed)[:, 0]
            length = move.to(torch.float64).norm(dim=1, keepdim=True)
            steps.append(_changes(there.unsqueeze(1), values, length, precision))
        climbed = steps[0]
        for step in steps[1:]:
            climbed = climbed.joined(step)
        return climbed

    def _longest(self, question: Question, direction: Tensor) -> Tensor:
        """The step of the ball that goes farthest along directions (n, elements)."""
        if self.ball == "linf":
            step = self.radius * direction.sign()
        else:
            length = direction.norm(dim=1, keepdim=True)
            tiny = torch.finfo(direction.dtype).tiny
            step = self.radius * direction / length.clamp_min(tiny)
        return in_units(step, self.scale, question.layout)

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

    def _reading(self, sampled: Changes, found: Changes, proved: Movement | None) -> Reading:
        statistic = self.statistic(sampled)
        largest = _defined(statistic).amax(1)
        # NaN where nothing is proved: infinity would read as something that was found.
        upper = torch.full_like(largest, torch.nan)
        if proved is not None:
            # What cannot move has no change, whatever it is relative to; infinity is no bound.
            upper = self.bound(proved, sampled.norm)
            upper = torch.where(proved.farthest.any(1), upper, 0.0)
            upper = torch.where(upper.isinf(), torch.nan, upper)
        details = {
            "max": _defined(sampled.relative).amax(1),
            "mean": sampled.relative.mean(1).nan_to_num(posinf=torch.nan),
            # A neighbour that is the input itself does not move it: 0 / 0 counts as 0.
            "lipschitz": sampled.rate.amax(1),
            "found": _defined(self.statistic(found)).amax(1),
            "upper": upper,
        }
        return Reading(largest, None, details)


def _defined(relative: Tensor) -> Tensor:
    """Infinite ones, which have no explanation to be relative to, as no score."""
    return torch.where(torch.isinf(relative), torch.nan, relative)


def _changes(neighbours: Tensor, values: Tensor, length: Tensor, precision: Tensor) -> Changes:
    """The changes from values (n, features) to those at neighbours (n, k, features).

    `precision` is any tensor of the explanations' number type.
    """
    change = (neighbours - values.unsqueeze(1)).norm(dim=2)
    norm = values.norm(dim=1)
    # A move within rounding is none.
    moved = change > rounding_floor(precision, norm).unsqueeze(1)
    return Changes(torch.where(moved, change, 0.0), norm, length)


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
