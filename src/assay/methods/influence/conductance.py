"""Credit inside a network along the way of the input: conductance.

The input walks straight from what is absent to itself, and a layer's activations walk along, on a
way that is not straight. Conductance is the line integral of the slope behind the layer along that
way (Dhamdhere, Sundararajan and Yan 2018): what passes through each unit. The velocity of the
activations is a derivative in one direction, by forward differentiation, so that quadrature is as
exact as for integrated gradients; finite differences between nodes, the usual way, are of order one.

What of each input passes through one unit is `IntegratedGradients()(question.through(layer, unit))`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.gradients.exact_paths import straight_parts
from assay.models.base import Ability
from assay.numerics.integration import Rule, check_quadrature, quadrature
from assay.numerics.pieces import pieces
from assay.question.question import Question

_POINTS = 1 << 21  # numbers of points and activations held at once: 16 MiB in double precision


@final
@dataclass(frozen=True)
class Conductance(Method):
    """What passes through each unit of a layer, asked behind it: `Conductance()(q.after(layer))`.

    phi_j = sum_k w_k d f / d h_j(x_k) * d h_j(x_k) / d a, x_k = b + a_k (x - b)
    (Dhamdhere et al. 2018, equation 2, summed over the inputs; nodes a_k and weights w_k of a
    quadrature rule)

    Of a question that is asked at the inputs it is integrated gradients. Where signals skip past
    the layer they walk along, and the gap is what passes by them.

    Settings:
        steps: nodes on the way of the input; Gauss-Legendre is exact for polynomials of degree
            2 steps - 1.
        rule: the quadrature rule.
        multiply: whether slopes are multiplied by the velocities of the activations; without it
            the answer is the mean slope on the way, in target per unit of activation (the internal
            influence of Leino et al. 2018 on this way).
        exact: nodes in the middle of every part of the way on which the network is linear, in the
            place of the rule's: no error where it is linear piece by piece, and a refusal by the
            operation's name where it is not (`ExactIntegratedGradients`).

    Cost: `steps` rows forward to the layer, and `steps` forward and backward passes behind it; for
    `exact` as many as the facts say (`pieces`), and up to four rows forward for each to find them.
    Values: (n, features), in units of the target. Errors: InputError for a layer whose absent
    activations are said by a removal of its own, since no input walks there.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> question = assay.Question(net.double(), torch.ones(1, 2).double()).after("0")
    >>> answer = Conductance(steps=20)(question)
    >>> bool(answer.gap.abs() < 1e-9)
    True
    """

    steps: int = 64
    rule: Rule = "gauss_legendre"
    multiply: bool = True
    exact: bool = False
    needs = frozenset({Ability.GRADIENT})
    cost: ClassVar[str] = "steps rows and steps gradients"
    nearly_complete = True

    def __post_init__(self) -> None:
        check_quadrature(self.rule, self.steps)

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION if self.multiply else Kind.SLOPE

    @property
    def axioms(self) -> frozenset[Axiom]:
        kept = frozenset({Axiom.DUMMY, Axiom.LINEARITY})
        return kept | {Axiom.COMPLETENESS} if self.multiply else kept

    def check(self, question: Question) -> None:
        super().check(question)
        question.require_one_replacement()
        self._check_floating(question.before)

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        question = questions[0]
        before = question.before
        notes: dict[str, Any] = {}
        if self.exact:
            # Bends of all targets at once, so that one set of nodes serves every question.
            ways = [before.of(asked.fixed_target) for asked in questions]
            nodes = _Nodes(*straight_parts(ways))
            notes["pieces"] = nodes.owners.bincount(minlength=question.n).tolist()
        else:
            nodes = _Nodes.of_rule(before.n, *quadrature(self.rule, self.steps))
        totals = [torch.zeros_like(question.x, dtype=torch.float64) for _ in questions]
        for at in _walk(before, nodes, question.x.shape[1]):
            # Activations and their velocity from one forward pass, without a step to be chosen.
            moved, velocity = question.image(at.points, at.way, at.rows)
            targets = [asked.fixed_target.take(at.rows) for asked in questions]
            for total, slopes in zip(totals, moved.slopes(targets)):
                # Terms of both signs cancel over the nodes: the sum is one of double precision.
                products = slopes.to(torch.float64)
                if self.multiply:
                    products = products * velocity
                total.index_add_(0, at.rows, products * at.weights)
        return [Estimate(asked.pool(total), notes=notes) for asked, total in zip(questions, totals)]


@final
@dataclass(frozen=True, eq=False)
class _Stretch:
    """Points (r, elements) on the straight ways of the inputs `rows` (r,), these ways (r, elements)
    and the weights of the points (r, 1), float64.
    """

    rows: Tensor
    points: Tensor
    way: Tensor
    weights: Tensor


@final
@dataclass(frozen=True, eq=False)
class _Nodes:
    """Places on the ways of inputs: whose they are (k,), where in [0, 1] and how much they weigh."""

    owners: Tensor
    places: Tensor
    weights: Tensor

    @classmethod
    def of_rule(cls, n: int, nodes: Tensor, weights: Tensor) -> _Nodes:
        """The same nodes for each of n inputs."""
        owners = torch.arange(n).repeat_interleave(len(nodes))
        return cls(owners, nodes.repeat(n), weights.repeat(n))


def _walk(question: Question, nodes: _Nodes, units: int) -> Iterator[_Stretch]:
    """The nodes on the way of every input, as many at once as can be held beside their activations,
    of so many units.
    """
    x = question.x
    start = question.absent
    # The nodes of all inputs in one list: with `exact` every input has its own number of them.
    for piece in pieces(len(nodes.owners), max(x.shape[1], units), _POINTS):
        rows = nodes.owners[piece].to(x.device)
        places = nodes.places[piece].to(x.device, x.dtype)
        way = x[rows] - start[rows]
        points = torch.addcmul(start[rows], places.unsqueeze(1), way)
        yield _Stretch(rows, points, way, nodes.weights[piece].to(x.device).unsqueeze(1))
