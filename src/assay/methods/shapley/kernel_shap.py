"""Shapley values by weighted least squares on random coalitions, one design for all inputs and
outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.methods.base import Axiom, Estimate
from assay.methods.shapley.coalitions import Design, Weighting, least_pairs, paired
from assay.methods.shapley.games import MOST_EXACT, subsets
from assay.methods.shapley.mask_method import SHAPLEY, MaskMethod, Solved, as_masks, widening
from assay.question.question import Question

_DEFAULT_BUDGET = 2048


def regress(table: Tensor, design: Design) -> tuple[Tensor, Tensor]:
    """The weighted least squares fit of a game and its standard error: a table (..., 2 + 2 pairs)
    to two of (..., d).

    `table` holds v of nothing, of everything, of `design.half`, and of the complements. The
    standard error is the jackknife over pairs, var_i = sum_j (1 - rate_j) (H_ij e_j / (1 - h_j))^2
    with residuals e, leverages h and projector H (MacKinnon and White 1985, equation 11, with the
    finite population correction of Cochran 1977, equation 2.20); zero where every coalition was
    asked.
    """
    projector, centred, leverage, offset, missing = (
        torch.tensor(part, dtype=torch.float64, device=table.device)
        for part in (
            design.projector,
            design.centred,
            design.leverage,
            design.layer / design.features - 0.5,
            1.0 - design.rate,
        )
    )
    total = table[..., 1:2] - table[..., :1]
    half, other = table[..., 2:].tensor_split(2, dim=-1)
    odd = (half - other) / 2 - offset * total
    slopes = odd @ projector.T
    # a pair that alone decides a coefficient is fitted without residual: its own error cannot be known
    deleted = (odd - slopes @ centred.T) / (1.0 - leverage).clamp_min(1e-6)
    variance = (deleted.square() * missing) @ projector.T.square()
    return slopes + total / design.features, variance.sqrt() * widening(
        max(1, int((design.rate < 1.0).sum()))
    )


@final
@dataclass(frozen=True)
class KernelShap(MaskMethod):
    """Weighted least squares of v(S) on the coalitions S, with the Shapley kernel and the sum held
    exactly.

    min_phi sum_S (d - 1) / (C(d, |S|) |S| (d - |S|)) (v(S) - v(0) - sum_{i in S} phi_i)^2, sum_i
    phi_i = v(N) - v(0) (Lundberg and Lee 2017, theorem 2). Coalitions are drawn in complementary
    pairs, which makes games without interactions of three features or more exact (Covert and Lee
    2021, section 4.2), without replacement within each size, and spread over the sizes by
    `weighting` (Musco and Witter 2025, algorithm 1). The standard error is the jackknife over
    pairs.

    `budget`: coalitions besides the empty and the full one, at least 3 features - 2 unless all
    2^features - 2 are fewer; None means 2048, or as many as `until` needs. `until`: stop at the
    first doubling of the coalitions at which every standard error of an input is at most this (in
    units of the target); inputs stop one by one. Cost: budget + 2 evaluations per input and draw of
    the removal.

    >>> KernelShap(budget=2).solve(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64), 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    budget: int | None = None
    until: float | None = None
    weighting: Weighting = "mixture"

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "budget + 2"

    def __post_init__(self) -> None:
        if self.until is not None and not self.until > 0:
            raise InputError(
                f"until must be a standard error above zero, got {self.until}: leave it out to spend the budget"
            )
        if self.weighting not in ("leverage", "kernel", "mixture"):
            raise InputError(
                f"weighting must be 'leverage', 'kernel' or 'mixture', got {self.weighting!r}"
            )

    def design(self, features: int, seed: int) -> Design:
        """The pairs of coalitions that the whole budget buys."""
        return paired(features, self._pairs(features), seed, self.weighting)

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(self.design(features, seed).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        return regress(table, self.design(features, seed))

    def _pairs(self, features: int) -> int:
        most = int(2 ** (features - 1)) - 1
        ceiling = _DEFAULT_BUDGET if self.until is None else 2**MOST_EXACT
        pairs = min((ceiling if self.budget is None else self.budget) // 2, most)
        least = least_pairs(features)
        if pairs < least:
            raise InputError(
                f"{features} features need a budget of at least {2 * least} coalitions, got {self.budget}: "
                f"raise the budget (default {_DEFAULT_BUDGET}), or group the features"
            )
        return pairs

    def values(self, question: Question, seed: int) -> Estimate:
        return (
            super().values(question, seed)
            if self.until is None
            else self._adaptive(question, seed, self.until)
        )

    def _adaptive(self, question: Question, seed: int, until: float) -> Estimate:
        """Doubling designs, each holding the one before; the inputs whose errors are small enough
        drop out.
        """
        features = question.partition.count
        values = torch.zeros(question.n, features, dtype=torch.float64, device=question.x.device)
        error, open_ = torch.zeros_like(values), torch.arange(question.n, device=question.x.device)
        asked: Design | None = None
        table = values.new_empty(question.n, 0)
        for pairs in self._rounds(features):
            design = paired(features, pairs, seed, self.weighting)
            table = _extended(question.take(open_), table, asked, design)
            values[open_], error[open_] = regress(table, design)
            wide = (error[open_] > until).any(dim=1)
            open_, table, asked = open_[wide], table[wide], design
            if len(open_) == 0:
                break
        return Estimate(values, standard_error=error)

    def _rounds(self, features: int) -> Iterator[int]:
        most = self._pairs(features)
        pairs = min(max(5 * features, 32), most)
        while pairs < most:
            yield pairs
            pairs = min(2 * pairs, most)
        yield most


def _extended(question: Question, table: Tensor, asked: Design | None, design: Design) -> Tensor:
    """The table (n, 2 + 2 pairs) of a design, asking only what the design before has not."""
    if asked is None:
        return question.value(as_masks(with_empty_and_full(design.half), question)).to(
            torch.float64
        )
    known = design.known(asked)
    fresh = design.half[~known]
    new = question.value(as_masks(np.concatenate((fresh, ~fresh)), question)).to(torch.float64)
    grown = table.new_empty(len(table), 2 + 2 * design.pairs)
    old = torch.from_numpy(np.concatenate(([True, True], known, known))).to(table.device)
    grown[:, old], grown[:, ~old] = table, new
    return grown


def with_empty_and_full(half: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nothing, everything, one side of every pair, the other sides: (2 + 2 pairs, features)."""
    ends = np.repeat([[False], [True]], half.shape[1], axis=1)
    return np.concatenate((ends, half, ~half))


@final
@dataclass(frozen=True)
class LowOrderShap(MaskMethod):
    """The Shapley kernel regression on every coalition, for few features.

    The weighted least squares fit of `KernelShap` on all 2^M coalitions, O(2^M + M^3) (Lundberg and
    Lee 2017, section 4.2); equal to `ExactShapley` up to rounding. The standard error is zero:
    nothing is sampled. Cost: 2^features evaluations per input and draw of the removal, up to 20
    features; beyond, `InputError` says the cost.

    >>> LowOrderShap().solve(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64), 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    axioms = SHAPLEY
    cost: ClassVar[str] = "2^features"

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return with_empty_and_full(_everything(features).half)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        return regress(table, _everything(features))[0], None


def _everything(features: int) -> Design:
    if features > MOST_EXACT:
        subsets(features)  # refuses, with the cost
    return paired(features, 2 ** (features - 1) - 1, 0, "kernel")
