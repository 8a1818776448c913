"""TreeSHAP: exact Shapley values of an ensemble of trees, from its nodes instead of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from assay.methods.base.estimate import Axiom, Estimate
from assay.methods.base.method import Method
from assay.methods.trees.asked import Asked
from assay.models.base import Ability
from assay.question.question import Question

_SUM = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
_FAIR = frozenset({Axiom.DUMMY, Axiom.SYMMETRY, Axiom.LINEARITY})


@final
@dataclass(frozen=True)
class TreeShap(Method):
    """Exact Shapley values of tree ensembles: scikit-learn, XGBoost, LightGBM, CatBoost.

    phi_i = sum_{S without i} |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))     (Shapley 1953) with

    interventional     v(S) = E_b[f(x_S, b_rest)], b the rows of the removal (Lundberg et al. 2020)
    path_dependent     v(S) = the mean of the leaves that x_S leads to, where a split on what is
                       absent goes both ways by the training rows' shares (Lundberg et al. 2018)

    The first is the game of every other method here, answered without asking the model: from how often
    the background's rows pass the splits of each path, so that its size hardly counts (Nadel and
    Wettenstein 2026). The second takes no removal; it is exact by Gauss-Legendre quadrature at any
    depth (Wettenstein, Mitchell and Yu 2026), and gives credit to features that the model does not use
    but that go with others in a tree.

    Settings:
        mode: "interventional" or "path_dependent".
        index: "shapley", or "banzhaf" for the mean contribution over all coalitions, which does not add
            up to the prediction (Banzhaf 1965).

    The target has to be a sum over trees: the margin, a mean of leaves, or what is linear in them.
    A probability behind a link is explained as `LogOdds`.

    Cost: no evaluation of the model but the clean inputs and the base. Values (n, features) in units of
    the target. Errors: AbilityError for what is no tree model, TargetError for a target that is no sum
    over trees, InputError for features that own only some columns, ModelError where the trees that were
    read do not answer as the model does.

    >>> import torch, assay
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0.0, 0.0, 0.0, 8.0])
    >>> question = assay.Question(tree, torch.tensor([[1.0, 1.0]]))
    >>> TreeShap()(question).values.tolist()
    [[4.0, 4.0]]
    >>> answer = TreeShap("path_dependent")(question)
    >>> answer.values.tolist(), answer.base.tolist()
    ([[3.0, 3.0]], [2.0])
    """

    mode: Literal["interventional", "path_dependent"] = "interventional"
    index: Literal["shapley", "banzhaf"] = "shapley"

    needs = frozenset({Ability.TREES})
    cost: ClassVar[str] = "0"

    @property
    def axioms(self) -> frozenset[Axiom]:
        if self.mode == "path_dependent":
            if self.index == "shapley":
                return _SUM
            return _SUM - {Axiom.COMPLETENESS}
        if self.index == "shapley":
            return _FAIR | _SUM
        return _FAIR

    @property
    def tells_base(self) -> bool:
        return self.mode == "path_dependent"

    def rows_each(self, question: Question, players: int) -> int:
        return 0

    def values(self, question: Question, seed: int) -> Estimate:
        asked = Asked(question, self.mode, self.index)
        return asked.estimate(asked.coefficients())

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        asked = Asked(questions[0], self.mode, self.index)
        coefficients = [Asked(each, self.mode, self.index).coefficients() for each in questions]
        return asked.estimates(coefficients)
