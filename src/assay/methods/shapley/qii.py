"""Quantitative input influence: what happens to a quantity of interest when inputs are drawn anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay import engine
from assay.answers.attribution import Attribution
from assay.answers.provenance import versions
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Estimate
from assay.methods.shapley import games
from assay.methods.shapley.mask_method import SHAPLEY, MaskMethod, Solved, as_masks, standard_error
from assay.methods.shapley.permutation import PermutationShapley
from assay.numerics import rng
from assay.question.question import Question
from assay.removals.base import FixedAbsent

Measure = Literal["unary", "set", "marginal", "shapley", "banzhaf"]

Draws = Literal["joint", "independent"]

_POINT_CELLS = 1 << 22  # elements of one piece of points


class Quantity(ABC):
    """A quantity of interest that several individuals share: their values to one number."""

    @abstractmethod
    def of(self, values: Tensor) -> Tensor:
        """Values of individuals (n, m) to the quantity (1, m)."""


def _members(rows: tuple[int, ...], n: int) -> list[int]:
    if not rows or len(set(rows)) < len(rows) or not all(0 <= row < n for row in rows):
        raise InputError(
            expected=f"different rows of the {n} inputs as a group",
            got=rows,
            advice="",
        )
    return list(rows)


@final
@dataclass(frozen=True)
class Group(Quantity):
    """The average outcome of a group, E[f | X in the group]: `rows` of the question, or all of
    them.
    """

    rows: tuple[int, ...] | None = None

    def of(self, values: Tensor) -> Tensor:
        own = values if self.rows is None else values[_members(self.rows, len(values))]
        return own.mean(dim=0, keepdim=True)


@final
@dataclass(frozen=True)
class Disparity(Quantity):
    """The gap between two groups, |E[f | X in first] - E[f | X in second]|, or with its sign where
    not `absolute`.

    `second` is everyone else where nothing is said.
    """

    first: tuple[int, ...]
    second: tuple[int, ...] | None = None
    absolute: bool = True

    def of(self, values: Tensor) -> Tensor:
        first, others = _members(self.first, len(values)), set(range(len(values))) - set(self.first)
        second = _members(
            tuple(sorted(others)) if self.second is None else self.second, len(values)
        )
        gap = (values[first].mean(dim=0) - values[second].mean(dim=0))[None]
        return gap.abs() if self.absolute else gap


@final
@dataclass(frozen=True)
class Qii(MaskMethod):
    """How much a quantity of interest Q owes to a feature: Q on the inputs, less Q after the
    feature is drawn anew.

    unary:    iota(i) = Q(X) - Q(X_-i U_i)
    set:      iota(S + i) = Q(X) - Q(X_-(S+i) U_(S+i)), S = `given`
    marginal: iota(i, S) = Q(X_-S U_S) - Q(X_-(S+i) U_(S+i)); 0 for features of S
    shapley:  the mean of iota(i, features before i) over orderings
    banzhaf:  the mean of iota(i, S) over all sets S without i, alike
    (Datta, Sen and Zick 2016, sections III and IV)

    U is drawn from the removal, which is a `Background(rows)` as a rule: whole rows ("joint"), or
    each feature's value from a row of its own ("independent", as many draws as rows, shuffled by
    the seed). `method(question)` takes the outcome of each individual, f(x), as Q;
    `method.on(question, quantity)` a `Group` or a `Disparity`, one answer for all.

    Cost: features + 1 or + 2 evaluations per input and draw; for shapley and banzhaf all 2^features
    sets where they are at most `budget`, else at most `budget` random ones, with a standard error.
    Values: (n, features), or (1, features) for a quantity, in units of the target. Errors:
    InputError for features that are not there, or a budget below one pair of orderings.

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

    cost: ClassVar[str] = "budget, or features + 2"

    def __post_init__(self) -> None:
        if self.measure not in ("unary", "set", "marginal", "shapley", "banzhaf"):
            raise SettingError(
                expected="unary, set, marginal, shapley or banzhaf as measure",
                got=repr(self.measure),
                advice="",
            )
        if self.draws not in ("joint", "independent"):
            raise SettingError(
                expected="draws 'joint' or 'independent'",
                got=repr(self.draws),
                advice="",
            )
        if self.given and self.measure not in ("set", "marginal"):
            raise SettingError(
                expected="given features with 'set' or 'marginal' alone",
                got=repr(self.measure),
                advice="",
            )

    @property
    def axioms(self) -> frozenset[Axiom]:
        # The influence of a set that holds a dummy is not zero.
        usual = frozenset({Axiom.DUMMY, Axiom.LINEARITY})
        own = {"shapley": SHAPLEY, "set": frozenset({Axiom.LINEARITY}), "marginal": usual}
        return own.get(self.measure, usual | {Axiom.SYMMETRY})

    def bound(self, question: Question) -> Qii:
        names, count = question.partition.names, question.partition.count
        given = [
            names.index(one) if isinstance(one, str) and one in names else one for one in self.given
        ]
        if any(not isinstance(one, int) or not 0 <= one < count for one in given):
            raise InputError(
                expected=f"features out of {count}, by number or by name",
                got=self.given,
                advice="",
            )
        return Qii(self.measure, tuple(given), self.budget, self.draws)

    def values(self, question: Question, seed: int) -> Estimate:
        method = self.bound(question)
        table = method._table(question, method.masks(question.partition.count, seed), seed)
        return Estimate(*method.solve(table, question.partition.count, seed))

    def on(self, question: Question, quantity: Quantity, *, seed: int = 0) -> Attribution:
        """The influence on a quantity of interest of several individuals: an answer of one row, (1,
        features).
        """
        if not isinstance(quantity, Quantity):
            raise KindError(
                expected="a quantity such as Group() or Disparity(rows)",
                got=type(quantity).__name__,
                advice="",
            )
        self.check(question)
        method, features = self.bound(question), question.partition.count
        with engine.tally() as spent, torch.inference_mode(False), torch.no_grad():
            masks = method.masks(features, seed)
            ends = np.stack([np.zeros(features, dtype=np.bool_), np.ones(features, dtype=np.bool_)])
            table = quantity.of(method._table(question, np.concatenate([masks, ends]), seed))
            values, error = method.solve(table[:, :-2], features, seed)
        kind = torch.float64 if question.x.dtype == torch.float64 else torch.float32
        base, prediction = table[:, -2].to(kind), table[:, -1].to(kind)
        complete = Axiom.COMPLETENESS in self.axioms
        return Attribution(
            values=values.to(kind),
            base=base,
            prediction=prediction,
            names=question.partition.names,
            shape=question.partition.shape,
            kind=self.kind.value,
            gap=prediction - base - values.sum(dim=1).to(kind) if complete else None,
            standard_error=None if error is None else error.to(kind),
            facts={
                "forwards": spent.forwards,
                "backwards": spent.backwards,
                "quantity": repr(quantity),
            },
            provenance={
                "method": repr(self),
                "seed": seed,
                "question": question.digest,
                "asked": repr(question),
                "versions": versions(),
            },
        )

    # --- which coalitions, and what follows from their values

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        if self.measure in ("shapley", "banzhaf"):
            if self._exact(features):
                return games.subsets(features)
            if self.measure == "shapley":
                return self._walks(features).masks(features, seed)
            return self._toggled(features, seed)[0]
        start = np.ones(features, dtype=np.bool_)
        start[list(self._given())] = False
        whole = np.ones(features, dtype=np.bool_)
        return np.concatenate(
            [
                (whole if self.measure == "set" else start)[None],
                start & ~np.eye(features, dtype=np.bool_),
            ]
        )

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        if self.measure not in ("shapley", "banzhaf"):
            return table[..., :1] - table[..., 1:], None
        if self._exact(features):
            return (games.shapley_values if self.measure == "shapley" else games.banzhaf_values)(
                table
            ), None
        if self.measure == "shapley":
            return self._walks(features).solve(table, features, seed)
        # v(S) - v(S without i) where i is in S, v(S with i) - v(S) where it is not
        shown = torch.from_numpy(self._toggled(features, seed)[1]).to(table.device)
        blocks = table.reshape(*table.shape[:-1], len(shown), features + 1)
        steps = (blocks[..., :1] - blocks[..., 1:]) * (2 * shown.to(table.dtype) - 1)
        return steps.mean(dim=-2), standard_error(steps, dim=-2)

    def _given(self) -> tuple[int, ...]:
        return tuple(one for one in self.given if isinstance(one, int))

    def _exact(self, features: int) -> bool:
        return features <= games.MOST_EXACT and 2**features <= self.budget

    def _walks(self, features: int) -> PermutationShapley:
        orderings = (self.budget - 2) // max(1, features - 1) // 2 * 2
        if orderings < 4:
            raise InputError(
                expected=(
                    f"a budget of at least {4 * (features - 1) + 2} sets for {features} features"
                ),
                got=(
                    f"{self.budget}: two orderings and their reverses, so that the error can "
                    "be known"
                ),
                advice="",
            )
        return PermutationShapley(orderings=orderings)

    def _toggled(self, features: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Random sets S, each followed by S with one feature after another switched; and the sets S
        alone.
        """
        sets = self.budget // (features + 1)
        if sets < 2:
            raise InputError(
                expected=f"a budget of at least {2 * (features + 1)} sets",
                got=self.budget,
                advice="",
            )
        shown = rng.shared(seed, "banzhaf").random((sets, features)) < 0.5
        switched = shown[:, None, :] ^ np.eye(features, dtype=np.bool_)
        return np.concatenate([shown[:, None, :], switched], axis=1).reshape(-1, features), shown

    # --- what is asked

    def _table(self, question: Question, masks: NDArray[np.bool_], seed: int) -> Tensor:
        """The outcome of every individual with features drawn anew: (n, m), float64."""
        if self.draws == "joint":
            return question.value(as_masks(masks, question)).to(torch.float64)
        rows, present = self._shuffled(question, seed), as_masks(masks, question)
        count, elements = rows.shape[1:]
        owners = torch.zeros(len(present), dtype=torch.int64, device=present.device)
        present = question.partition.spread(present, owners)
        step = max(1, _POINT_CELLS // (question.n * count * elements))
        pieces = []
        for start in range(0, len(present), step):
            piece = present[start : start + step]
            points = torch.where(
                piece[None, :, None, :], question.x[:, None, None, :], rows[:, None]
            )
            scores = question.score(points.flatten(1, 2)).to(torch.float64)
            pieces.append(scores.view(question.n, len(piece), count).mean(dim=2))
        return torch.cat(pieces, dim=1)

    def _shuffled(self, question: Question, seed: int) -> Tensor:
        """The replacement rows (1 or n, draws, elements) with every feature's values in an order of
        their own.
        """
        replacements, labels = question.fixed_replacements, question.partition.labels
        if replacements is None or len(labels) != 1:
            raise InputError(
                expected=(
                    "rows to draw from, such as Background(rows), and features that all "
                    "inputs share, for independent draws;"
                ),
                got=f"{question.removal!r} and {question.features!r}",
                advice="Use draws='joint'.",
            )
        orders = np.argsort(
            rng.shared(seed, "qii").random((question.partition.count, question.replacements)),
            axis=1,
        )
        order = torch.from_numpy(orders).to(labels.device)[labels[0].clamp_min(0)].T
        return replacements.gather(1, order[None].expand(len(replacements), -1, -1))
