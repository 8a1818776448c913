"""Shapley values by asking about coalitions that all inputs and outputs share: every coalition, or
random orderings.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.methods.base import Axiom, Estimate, Method
from assay.models.base import Ability
from assay.question.question import Question

SHAPLEY = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY, Axiom.LINEARITY})

Solved = tuple[Tensor, Tensor | None]
"""Values (..., features) and their standard errors."""


class MaskMethod(Method):
    """A method that is a function of one table: the values of coalitions that all inputs share.

    A subclass says which coalitions (`masks`) and what follows from their values (`solve`);
    explaining every output of the model then costs what explaining one does.
    """

    @abstractmethod
    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        """The coalitions to ask, (m, features); a pure function, so that the same design is met
        again in `solve`.
        """

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
        """The answer for every output of the model, from one table of model evaluations: (n,
        features, outputs).
        """
        method, features = self.bound(question), question.partition.count
        table = question.outputs(as_masks(method.masks(features, seed), question))
        values, error = method.solve(table.to(torch.float64).mT, features, seed)
        return Estimate(values.mT, standard_error=None if error is None else error.mT)


def as_masks(masks: NDArray[np.bool_], question: Question) -> Tensor:
    """Masks as a tensor where the question lives."""
    return torch.tensor(masks, device=question.x.device)


def widening(freedom: int) -> float:
    """What a standard error with this many degrees of freedom is multiplied by, so that 1.96 of it
    make a 95 % interval.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    return float(student.ppf(0.975, freedom) / norm.ppf(0.975))


def standard_error(replicates: Tensor, dim: int) -> Tensor | None:
    """The standard error of a mean of independent replicates, widened by Student's factor; None if
    there is one.
    """
    count = replicates.shape[dim]
    if count < 2:
        return None
    error: Tensor = replicates.std(dim=dim) * (widening(count - 1) / count**0.5)
    return error
