"""Quantitative input influence: what happens to a quantity of interest when inputs are drawn anew.

Datta, Sen and Zick (2016) measure how much an outcome owes to a feature by intervening: the feature
is replaced by an independent draw from the population, so that the correlation with what the model
really reads is broken. The quantity of interest is the outcome of one individual, that of a group,
or the disparity between two groups. As features act together, the influence of one is measured
alone (unary), with a given set (set), on top of a given set (marginal), or on top of random sets:
averaged as by Shapley or as by Banzhaf.

`Qii` turns masks into quantities; each measure is a small design of its own (`_OneByOne`,
`_AllSets`, `_RandomSets`, or `PermutationShapley`), which says which sets to ask and what follows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate
from assay.methods.shapley import games
from assay.methods.shapley.coalitions import Bools
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.mask_method import (
    SHAPLEY,
    MaskMethod,
    Solution,
    as_masks,
    standard_error,
    worths,
)
from assay.methods.shapley.permutation import PermutationShapley
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.precision import to_input_precision
from assay.question.question import Question
from assay.settings import Settings, shown

Measure = Literal["unary", "set", "marginal", "shapley", "banzhaf"]

Draws = Literal["joint", "independent"]


# --- quantities of interest


class Quantity(Settings, ABC):
    """A quantity of interest that several individuals share: their values to one number."""

    @abstractmethod
    def of(self, values: Tensor) -> Tensor:
        """Values of individuals (n, m) to the quantity (1, m)."""

    @property
    def linear(self) -> bool:  # may be overridden
        """Whether the quantity of a sum of models is the sum of their quantities."""
        return False


Rows: TypeAlias = tuple[int, ...] | tuple[bool, ...]
"""Some of the inputs: their numbers, or a mask over all of them (a list, an array, a column)."""


def _members(rows: Sequence[int], n: int) -> list[int]:
    if rows and isinstance(rows[0], bool):
        if len(rows) != n:
            raise InputError(
                expected=f"a mask over the {n} inputs of the question as a group",
                got=f"{len(rows)} truth values",
                advice="Take the mask of the rows that are asked about, or number the members.",
            )
        rows = [row for row, is_member in enumerate(rows) if is_member]
    inside = all(0 <= row < n for row in rows)
    if not rows or len(set(rows)) < len(rows) or not inside:
        raise InputError(
            expected=f"different rows of the {n} inputs as a group",
            got=shown(tuple(rows)),
            advice=f"Number each member once, from 0 to {n - 1}.",
        )
    return list(rows)


@final
@dataclass(frozen=True)
class Group(Quantity):
    """The average outcome of a group, E[f | X in the group].

    Settings:
        rows: the members' numbers among the question's inputs, or a mask over them; None for all.

    >>> Group((0, 2)).of(torch.tensor([[1.0], [5.0], [3.0]])).tolist()
    [[2.0]]
    """

    rows: Rows | None = None

    @property
    def linear(self) -> bool:
        return True

    def of(self, values: Tensor) -> Tensor:
        if self.rows is not None:
            values = values[_members(self.rows, len(values))]
        return values.mean(dim=0, keepdim=True)


@final
@dataclass(frozen=True)
class Disparity(Quantity):
    """The gap between two groups, |E[f | X in first] - E[f | X in second]|.

    Settings:
        first: the numbers of its members among the question's inputs, or a mask over them.
        second: those of the other group; None for everyone else.
        absolute: whether the sign is left out, as in the paper.

    >>> Disparity((0,)).of(torch.tensor([[1.0], [5.0], [3.0]])).tolist()
    [[3.0]]
    """

    first: Rows
    second: Rows | None = None
    absolute: bool = True

    @property
    def linear(self) -> bool:
        return not self.absolute

    def of(self, values: Tensor) -> Tensor:
        n = len(values)
        first = _members(self.first, n)
        second: Sequence[int] | None = self.second
        if second is None:
            second = [row for row in range(n) if row not in first]
        second = _members(second, n)
        difference = values[first].mean(dim=0) - values[second].mean(dim=0)
        gap = difference[None]
        if self.absolute:
            return gap.abs()
        return gap


# --- measures: which sets are asked, and what follows from their worths


class _Design(Protocol):
    """Which sets of features are kept, and what follows from the quantity under each of them."""

    def masks(self, features: int, seed: int) -> Bools:
        """The sets that are kept, (m, features); the others are drawn anew."""

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        """The answer to a table (..., m)."""


@final
@dataclass(frozen=True)
class _OneByOne:
    """Each feature is drawn anew on top of a given set.

    The influence counts from nothing drawn anew (`from_clean`: unary and set), or from the given
    set drawn anew (marginal).
    """

    given: tuple[int, ...]
    from_clean: bool

    def masks(self, features: int, seed: int) -> Bools:
        everything = np.ones((1, features), dtype=np.bool_)
        without_given = everything.copy()
        without_given[:, list(self.given)] = False
        reference = everything if self.from_clean else without_given
        # Row 1 + i keeps neither the given set nor feature i.
        others = ~np.eye(features, dtype=np.bool_)
        return np.concatenate([reference, without_given & others])

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        return table[..., :1] - table[..., 1:], None


@final
@dataclass(frozen=True)
class _AllSets:
    """The Banzhaf value from all sets."""

    def masks(self, features: int, seed: int) -> Bools:
        return games.subsets(features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        return games.banzhaf_values(table), None


@final
@dataclass(frozen=True)
class _RandomSets:
    """The Banzhaf value from random sets, each asked with one feature after another switched.

    A uniform random set without feature i is a uniform random set with i taken out, so that every
    set serves every feature.
    """

    sets: int

    def masks(self, features: int, seed: int) -> Bools:
        kept = self._kept(features, seed)[:, None, :]
        switched = kept ^ np.eye(features, dtype=np.bool_)
        blocks = np.concatenate([kept, switched], axis=1)
        return blocks.reshape(-1, features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        kept = games.as_tensor(self._kept(features, seed), table)
        shape = (*table.shape[:-1], self.sets, features + 1)
        blocks = table.reshape(shape)
        # v(S) - v(S without i) where i is in S,
        # v(S with i) - v(S) where it is not
        sign = 2 * kept.to(table.dtype) - 1
        contributions = (blocks[..., :1] - blocks[..., 1:]) * sign
        error = standard_error(contributions, dim=-2)
        return contributions.mean(dim=-2), error

    def _kept(self, features: int, seed: int) -> Bools:
        generator = rng.shared(seed, "banzhaf")
        return generator.random((self.sets, features)) < 0.5


# The influence of a set that holds a dummy is not zero, and given features differ from others.
_AXIOMS: Mapping[Measure, frozenset[Axiom]] = {
    "unary": frozenset({Axiom.DUMMY, Axiom.LINEARITY, Axiom.SYMMETRY}),
    "set": frozenset({Axiom.LINEARITY}),
    "marginal": frozenset({Axiom.DUMMY, Axiom.LINEARITY}),
    "shapley": SHAPLEY,
    "banzhaf": frozenset({Axiom.DUMMY, Axiom.LINEARITY, Axiom.SYMMETRY}),
}


@final
@dataclass(frozen=True)
class Qii(MaskMethod):
    """How much a quantity of interest Q owes to a feature, which is drawn anew (QII).

    unary:    iota(i) = Q(X) - Q(X_-i U_i)
    set:      iota(S + i) = Q(X) - Q(X_-(S+i) U_(S+i)), S = `given`
    marginal: iota(i, S) = Q(X_-S U_S) - Q(X_-(S+i) U_(S+i)); 0 for features of S
    shapley:  the mean of iota(i, features before i) over orderings
    banzhaf:  the mean of iota(i, S) over all sets S without i, alike
    (Datta, Sen and Zick 2016, sections III and IV)

    U is drawn from the removal, which is a `Background(rows)` as a rule.

    Settings:
        measure: 'unary', 'set', 'marginal', 'shapley' or 'banzhaf', as above.
        given: the features of S by number or by name, for 'set' and 'marginal'.
        budget: sets; 'shapley' and 'banzhaf' ask all 2^features where they are at most this, else
            at most this many random ones.
        draws: 'joint' takes whole rows; 'independent' each feature's value from a row of its own,
            as many draws as rows, shuffled by the seed.
        quantity: None takes the outcome of each individual, f(x), as Q; `Group()` or
            `Disparity(rows)` the quantity that all inputs share, for one answer.

    Cost: features + 1 or + 2 evaluations per input and draw of the removal; for shapley and banzhaf
    as many as the budget allows; 2 more per input and draw with a quantity. Several outputs share
    them with joint draws; with independent ones each output asks its own. Values: (n, features), or
    (1, features) for a quantity, in units of the target; a standard error where sets are sampled.
    Errors: InputError for features that are not there, or a budget below one pair of orderings.

    >>> from assay import Background, Question
    >>> rows = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    >>> x, away = torch.tensor([[3.0, 5.0]]), Background(rows)
    >>> question = Question(lambda x: x[:, 0] * x[:, 1], x, removal=away)
    >>> Qii("unary")(question).values, Qii("shapley")(question).values
    (tensor([[10., 9.]]), tensor([[6., 5.]]))
    """

    measure: Measure = "shapley"
    given: tuple[int | str, ...] = ()
    budget: int = 4096
    draws: Draws = "joint"
    quantity: Quantity | None = None

    cost: ClassVar[str] = "budget, or features + 2"

    def __post_init__(self) -> None:
        if self.measure not in _AXIOMS:
            raise SettingError(
                expected="unary, set, marginal, shapley or banzhaf as measure",
                got=repr(self.measure),
                advice="Use 'shapley' for shares that add up, 'unary' for a feature alone.",
            )
        if self.draws not in ("joint", "independent"):
            raise SettingError(
                expected="draws 'joint' or 'independent'",
                got=repr(self.draws),
                advice="Use 'joint' to draw whole rows of the population.",
            )
        if self.given and self.measure not in ("set", "marginal"):
            raise SettingError(
                expected="given features with 'set' or 'marginal' alone",
                got=repr(self.measure),
                advice=f"Leave given out, or use Qii('marginal', given={self.given!r}).",
            )
        if self.quantity is not None and not isinstance(self.quantity, Quantity):
            raise KindError(
                expected="a quantity such as Group() or Disparity(rows)",
                got=type(self.quantity).__name__,
                advice="Wrap the rows: Qii(quantity=Group(rows)).",
            )

    @property
    def axioms(self) -> frozenset[Axiom]:
        axioms = _AXIOMS[self.measure]
        if self.quantity is None or self.quantity.linear:
            return axioms
        return axioms - {Axiom.LINEARITY}

    @property
    def nearly_complete(self) -> bool:
        # Each coalition has draws of its own, whose sums agree in expectation.
        return self.draws == "independent"

    @property
    def pools_inputs(self) -> bool:
        return self.quantity is not None

    def players(self, question: Question) -> Tensor | None:
        # A set that holds a dummy has an influence, a quantity is of all
        # inputs, and independent draws need features that all inputs share.
        apart = self.measure in ("set", "marginal") or self.draws == "independent"
        if apart or self.quantity is not None:
            return None
        return question.changeable_features()

    def resolved(self, question: Question) -> Qii:
        count = question.partition.count
        numbers = [self._number(feature, question) for feature in self.given]
        # A name that is not among the features' is a text still.
        valid = [isinstance(number, int) and 0 <= number < count for number in numbers]
        if not all(valid):
            raise InputError(
                expected=f"features out of {count}, by number or by name",
                got=self.given,
                advice=f"Their names are {', '.join(question.partition.names[:20])}.",
            )
        return replace(self, given=tuple(numbers))

    def _number(self, feature: int | str, question: Question) -> int | str:
        names = question.partition.names
        if isinstance(feature, str) and feature in names:
            return names.index(feature)
        return feature

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        if self.quantity is None:
            return super().per_output(questions, seed)
        return self._shared_answers(questions, self.quantity, seed)

    def _shared_answers(
        self,
        questions: Sequence[Question],
        quantity: Quantity,
        seed: int,
    ) -> Sequence[Estimate]:
        """The influence on what all inputs share: answers of one row, with ends of their own."""
        question = questions[0]
        features = question.partition.count
        method = self.resolved(question)
        # The quantity of what is removed, and of what is not,
        # is not the mean of the inputs' own: it is asked
        # beside the sets, as the last two columns.
        ends = games.empty_and_full(features)
        masks = np.concatenate([method.masks(features, seed), ends])
        present = as_masks(masks, question)
        notes = {"quantity": repr(quantity)}
        estimates = []
        for table in method.tables(questions, present, seed):
            shared = quantity.of(table)
            values, error = method.solve(shared[:, :-2], features, seed)
            base, prediction = to_input_precision(shared[:, -2:], question.x).T
            estimate = Estimate(values, error, notes, ends=(prediction, base))
            estimates.append(estimate)
        return estimates

    def held(self, features: int) -> int:
        sampled = self.measure in ("shapley", "banzhaf")
        return self.budget if sampled else features + 2

    def rows_each(self, question: Question, players: int) -> int:
        # A quantity asks for both ends beside the sets.
        sets = len(self.resolved(question).masks(players, 0)) + (0 if self.quantity is None else 2)
        return question.replacements * sets

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return self._design(features).masks(features, seed)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        return self._design(features).solve(table, features, seed)

    def _design(self, features: int) -> _Design:
        if self.measure == "shapley":
            return self._shapley_design(features)
        if self.measure == "banzhaf":
            return self._banzhaf_design(features)
        given = tuple(number for number in self.given if isinstance(number, int))
        return _OneByOne(given, from_clean=self.measure != "marginal")

    def _enumerates(self, features: int) -> bool:
        few = features <= games.MAX_ENUMERATED
        return few and 2**features <= self.budget

    def _shapley_design(self, features: int) -> _Design:
        if self._enumerates(features):
            return ExactShapley()
        # Orderings share the empty and the full set;
        # their number is even, for the reverses.
        orderings = (self.budget - 2) // max(1, features - 1) // 2 * 2
        if orderings < 4:
            needed = 4 * (features - 1) + 2
            raise InputError(
                expected=f"a budget of at least {needed} sets for {features} features",
                got=self.budget,
                advice="Raise it: an error is known from two orderings and their reverses.",
            )
        return PermutationShapley(orderings=orderings)

    def _banzhaf_design(self, features: int) -> _Design:
        if self._enumerates(features):
            return _AllSets()
        sets = self.budget // (features + 1)
        if sets < 2:
            needed = 2 * (features + 1)
            raise InputError(
                expected=f"a budget of at least {needed} sets for {features} features",
                got=self.budget,
                advice="Raise it: an error is known from two random sets and their neighbours.",
            )
        return _RandomSets(sets)

    # --- what is asked

    def tables(self, questions: Sequence[Question], masks: Tensor, seed: int) -> Iterator[Tensor]:
        if self.draws == "joint":
            return worths(questions, masks)
        # Points are asked for one target at a time.
        return (self._independent_worths(question, masks, seed) for question in questions)

    def _independent_worths(self, question: Question, masks: Tensor, seed: int) -> Tensor:
        """The outcome of every individual with features drawn independently: (n, m), float64."""
        rows = self._shuffled(question, seed)
        draws, elements = rows.shape[1:]
        # Features are those of all inputs, so
        # that the first stands for them.
        first_input = masks.new_zeros(len(masks), dtype=torch.int64)
        present = question.partition.spread(masks, first_input)
        x = question.x[:, None, None, :]
        cells = question.n * draws * elements
        tables = []
        for piece in pieces(len(present), cells_each=cells):
            kept = present[piece][None, :, None, :]
            points = torch.where(kept, x, rows[:, None])
            scores = question.score(points.flatten(1, 2)).to(torch.float64)
            tables.append(scores.view(question.n, -1, draws).mean(dim=2))
        return torch.cat(tables, dim=1)

    def _shuffled(self, question: Question, seed: int) -> Tensor:
        """The replacement rows, every feature's values in an order of their own.

        (1 or n, draws, elements): elements of one feature stay together.
        """
        replacements = question.fixed_replacements
        labels = question.partition.labels
        if replacements is None or len(labels) != 1:
            raise InputError(
                expected=(
                    "rows to draw from, such as Background(rows), and features that all "
                    "inputs share, for independent draws;"
                ),
                got=f"{question.removal!r} and {question.features!r}",
                advice="Use draws='joint'.",
            )
        shape = (question.partition.count, question.replacements)
        generator = rng.shared(seed, "qii")
        orders = np.argsort(generator.random(shape), axis=1)
        # Elements that nobody owns are never replaced:
        # whose order they take does not matter.
        feature = labels[0].clamp_min(0)
        order = games.as_tensor(orders, labels)[feature].T
        order = order[None].expand(len(replacements), -1, -1)
        return replacements.gather(1, order)
