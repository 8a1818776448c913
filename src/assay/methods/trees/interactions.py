"""Exact interactions of pairs of features in an ensemble of trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from assay.methods.base.estimate import Axiom, Estimate
from assay.methods.base.method import Method
from assay.methods.trees.asked import Asked
from assay.models.base import Ability
from assay.question.question import Question


@final
@dataclass(frozen=True)
class TreeInteractions(Method):
    """Exact Shapley interactions of all pairs of features of a tree ensemble.

    I_ij = sum_{S without i, j} |S|! (d - |S| - 2)! / (d - 1)! (v(S + i + j) - v(S + i) - v(S + j) + v(S))
    (Grabisch and Roubens 1999, equation 3) of the games of `TreeShap`; entry (i, j) of a matrix is
    I_ij / 2, entry (i, i) is phi_i - sum_j I_ij / 2 (Lundberg et al. 2020), so that a row sums to the
    Shapley value phi_i and all entries to the prediction less the base. `answer.maps` are the matrices.

    Settings:
        mode: "interventional" or "path_dependent", as in `TreeShap`.

    Cost: no evaluation of the model but the clean inputs and the base. Values (n, features * features)
    in units of the target. Errors: those of `TreeShap`, and InputError for trees with a path of more
    than 14 features.

    >>> import torch, assay
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0.0, 0.0, 0.0, 8.0])
    >>> question = assay.Question(tree, torch.tensor([[1.0, 1.0]]))
    >>> TreeInteractions()(question).maps[0].tolist()
    [[0.0, 4.0], [4.0, 0.0]]
    """

    mode: Literal["interventional", "path_dependent"] = "interventional"

    needs = frozenset({Ability.TREES})
    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "0"

    @property
    def tells_base(self) -> bool:
        return self.mode == "path_dependent"

    def rows_each(self, question: Question, players: int) -> int:
        return 0

    def values(self, question: Question, seed: int) -> Estimate:
        asked = Asked(question, self.mode)
        return asked.in_pairs([asked.coefficients()])[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        asked = Asked(questions[0], self.mode)
        return asked.in_pairs([Asked(each, self.mode).coefficients() for each in questions])
