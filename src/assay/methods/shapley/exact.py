"""Exact Shapley values, by asking every coalition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from assay.methods.shapley import games
from assay.methods.shapley.mask_method import (
    SHAPLEY,
    MaskMethod,
    Solution,
)
from assay.question.question import Question


@final
@dataclass(frozen=True)
class ExactShapley(MaskMethod):
    """Every feature's mean marginal contribution over all orderings, from all coalitions.

    phi_i = sum_{S without i} |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))
    (Shapley 1953, equation 12)

    Cost: 2^features evaluations per input and draw of the removal, up to 20 features. Values
    (n, features) in units of the target. Errors: InputError beyond 20 features, with the cost.

    >>> import torch
    >>> table = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    >>> ExactShapley().solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    axioms = SHAPLEY
    cost: ClassVar[str] = "2^features"

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        return int(2 ** min(features, games.MAX_ENUMERATED))

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return games.subsets(features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        return games.shapley_values(table), None
