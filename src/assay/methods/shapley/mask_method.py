"""The base of methods that ask about coalitions which all inputs and outputs share.

Such a method is a function of one table, the worth of each coalition for each input. Which
coalitions are asked depends on the number of features and the seed alone, so that one table of
model evaluations serves every input and every output of the model. Subclasses differ in the
design (`masks`) and in the estimator (`solve`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.methods.base import Axiom, Estimate, Method
from assay.numerics.statistics import widening
from assay.question.question import Question

SHAPLEY = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.SYMMETRY, Axiom.LINEARITY})

Solution = tuple[Tensor, Tensor | None]
"""Values (..., features) and their standard errors."""


class MaskMethod(Method):
    """A method that is a function of one table: the worths of coalitions that all inputs share.

    A subclass says which coalitions (`masks`) and what follows from their worths (`solve`);
    explaining every output of the model then costs what explaining one does.
    """

    @abstractmethod
    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        """The coalitions to ask, (m, features).

        A pure function, so that the same design is met again in `solve`.
        """

    @abstractmethod
    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        """The answer to a table (..., m), float64."""

    def most_masks(self, features: int) -> int:  # may be overridden
        """How many coalitions are asked, at most; to be overridden where making them takes time."""
        return len(self.masks(features, 0))

    def held(self, features: int) -> int:
        return self.most_masks(features)

    def rows_each(self, question: Question, players: int) -> int:
        return question.replacements * len(self.masks(players, 0))

    def resolved(self, question: Question) -> MaskMethod:  # may be overridden
        """The method with everything decided that depends on the question's features."""
        return self

    def tables(  # may be overridden
        self, questions: Sequence[Question], masks: Tensor, seed: int
    ) -> Iterator[Tensor]:
        """The worths of coalitions (m, features) for each question: (n, m), float64.

        The questions differ in the model's output alone: it is asked once for all of them.
        """
        return worths(questions, masks)

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        question = questions[0]
        features = question.partition.count
        method = self.resolved(question)
        masks = as_masks(method.masks(features, seed), question)
        tables = method.tables(questions, masks, seed)
        return [Estimate(*method.solve(table, features, seed)) for table in tables]


def worths(questions: Sequence[Question], masks: Tensor) -> Iterator[Tensor]:
    """The worths of coalitions for questions that differ in the output alone, each (n, m) float64.

    Cost: m evaluations per input and draw of the removal, however many the questions.
    """
    if len(questions) == 1:
        yield questions[0].value(masks).to(torch.float64)
        return
    outputs = questions[0].outputs(masks)
    for question in questions:
        # A copy, so that arithmetic runs over the same
        # memory as for one output asked alone.
        yield (outputs[..., question.column].contiguous().to(torch.float64))


def as_masks(masks: NDArray[np.bool_], question: Question) -> Tensor:
    """Masks as a tensor where the question lives."""
    return torch.tensor(masks, device=question.x.device)


def standard_error(replicates: Tensor, dim: int) -> Tensor | None:
    """The standard error of a mean of independent replicates, widened by Student's factor.

    None where there is one replicate, which has no spread.
    """
    count = replicates.shape[dim]
    if count < 2:
        return None
    error: Tensor = replicates.std(dim=dim) * (widening(count - 1) / count**0.5)
    return error
