"""TreeSHAP: exact Shapley values of an ensemble of trees, from its nodes instead of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError, TargetError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.trees.solving import Game, credit, expectation
from assay.models.base import Ability
from assay.models.forests.forest import Floats, Forest
from assay.models.forests.tree_model import TreeModel
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

    >>> import assay
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
            return _SUM if self.index == "shapley" else _SUM - {Axiom.COMPLETENESS}
        return _FAIR | _SUM if self.index == "shapley" else _FAIR

    def rows_each(self, question: Question, players: int) -> int:
        return 0

    def values(self, question: Question, seed: int) -> Estimate:
        asked = Asked(question, self.mode, self.index)
        return asked.estimate(asked.coefficients())

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        asked = Asked(questions[0], self.mode, self.index)
        coefficients = [Asked(each, self.mode, self.index).coefficients() for each in questions]
        return asked.estimates(coefficients)


@final
class Asked:
    """A question asked of the trees themselves."""

    def __init__(self, question: Question, mode: str, index: str, order: int = 1) -> None:
        self.question = question
        self.mode = mode
        self.trees = trees_of(question)
        self.game = Game(
            self.trees.forest,
            _owners(question, self.trees),
            question.partition.count,
            index,  # type: ignore[arg-type]
            order,
        )

    def coefficients(self) -> Floats:
        """(n, outputs) of the forest: the target is their sum with the margins, up to a constant."""
        return coefficients(self.question, self.trees)

    def estimate(self, coefficients: Floats) -> Estimate:
        """The answer where the target is a sum of the forest's outputs, by these coefficients."""
        # Inputs whose coefficients are the same are one forest of one output.
        kinds, which = np.unique(coefficients, axis=0, return_inverse=True)
        which = which.reshape(-1)
        values = np.zeros((len(coefficients), self.game.targets))
        base = np.zeros(len(coefficients))
        rows, background = self._rows()
        for number, kind in enumerate(kinds):
            mine = which == number
            game = replace(self.game, forest=combined(self.game.forest, kind))
            own = background
            if background is not None and len(background) > 1:
                own = background[mine]
            values[mine] = credit(game, rows[mine], own)[0].T
            base[mine] = expectation(game)[0]
        return self._estimate(values, base)

    def estimates(self, coefficients: Sequence[Floats]) -> list[Estimate]:
        """The same for several targets, in one pass through the trees."""
        rows, background = self._rows()
        each = credit(self.game, rows, background)
        base = expectation(self.game)
        return [
            self._estimate(np.einsum("no,otn->nt", mine, each), mine @ base)
            for mine in coefficients
        ]

    def _estimate(self, values: Floats, base: Floats) -> Estimate:
        device = self.question.x.device
        found = torch.from_numpy(values).to(device)
        if self.mode == "interventional":
            return Estimate(found)
        constant = self._constant()
        return Estimate(found, base=torch.from_numpy(base + constant).to(device))

    def _constant(self) -> Floats:
        """(n,) what the target is where all margins are 0."""
        zeros = np.zeros((self.question.n, self.game.forest.outputs))
        return _scores(self.question, self.trees, zeros)

    def _rows(self) -> tuple[Floats, Floats | None]:
        """The inputs, and the background (1 or n, draws, features), as the forest compares them."""
        rows = self._encoded(self.question.x)
        if self.mode == "path_dependent":
            return rows, None
        replacements = self.question.fixed_replacements
        if replacements is None:
            raise InputError(
                expected="a removal whose rows do not depend on what is present, for trees",
                got=repr(self.question.removal),
                advice="Use removal=Background(rows), or TreeShap('path_dependent').",
            )
        count, draws, elements = replacements.shape
        flat = self._encoded(replacements.reshape(-1, elements))
        return rows, flat.reshape(count, draws, -1)

    def _encoded(self, rows: Tensor) -> Floats:
        forest = self.game.forest
        return forest.rounded(self.trees.encoded(self.question.layout.fold(rows)[0]))


def trees_of(question: Question) -> TreeModel:
    """The trees of a question's model."""
    trees: TreeModel = question.model.trees
    return trees


def combined(forest: Forest, coefficients: Floats) -> Forest:
    """The forest of one output, the sum of its outputs by coefficients (outputs,)."""
    width = forest.width
    tree = _tree_of_each_node(forest)
    # Coefficients of the outputs that a node's tree adds to, one for each of its numbers.
    places = forest.tree_output[tree][:, None] + np.arange(width)
    value = (forest.value * coefficients[places]).sum(axis=1, keepdims=True)
    used = np.ones(forest.trees, bool)
    if width == 1 and forest.outputs > 1:
        used = coefficients[forest.tree_output] != 0
    return replace(
        forest,
        roots=forest.roots[used],
        tree_output=np.zeros(int(used.sum()), np.int64),
        value=value,
        base=np.array([forest.base @ coefficients]),
    )
