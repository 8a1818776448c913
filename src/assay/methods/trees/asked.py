"""A question asked of the trees themselves: inputs and background as the forest compares them, and the
target as a sum of the forest's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor

from assay.errors import AssayError, InputError, TargetError
from assay.methods.base.estimate import Estimate
from assay.methods.base.pairs import in_pairs, matrices
from assay.methods.trees.solving import (
    Game,
    credit,
    expectation,
    tree_of_nodes,
)
from assay.models.base import Ability
from assay.models.forests.forest import Floats, Forest, Integers
from assay.numerics import rng
from assay.question.question import Question

if TYPE_CHECKING:
    from assay.models.forests.tree_model import TreeModel

_LINEAR = 1e-6  # rounding of links, relative to the coefficients, that is no curvature
_HELD = 1 << 24  # numbers of credit of all outputs that are held at once: 128 MiB
_FEWEST = 64  # rows that share a pass, at least


@final
class Asked:
    """A question asked of the trees themselves."""

    def __init__(self, question: Question, mode: str, index: str = "shapley") -> None:
        self.question = question
        self.mode = mode
        self.trees = trees_of(question)
        self.game = Game(
            self.trees.forest,
            _owners(question, self.trees),
            question.partition.count,
            index,  # type: ignore[arg-type]
        )

    def coefficients(self) -> Floats:
        """(n, outputs) of the forest: the target is their sum with the margins, up to a constant."""
        return coefficients(self.question, self.trees)

    def estimate(self, coefficients: Floats) -> Estimate:
        """The answer where the target is a sum of the forest's outputs, by these coefficients."""
        # Inputs whose coefficients are the same are one forest of one output.
        kinds, which = np.unique(coefficients, axis=0, return_inverse=True)
        which = which.reshape(-1)
        rows, background = self._rows()
        if len(kinds) == 1:
            # As of nearly all questions: nothing is copied that all inputs share.
            game = replace(self.game, forest=combined(self.game.forest, kinds[0]))
            base = np.repeat(expectation(game)[0], len(rows))
            return self._estimate(credit(game, rows, background)[0].T, base)
        values = np.zeros((len(coefficients), self.game.targets))
        base = np.zeros(len(coefficients))
        for number, kind in enumerate(kinds):
            mine = which == number
            game = replace(self.game, forest=combined(self.game.forest, kind))
            own = background
            # Draws that belong to inputs go with these; a background that all share serves any.
            if background is not None and len(background) > 1:
                own = background[mine]
            values[mine] = credit(game, rows[mine], own)[0].T
            base[mine] = expectation(game)[0]
        return self._estimate(values, base)

    def estimates(self, coefficients: Sequence[Floats]) -> list[Estimate]:
        """The same for several targets, in one pass through the trees."""
        rows, background = self._rows()
        # Trees are what costs: every output's credit is made once, and weighed for each target.
        each = _weighed(self.game, rows, background, coefficients)
        base = expectation(self.game)
        return [self._estimate(values, mine @ base) for values, mine in zip(each, coefficients)]

    def in_pairs(self, coefficients: Sequence[Floats]) -> list[Estimate]:
        """The same as matrices of pairs."""
        rows, background = self._rows()
        single = _weighed(self.game, rows, background, coefficients)
        joint = _weighed(replace(self.game, order=2), rows, background, coefficients)
        base = expectation(self.game)
        partition = in_pairs(self.question.partition)
        found = []
        for alone, pairs, mine in zip(single, joint, coefficients):
            estimate = self._estimate(alone, mine @ base)
            together = torch.from_numpy(pairs).to(estimate.values.device)
            values = matrices(estimate.values, together)
            found.append(replace(estimate, values=values, partition=partition))
        return found

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
        # Encoded and rounded as the inputs are, so that both stand on the same side of a threshold.
        flat = self._encoded(replacements.reshape(-1, elements))
        return rows, flat.reshape(count, draws, -1)

    def _encoded(self, rows: Tensor) -> Floats:
        forest = self.game.forest
        return forest.rounded(self.trees.encoded(self.question.layout.fold(rows)[0]))


def _weighed(
    game: Game, rows: Floats, background: Floats | None, coefficients: Sequence[Floats]
) -> list[Floats]:
    """For each (n, outputs) of some coefficients the credit (n, targets) that they weigh together."""
    step = max(_FEWEST, _HELD // max(1, game.forest.outputs * game.targets))
    parts = []
    for at in range(0, len(rows), step):
        piece = slice(at, at + step)
        own = background if background is None or len(background) == 1 else background[piece]
        each = credit(game, rows[piece], own)
        # Weighed at once, so that the outputs of all rows are never held together.
        parts.append([np.einsum("no,otn->nt", mine[piece], each) for mine in coefficients])
    return [np.concatenate(column) for column in zip(*parts)]


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
    # Trees that add to outputs without weight are left out: of one class in many, most of them.
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


def _tree_of_each_node(forest: Forest) -> Integers:
    """(nodes,) the tree of a node; 0 for nodes that no root leads to."""
    return np.maximum(tree_of_nodes(forest), 0)


def sums_over_trees(question: Question) -> bool:
    """Whether the target is a sum over trees that can be taken apart here."""
    labels = question.partition.labels
    shared = len(labels) == 1 and not bool((labels < 0).any())
    if Ability.TREES not in question.model.abilities or not shared:
        return False
    try:
        coefficients(question, trees_of(question))
    except AssayError:
        # A model that is no sum of leaves, by its name, or outputs that are labels.
        return False
    return True


def coefficients(question: Question, trees: TreeModel) -> Floats:
    """(n, outputs) of the forest: the target is their sum with the margins, up to a constant.

    Found by asking the target about margins of the library's own making, and checked at others.
    """
    outputs = trees.forest.outputs
    zeros = np.zeros((question.n, outputs))
    constant = _scores(question, trees, zeros)
    found = np.zeros_like(zeros)
    # One unit of one margin at a time: of what is linear the step is the coefficient.
    for output in range(outputs):
        unit = zeros.copy()
        unit[:, output] = 1.0
        found[:, output] = _scores(question, trees, unit) - constant
    # A curve can agree with a plane at 0 and at the units: margins at random tell them apart.
    tried = rng.shared(0, "margins").uniform(-2.0, 2.0, zeros.shape)
    expected = constant + (found * tried).sum(axis=1)
    off = np.abs(_scores(question, trees, tried) - expected)
    if (off > _LINEAR * (1 + np.abs(found).sum(axis=1))).any():
        raise TargetError(
            expected="a target that is a sum over trees: a margin, or what is linear in margins",
            got=f"{question.target!r} of {question.model.name}, behind the link {trees.forest.link!r}",
            advice=_advice(trees.forest.link),
        )
    # What is found by differences of rounded numbers is mostly 0, 1 or -1.
    whole = np.round(found)
    return np.where(np.abs(found - whole) < _LINEAR, whole, found)


def _advice(link: str) -> str:
    if link == "logit":
        return (
            "Explain the log-odds, which are the margin: Question(model, inputs, LogOdds()), or ask "
            "any model by its answers alone: ExactShapley, KernelShap."
        )
    return (
        "Explain the margin: wrap(model, output='margin'), or ask any model by its answers alone: "
        "ExactShapley, KernelShap."
    )


def _scores(question: Question, trees: TreeModel, margins: Floats) -> Floats:
    """(n,) what the target makes of margins (n, outputs)."""
    target, _ = question.fix_target()
    if trees.answers is None:
        raise TargetError(
            expected="a target that is a sum over trees: a margin, or what is linear in margins",
            got=f"labels of {question.model.name}",
            advice="Explain scores: wrap(model, output='predict_proba'), or 'margin'.",
        )
    answers = torch.from_numpy(np.asarray(trees.answers(margins), dtype=np.float64))
    rows = torch.arange(question.n)
    scores: Floats = target.score(answers, rows).detach().cpu().numpy().astype(np.float64)
    return scores


def _owners(question: Question, trees: TreeModel) -> Integers:
    """(features,) the feature of the question that each of the forest's belongs to."""
    labels = question.partition.labels
    if len(labels) > 1 or bool((labels < 0).any()):
        raise InputError(
            expected="features that are the same for all inputs and own every column, for trees",
            got=repr(question.features),
            advice="Use Columns(), with groups if need be: Columns(groups={...}).",
        )
    columns: Integers = labels[0].cpu().numpy().astype(np.int64)
    table = question.layout.fold(question.x[:1])[0]
    return columns[trees.source_in(table)]
