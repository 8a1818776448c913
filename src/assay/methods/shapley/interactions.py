"""Exact interactions of pairs of features, by asking every coalition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.methods.base.estimate import Axiom, Estimate
from assay.methods.base.pairs import in_pairs, matrices
from assay.methods.shapley import games
from assay.methods.shapley.mask_method import MaskMethod, Solution
from assay.question.question import Question


@final
@dataclass(frozen=True)
class ExactInteractions(MaskMethod):
    """Shapley interactions of all pairs of features, from all coalitions.

    I_ij = sum_{S without i, j} |S|! (d - |S| - 2)! / (d - 1)! (v(S + i + j) - v(S + i) - v(S + j) + v(S))
    (Grabisch and Roubens 1999, equation 3); entry (i, j) of a matrix is I_ij / 2, entry (i, i) is
    phi_i - sum_j I_ij / 2 (Lundberg et al. 2020), so that a row sums to the Shapley value phi_i and all
    entries to the prediction less the base. `answer.maps` are the matrices.

    Cost: 2^features evaluations per input and draw of the removal, up to 20 features. Values
    (n, features * features) in units of the target. Errors: InputError beyond 20 features.

    >>> import torch, assay
    >>> question = assay.Question(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.tensor([[2.0, 3.0, 5.0]]))
    >>> ExactInteractions()(question).maps[0].tolist()
    [[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    """

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "2^features"

    def held(self, features: int) -> int:
        return int(2 ** min(features, games.MAX_ENUMERATED))

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return games.subsets(features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        single = games.shapley_values(table)
        return matrices(single, games.pair_interactions(table)), None

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        estimates = super().per_output(questions, seed)
        return [
            replace(estimate, partition=in_pairs(asked.partition))
            for estimate, asked in zip(estimates, questions)
        ]
