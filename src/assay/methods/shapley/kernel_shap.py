"""Kernel SHAP: Shapley values by weighted least squares on coalitions, all of them or a sample.

Shapley values are the coefficients of the linear model of a game that is best in the Shapley
kernel's weights, among those that reproduce v(0) and v(N) (Charnes et al. 1988; Lundberg and Lee
2017, theorem 2). On complementary pairs the regression splits in two: the even part of the game
says nothing of Shapley values, and the odd part (v(S) - v(S^c)) / 2 is regressed on the centred
coalitions, with one matrix for all inputs (`Design.projector`). The design is in `coalitions.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate
from assay.methods.shapley.coalitions import (
    Design,
    Weighting,
    least_pairs,
    paired_design,
)
from assay.methods.shapley.games import (
    MAX_ENUMERATED,
    as_tensor,
    empty_and_full,
    subsets,
)
from assay.methods.shapley.mask_method import (
    SHAPLEY,
    MaskMethod,
    Solution,
    as_masks,
    worths,
)
from assay.numerics.statistics import widening
from assay.question.question import Question

_DEFAULT_BUDGET = 2048  # coalitions

_HELD_UNTIL = 1 << 14  # coalitions of an input that are counted on where `until` decides

_SMALLEST_DELETION = 1e-6  # 1 - leverage of a pair that alone decides a coefficient


def regress(table: Tensor, design: Design) -> tuple[Tensor, Tensor]:
    """The weighted least squares fit of a game and its standard error.

    A table (..., 2 + 2 pairs) to two of (..., d). `table` holds v of nothing, of everything, of
    `design.half`, and of the complements. The standard error is the jackknife over pairs,
    var_i = sum_j (1 - rate_j) (H_ij e_j / (1 - h_j))^2 with residuals e, leverages h and projector
    H (MacKinnon and White 1985, equation 11, with the finite population correction of Cochran 1977,
    equation 2.20); zero where every coalition was asked.
    """
    projector = as_tensor(design.projector, table)
    centred = as_tensor(design.centred, table)
    leverage = as_tensor(design.leverage, table)
    undrawn = as_tensor(1.0 - design.rate, table)
    offset = as_tensor(design.layer / design.features - 0.5, table)
    total = table[..., 1:2] - table[..., :1]
    half, complement = table[..., 2:].tensor_split(2, dim=-1)
    # The odd part of the game, less what an even
    # share of the total explains of it.
    odd = (half - complement) / 2 - offset * total
    slopes = odd @ projector.T
    residuals = odd - slopes @ centred.T
    # A pair that alone decides a coefficient has no
    # residual: its own error cannot be known.
    freedom = (1.0 - leverage).clamp_min(_SMALLEST_DELETION)
    deleted = residuals / freedom
    variance = (deleted.square() * undrawn) @ projector.T.square()
    # Layers that are complete vary nothing,
    # and count for no degree of freedom.
    sampled_pairs = int((design.rate < 1.0).sum())
    error = variance.sqrt() * widening(max(1, sampled_pairs))
    return slopes + total / design.features, error


@final
@dataclass(frozen=True)
class KernelShap(MaskMethod):
    """Weighted least squares of v(S) on the coalitions S: Shapley kernel, sum held exactly.

    min_phi sum_S (d - 1) / (C(d, |S|) |S| (d - |S|)) (v(S) - v(0) - sum_{i in S} phi_i)^2
    subject to sum_i phi_i = v(N) - v(0)     (Lundberg and Lee 2017, theorem 2)

    Coalitions are drawn in complementary pairs, which makes games without interactions of three
    features or more exact (Covert and Lee 2021, section 4.2), without replacement within each size,
    and spread over the sizes by `weighting` (Musco and Witter 2025, algorithm 1). The standard
    error is the jackknife over pairs.

    Settings:
        budget: coalitions besides the empty and the full one, at least 3 features - 2 unless all
            2^features - 2 are fewer; None means 2048, or that many where 2048 are too few, or as
            many as `until` needs.
        until: a standard error in units of the target; coalitions are doubled until every standard
            error of an input is at most this, and inputs stop one by one. None spends the budget.
        weighting: how sizes share the coalitions: 'leverage' evenly, 'kernel' by the Shapley
            kernel, 'mixture' by the mean of both.

    Cost: budget + 2 evaluations per input and draw of the removal. Values (n, features) in units of
    the target. Errors: InputError for a budget that leaves the values undetermined.

    >>> table = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    >>> KernelShap(budget=2).solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    budget: int | None = None
    until: float | None = None
    weighting: Weighting = "mixture"

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "budget + 2"

    def __post_init__(self) -> None:
        if self.until is not None and not self.until > 0:
            raise SettingError(
                expected="a standard error above zero as until",
                got=self.until,
                advice="Leave it out to spend the budget: KernelShap(budget=2048).",
            )
        if self.weighting not in ("leverage", "kernel", "mixture"):
            raise SettingError(
                expected="weighting 'leverage', 'kernel' or 'mixture'",
                got=repr(self.weighting),
                advice="Leave it out for 'mixture', the mean of the two others.",
            )

    def design(self, features: int, seed: int) -> Design:
        """The pairs of coalitions that the whole budget buys."""
        pairs = self._pairs(features)
        return paired_design(features, pairs, seed, self.weighting)

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        coalitions = 2 + 2 * self._pairs(features)
        # Few inputs need the whole budget until their standard error is small.
        return coalitions if self.until is None else min(coalitions, _HELD_UNTIL)

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(self.design(features, seed).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        return regress(table, self.design(features, seed))

    def _pairs(self, features: int) -> int:
        every_pair = int(2 ** (features - 1)) - 1
        least = least_pairs(features)
        pairs = self._coalitions() // 2
        if self.budget is None:
            # Nobody chose a number that could be too small.
            pairs = max(pairs, least)
        pairs = min(pairs, every_pair)
        if pairs < least:
            raise InputError(
                expected=f"a budget of at least {2 * least} coalitions for {features} features",
                got=self.budget,
                advice=(
                    f"Raise it, leave it out (then it is {max(_DEFAULT_BUDGET, 2 * least)}), or "
                    "group the features."
                ),
            )
        return pairs

    def _coalitions(self) -> int:
        if self.budget is not None:
            return self.budget
        if self.until is not None:
            # No more than the exact methods ask at most.
            return int(2**MAX_ENUMERATED)
        return _DEFAULT_BUDGET

    def per_output(self, questions: Sequence[Question], seed: int) -> Sequence[Estimate]:
        if self.until is None:
            return super().per_output(questions, seed)
        return self._sequential(questions, seed, self.until)

    def _sequential(
        self, questions: Sequence[Question], seed: int, until: float
    ) -> Sequence[Estimate]:
        """Sequential sampling: doubling designs, each holding the one before.

        An input leaves an output's regression once all its standard errors there are at most
        `until`, and is not asked any more once it has left them all.
        """
        n = questions[0].n
        features = questions[0].partition.count
        device = questions[0].x.device
        shape = (len(questions), n, features)
        values = torch.zeros(shape, dtype=torch.float64, device=device)
        errors = torch.zeros_like(values)
        # Which inputs are still open, for each output: (outputs, n).
        open_ = torch.ones(len(questions), n, dtype=torch.bool, device=device)
        table = _Table(questions)
        for pairs in self._rounds(features):
            design = paired_design(features, pairs, seed, self.weighting)
            table.extend(design, open_.any(dim=0))
            for output, rows in enumerate(open_):
                fit, error = regress(table.of(output, rows), design)
                values[output, rows] = fit
                errors[output, rows] = error
                open_[output, rows.clone()] = (error > until).any(dim=1)
            if not open_.any():
                break
        return [Estimate(*estimate) for estimate in zip(values, errors)]

    def _rounds(self, features: int) -> Iterator[int]:
        """Numbers of pairs, doubling from a first fit worth a look up to the whole budget."""
        largest = self._pairs(features)
        # Some pairs more than coefficients, so
        # that residuals say something.
        pairs = min(max(5 * features, 32), largest)
        while pairs < largest:
            yield pairs
            pairs = min(2 * pairs, largest)
        yield largest


@final
class _Table:
    """The worths of growing designs, for the inputs that are still open; none is asked twice."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.design: Design | None = None
        # Worths (open inputs, 2 + 2 pairs) for each
        # output, and the open inputs' numbers.
        self.worths: list[Tensor] = []
        first = questions[0]
        self.rows = torch.arange(first.n, device=first.x.device)

    def of(self, output: int, rows: Tensor) -> Tensor:
        """One output's worths of some open inputs, a truth value each of all inputs (n,)."""
        return self.worths[output][rows[self.rows]]

    def extend(self, design: Design, open_: Tensor) -> None:
        """Grows to a larger design, asking only what the design before has not asked."""
        staying = open_[self.rows]
        self.rows = self.rows[staying]
        if self.design is None:
            self.worths = self._ask(with_empty_and_full(design.half))
        else:
            asked = design.already_asked(self.design)
            fresh = design.half[~asked]
            additions = self._ask(np.concatenate((fresh, ~fresh)))
            # The empty and the full coalition, one
            # side of every pair, the other sides.
            both_sides = np.concatenate(([True, True], asked, asked))
            columns = as_tensor(both_sides, self.rows)
            self.worths = [
                _interleaved(before[staying], addition, columns)
                for before, addition in zip(self.worths, additions)
            ]
        self.design = design

    def _ask(self, masks: NDArray[np.bool_]) -> list[Tensor]:
        questions = [question.take(self.rows) for question in self.questions]
        return list(worths(questions, as_masks(masks, questions[0])))


def _interleaved(before: Tensor, addition: Tensor, old: Tensor) -> Tensor:
    """Two parts of a table as one (n, m), the first at the columns that are `old` (m,)."""
    table = before.new_empty(len(before), len(old))
    table[:, old] = before
    table[:, ~old] = addition
    return table


def with_empty_and_full(half: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nothing, everything, one side of every pair, the other sides: (2 + 2 pairs, features)."""
    return np.concatenate((empty_and_full(half.shape[1]), half, ~half))


@final
@dataclass(frozen=True)
class LowOrderShap(MaskMethod):
    """The Shapley kernel regression on every coalition, for few features.

    The weighted least squares fit of `KernelShap` on all 2^M coalitions, O(2^M + M^3) (Lundberg and
    Lee 2017, section 4.2); equal to `ExactShapley` up to rounding. The standard error is zero:
    nothing is sampled.

    Cost: 2^features evaluations per input and draw of the removal, up to 20 features. Values
    (n, features) in units of the target. Errors: InputError beyond 20 features, with the cost.

    >>> table = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    >>> LowOrderShap().solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    axioms = SHAPLEY
    cost: ClassVar[str] = "2^features"

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        return int(2 ** min(features, MAX_ENUMERATED))

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(_complete_design(features).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        values, _ = regress(table, _complete_design(features))
        return values, None


def _complete_design(features: int) -> Design:
    if features > MAX_ENUMERATED:
        subsets(features)  # refuses, with the cost
    # With every pair asked there is nothing to draw:
    # the seed and the weighting do not matter.
    return paired_design(features, 2 ** (features - 1) - 1, 0, "kernel")
