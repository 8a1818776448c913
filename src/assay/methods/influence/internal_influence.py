"""Internal influence: the mean slope of a quantity at a layer, under a distribution of interest.

Three choices that do not know each other make most methods of slopes (Leino et al. 2018): which
number (the question's target, so `Contrast` says why this class rather than that one), where (the
layer that the question is asked behind, or the inputs), and over which points (of the inputs, of that
layer, or of one before it). At the inputs a point
is the gradient, a line the local form of integrated gradients, a normal distribution SmoothGrad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.influence.distributions import (
    Distribution,
    LineDistribution,
    PointDistribution,
    WeightedPoints,
)
from assay.methods.influence.earlier_layer import EarlierLayer
from assay.models.base import Ability
from assay.numerics.pieces import pieces
from assay.question.question import Question

_POINTS = 1 << 21  # numbers of points and activations held at once: 16 MiB in double precision


@final
@dataclass(frozen=True)
class InternalInfluence(Method):
    """The mean slope of the target at a layer, over a distribution of inputs or of activations.

    phi_j = sum_k w_k d f / d h_j (x_k)      (Leino et al. 2018, definition 1; points x_k with
    weights w_k of a distribution of interest)

    Asked behind a layer, `InternalInfluence()(question.after(layer))`, h are its activations; of a
    question at the inputs they are the inputs. The target is fixed on the clean input: where it is
    the predicted class, it stays that class at every point.

    Settings:
        distribution: over which points: `PointDistribution()`, `LineDistribution()`,
            `GaussianDistribution(scale)`, `DataDistribution(rows)`, or one of your own.

    `TimesInput(InternalInfluence(...))` multiplies by the activation less the absent one. Cost: one
    forward and backward pass for each point. Values: (n, features), in target per unit of
    activation. Errors: InputError for a distribution that the question has no place for, and for a
    line from several replacements.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> question = assay.Question(net, torch.ones(1, 2)).after("1")
    >>> influence = InternalInfluence(PointDistribution())(question).values
    >>> bool(torch.allclose(influence, net[2].weight))
    True
    """

    distribution: Distribution = field(default_factory=LineDistribution)
    needs = frozenset({Ability.GRADIENT})
    kind = Kind.SLOPE
    axioms = frozenset({Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "points gradients"

    def check(self, question: Question) -> None:
        super().check(question)
        place = self._place(question)
        self._check_floating(place)
        self.distribution.check(place)
        if self._is_earlier:
            EarlierLayer(question, place, self.distribution.at).check()

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Tensor | Estimate]:
        question = questions[0]
        place = self._place(question)
        points = self.distribution.points(place, seed)
        squares = None
        if self.distribution.sampled:
            shape = (question.n, question.partition.count)
            squares = [question.x.new_zeros(shape, dtype=torch.float64) for _ in questions]
        if place is question:
            # Points lie where slopes are taken: no way from an earlier place to here.
            totals = _at_question(questions, points, squares)
        elif self._is_earlier:
            earlier = EarlierLayer(question, place, self.distribution.at)
            totals = _before_layer(
                questions, earlier.behind(), earlier.beside_inputs(points), squares
            )
        else:
            totals = _before_layer(questions, question, points, squares)
        means = [asked.pool(total) for asked, total in zip(questions, totals)]
        if squares is None:
            return means
        # Points of a sample are independent and weigh alike.
        rest = len(points.weights) - 1
        variances = [(square - mean**2).clamp_min(0) / rest for mean, square in zip(means, squares)]
        return [Estimate(mean, variance.sqrt()) for mean, variance in zip(means, variances)]

    @property
    def _is_earlier(self) -> bool:
        """Whether points lie at a layer before the one that is attributed."""
        distribution = self.distribution
        named = distribution.at not in ("inputs", "layer")
        return named and not isinstance(distribution, PointDistribution)

    def _place(self, question: Question) -> Question:
        """The question at whose inputs the distribution lies."""
        distribution = self.distribution
        if distribution.at != "inputs" and not question.is_behind_layer:
            raise InputError(
                expected=f"a question behind a layer for {distribution!r}",
                got="one at the network's inputs",
                advice="Ask question.after(layer), or leave at=... out.",
            )
        # The activation of the input itself is known already.
        if distribution.at == "layer" or isinstance(distribution, PointDistribution):
            return question
        if question.is_behind_layer and question.before is question:
            raise InputError(
                expected="activations that inputs lead to, behind a layer",
                got="others in their place",
                advice="Ask question.after(layer) itself, or say at='layer'.",
            )
        return question.before.after(distribution.at) if self._is_earlier else question.before


def _at_question(
    questions: Sequence[Question], points: WeightedPoints, squares: Sequence[Tensor] | None
) -> Sequence[Tensor]:
    """Mean slopes (n, elements) over points that are asked as they are."""

    def way(rows: Tensor, numbers: Tensor) -> tuple[Tensor, None]:
        return points.make(rows, numbers), None

    targets = [asked.fixed_target for asked in questions]
    return questions[0].integrals(targets, way, points.weights, squares=squares)


def _before_layer(
    questions: Sequence[Question],
    behind: Question,
    points: WeightedPoints,
    squares: Sequence[Tensor] | None,
) -> Sequence[Tensor]:
    """Mean slopes (n, units) behind a layer, over points that lead there: inputs of the question
    before `behind`.
    """
    question = questions[0]
    totals = [torch.zeros_like(question.x, dtype=torch.float64) for _ in questions]
    count = len(points.weights)
    shares = points.weights.to(question.x.device)
    # Points and activations are held beside each other: the wider of the two counts.
    held = max(behind.before.x.shape[1], question.x.shape[1])
    for piece in pieces(question.n * count, held, _POINTS):
        numbers = torch.arange(piece.start, piece.stop, device=question.x.device)
        rows = numbers // count
        weights = shares[numbers % count].unsqueeze(1)
        # One forward to the layer for each point serves the slopes of all targets.
        moved = behind.image_at(points.make(rows, numbers % count), rows)
        targets = [asked.fixed_target.take(rows) for asked in questions]
        for which, slopes in enumerate(moved.slopes(targets)):
            slopes = slopes.to(torch.float64)
            totals[which].index_add_(0, rows, slopes * weights)
            if squares is not None:
                # Of features, whose error is asked for: elements of one may vary together.
                pooled = moved.pool(slopes)
                squares[which].index_add_(0, rows, pooled**2 * weights)
    return totals
