"""Optimal explanations: what minimises infidelity, in closed form.

Infidelity is a squared error that is linear in the explanation: its minimiser is a least-squares
fit, E[I I'] phi = E[I (f(x) - f(x - I))] (Yeh et al. 2019, proposition 3.1). Many explanations are
this one for some law: the gradient for noise that vanishes, occlusion for one coordinate at a time,
the Shapley value for the Shapley kernel, anything that adds up for everything at once (ibid.,
propositions 2.2 to 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.optimal.design import Design
from assay.methods.optimal.solvers import Dense, Iterative, Solver, accounts, moments
from assay.methods.wrappers import Smoothed
from assay.numerics.statistics import widening
from assay.perturbations import (
    Coordinates,
    DifferenceToBaseline,
    Perturbation,
    ShapleyKernel,
    SubsetToBaseline,
)
from assay.question.question import Question

_FEWEST = 2000  # draws where nobody says how many
_EACH = 10  # draws for each feature, where nobody says

_KEPT: dict[type[Perturbation], frozenset[Axiom]] = {
    Coordinates: frozenset({Axiom.DUMMY, Axiom.SYMMETRY}),
    DifferenceToBaseline: frozenset({Axiom.COMPLETENESS, Axiom.SYMMETRY}),
    ShapleyKernel: frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY}),
    SubsetToBaseline: frozenset({Axiom.SYMMETRY}),
}


@final
@dataclass(frozen=True)
class Optimal(Method):
    """The explanation with the least infidelity under a law of perturbations I.

    phi = (E[I I'] + ridge)^+ E[I (f(x) - f(x - I))]      (Yeh et al. 2019, proposition 3.1)

    Settings:
        perturbation: the law. Where it removes features the values are contributions and I counts
            what is removed as 1; where it moves the input (noise) they are slopes.
        ridge: added to the diagonal of E[I I'], in its units; it shrinks values towards 0.
        draws: perturbations of each input; by default ten for each feature and 2,000 at least. Laws
            that are known whole, lists such as `Squares` and all subsets of few features, are gone
            through once and have no sampling error.
        solver: "dense" for the pseudo-inverse of a matrix (features x features), "iterative" for
            conjugate gradients; by default the matrix up to `largest` features.
        largest: that many.

    Several solutions of the same infidelity, as of one perturbation, are told apart by their norm,
    of which the least is taken. Scored on the very list of perturbations it was fitted to it is the
    floor of infidelity and no competitor. The standard error is that of a regression (White 1980).

    Cost: `draws` evaluations per input (times the draws of the removal), and features^2 draws
    products for the matrix. Values: (n, features), in units of the target, or per unit of input.
    Errors: SettingError for settings out of range, InputError for too few draws to determine values
    without a ridge, or noise on features that own several elements.

    >>> import assay
    >>> model = lambda x: 2 * x[:, 0] + x[:, 1] * x[:, 2]
    >>> question = assay.Question(model, torch.tensor([[1.0, 2.0, 3.0]]))
    >>> Optimal(assay.ShapleyKernel())(question).values.round(decimals=4)
    tensor([[2., 3., 3.]])
    """

    perturbation: Perturbation
    ridge: float = 0.0
    draws: int | None = None
    solver: Literal["dense", "iterative"] | None = None
    largest: int = 1500
    cost: ClassVar[str] = "draws"

    def __post_init__(self) -> None:
        if not isinstance(self.perturbation, Perturbation):
            raise KindError(
                expected="a law of perturbations for Optimal",
                got=repr(self.perturbation),
                advice="Write Optimal(SubsetToBaseline()).",
            )
        few = self.draws is not None and self.draws < 2
        if not 0 <= self.ridge < float("inf") or few or self.largest < 1:
            raise SettingError(
                expected="a ridge of at least 0, at least 2 draws, and at least 1 feature as largest",
                got=f"ridge={self.ridge}, draws={self.draws}, largest={self.largest}",
                advice="Start from Optimal(SubsetToBaseline()).",
            )
        if self.solver not in (None, "dense", "iterative"):
            raise SettingError(
                expected="the solver 'dense' or 'iterative' for Optimal",
                got=repr(self.solver),
                advice="Leave it out: the number of features decides.",
            )

    @property
    def kind(self) -> Kind:
        return Kind.CONTRIBUTION if self.perturbation.removes else Kind.SLOPE

    @property
    def axioms(self) -> frozenset[Axiom]:
        kept = _KEPT.get(type(self.perturbation), frozenset())
        # A ridge takes from every value, also from those that were to add up.
        if self.ridge and not self.perturbation.complete:
            kept = kept - {Axiom.COMPLETENESS}
        if self.ridge:
            kept = kept - {Axiom.DUMMY}
        return kept | {Axiom.LINEARITY}

    def held(self, features: int) -> int:
        # A matrix of features, or what every draw has to say: the larger of both is held.
        count = self._draws(features)
        return count if self._iterative(features) else max(features**2, count)

    def players(self, question: Question) -> Tensor | None:
        if not self.perturbation.removes:
            return None
        # What an input lacks cannot be removed, and would be a column of zeros.
        existing = question.existing_features()
        return None if bool(existing.all()) else existing

    def rows_each(self, question: Question, players: int) -> int | None:
        if players != question.partition.count:
            return None
        removals = question.replacements if self.perturbation.removes else 1
        return self._design(question, 0).count * removals

    def check(self, question: Question) -> None:
        super().check(question)
        partition = question.partition
        if not self.perturbation.removes and not partition.identity:
            raise InputError(
                expected=f"features that own one element each for {self!r}, which gives slopes",
                got=repr(question.features),
                advice="Ask about Elements(), or use a law that removes: SubsetToBaseline().",
            )
        # One input is enough to count perturbations.
        design = self._design(question.part(0, 1), 0)
        if design.sampled and design.count <= partition.count and not self.ridge:
            raise InputError(
                expected=f"more draws than the {partition.count} features for {self!r}",
                got=design.count,
                advice="Leave draws out, ask fewer features (Patches), or give a ridge.",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        design = self._design(questions[0], seed)
        changes = design.changes(questions)
        solver: Solver
        if self._iterative(questions[0].partition.count):
            solver = Iterative(design, self.ridge, seed)
        else:
            solver = Dense.of(design, self.ridge)
        return [self._fitted(solver, design, *pair) for pair in zip(questions, changes)]

    def _fitted(
        self, solver: Solver, design: Design, question: Question, change: Tensor
    ) -> Estimate:
        """The values for changes (n, count)."""
        right = moments(design, change)
        solution = solver.solve(right)
        even = None
        if self.perturbation.complete:
            # The multiplier of the sum's constraint moves solutions along (E[I I'])^+ 1.
            even = solver.solve(torch.ones_like(right))
            whole = (question.prediction - question.base).to(torch.float64)
            missing = whole[:, None, None] - solution.sum(1, keepdim=True)
            solution = solution + even * (missing / even.sum(1, keepdim=True))
        values = solution[..., 0]
        error = None
        # A law that is gone through as a whole has no draws, and so no error of them.
        freedom = design.count - values.shape[1]
        if design.sampled and freedom > 0:
            residuals = change - accounts(design, values)
            # As many draws as features explain nothing: a regression's degrees of freedom.
            factor = (design.count / freedom) ** 0.5 * widening(freedom)
            error = solver.spread(residuals, even) * factor
        return Estimate(values, error, {"perturbations": design.count, **solver.notes()})

    def _design(self, question: Question, seed: int) -> Design:
        features = question.partition.count
        draws = self._draws(features)
        support = self.perturbation.support(features, draws)
        if support is not None:
            return Design(question, self.perturbation, seed, len(support[0]), support)
        count = self.perturbation.size(question, draws)
        return Design(question, self.perturbation, seed, count, None)

    def _draws(self, features: int) -> int:
        return self.draws or max(_FEWEST, _EACH * features)

    def _iterative(self, features: int) -> bool:
        if self.solver is not None:
            return self.solver == "iterative"
        return features > self.largest


def kernel_smoothed(
    perturbation: Perturbation,
    *,
    ridge: float = 0.0,
    noise: float = 0.1,
    draws: int = 20,
    shape: Literal["gaussian", "uniform"] = "gaussian",
) -> Smoothed:
    """The optimal explanation averaged over a kernel around the input: `Smoothed(Optimal(...))`.

    phi_k(x) = E_z[phi(z)], z = x + noise      (Yeh et al. 2019, section 4.1)

    Settings:
        perturbation, ridge: those of `Optimal`.
        noise, draws, shape: those of `Smoothed`, the kernel.

    >>> import assay
    >>> kernel_smoothed(assay.GaussianNoise(0.1)).method.perturbation
    GaussianNoise(sigma=0.1, scale=None)
    """
    return Smoothed(Optimal(perturbation, ridge), noise=noise, draws=draws, shape=shape)
