"""Shapley values by asking about coalitions that all inputs and outputs share: every coalition, or random orderings."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.method import Axiom, Estimate, Kind, Method
from assay.methods import coalitions, games
from assay.model import Ability
from assay.question import Question

SHAPLEY = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY, Axiom.LINEARITY})
Solved = tuple[Tensor, Tensor | None]
"""Values (..., features) and their standard errors."""


class MaskMethod(Method):
    """A method that is a function of one table: the values of coalitions that all inputs share.

    A subclass says which coalitions (`masks`) and what follows from their values (`solve`); explaining every output of
    the model then costs what explaining one does.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset()
    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    @abstractmethod
    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        """The coalitions to ask, (m, features); a pure function, so that the same design is met again in `solve`."""

    @abstractmethod
    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        """The answer to a table (..., m), float64."""

    def bound(self, question: Question) -> MaskMethod:
        """The method with everything decided that depends on the question's features."""
        return self

    def values(self, question: Question, seed: int) -> Estimate:
        method, features = self.bound(question), question.partition.count
        table = question.value(as_masks(method.masks(features, seed), question))
        values, error = method.solve(table.to(torch.float64), features, seed)
        return Estimate(values, standard_error=error)

    def each_output(self, question: Question, seed: int = 0) -> Estimate:
        """The answer for every output of the model, from one table of model evaluations: (n, features, outputs)."""
        method, features = self.bound(question), question.partition.count
        table = question.outputs(as_masks(method.masks(features, seed), question))
        values, error = method.solve(table.to(torch.float64).mT, features, seed)
        return Estimate(values.mT, standard_error=None if error is None else error.mT)


def as_masks(masks: NDArray[np.bool_], question: Question) -> Tensor:
    """Masks as a tensor where the question lives."""
    return torch.tensor(masks, device=question.x.device)


@final
@dataclass(frozen=True)
class ExactShapley(MaskMethod):
    """Every feature's average marginal contribution over all orderings, from one table of all 2^features coalitions.

    phi_i = sum_{S without i} |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))     (Shapley 1953, equation 12)
    Cost: 2^features evaluations per input and draw of the removal, up to 20 features; beyond, `InputError` says the
    cost.

    >>> ExactShapley().solve(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64), 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    axioms: ClassVar[frozenset[Axiom]] = SHAPLEY
    cost: ClassVar[str] = "2^features"

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return games.subsets(features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        return games.shapley_values(table), None


@final
@dataclass(frozen=True)
class PermutationShapley(MaskMethod):
    """The mean marginal contribution over random orderings, each walked forwards and backwards.

    phi_i = mean_pi v(P_i + i) - v(P_i), P_i the features before i in pi (Castro, Gomez and Tejada 2009, equation 3),
    over
    `orderings` / 2 antithetic pairs (Mitchell, Cooper, Frank and Holmes 2022, section 4.1). Complete by
    construction; exact for games without interactions of three features or more; the standard error comes from the
    pairs, widened by Student's factor, so that 1.96 of them make a 95 % interval however few the pairs.
    Cost: at most orderings * (features - 1) + 2 evaluations per input; repeated coalitions are asked once.

    >>> table = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    >>> PermutationShapley(orderings=2).solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    orderings: int = 64

    axioms: ClassVar[frozenset[Axiom]] = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "orderings * features"

    def __post_init__(self) -> None:
        if self.orderings < 2 or self.orderings % 2:
            raise InputError(
                f"orderings must be an even number of at least 2, got {self.orderings}: each is walked both ways"
            )

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return self._walks(features, seed)[0]

    def _walks(self, features: int, seed: int) -> tuple[NDArray[np.bool_], Tensor]:
        """The different coalitions met, and which of them each walk meets: (orderings, features + 1)."""
        orders = self._orders(features, seed)
        place = np.argsort(orders, axis=1)
        met = (place[:, None, :] < np.arange(features + 1)[None, :, None]).reshape(-1, features)
        masks, where = np.unique(met, axis=0, return_inverse=True)
        return masks, torch.from_numpy(where.reshape(len(orders), features + 1))

    def _orders(self, features: int, seed: int) -> NDArray[np.int64]:
        forwards = coalitions.orderings(features, self.orderings // 2, seed)
        return np.stack((forwards, forwards[:, ::-1]), axis=1).reshape(-1, features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        where = self._walks(features, seed)[1].to(table.device)
        orders = torch.tensor(self._orders(features, seed), device=table.device)
        steps = table[..., where].diff(dim=-1)
        by_feature = torch.empty_like(steps).scatter_(-1, orders.expand_as(steps), steps)
        pairs = (by_feature[..., ::2, :] + by_feature[..., 1::2, :]) / 2
        return pairs.mean(dim=-2), standard_error(pairs, dim=-2)


def widening(freedom: int) -> float:
    """What a standard error with this many degrees of freedom is multiplied by, so that 1.96 of it make a 95 % interval."""
    from scipy.stats import norm
    from scipy.stats import t as student

    return float(student.ppf(0.975, freedom) / norm.ppf(0.975))


def standard_error(replicates: Tensor, dim: int) -> Tensor | None:
    """The standard error of a mean of independent replicates, widened by Student's factor; None if there is one."""
    count = replicates.shape[dim]
    if count < 2:
        return None
    error: Tensor = replicates.std(dim=dim) * (widening(count - 1) / count**0.5)
    return error
