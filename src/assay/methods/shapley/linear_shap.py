"""Shapley values of linear models: independent features by their contributions, correlated ones
under a Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.answers.attribution import Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.shapley.coalitions import orderings
from assay.methods.shapley.games import shapley_values, subsets
from assay.methods.shapley.mask_method import as_masks, standard_error
from assay.models.base import Ability
from assay.numerics import rng
from assay.numerics.precision import rounding_tolerance
from assay.question.question import Question
from assay.removals.base import FixedAbsent

_EXACT_WORK = 1 << 28  # 2^features * elements^3 up to which coalitions are enumerated

_CHUNK = 1 << 22  # numbers held at once by batched matrices


def gaussian_exact(
    slope: Tensor, offset: Tensor, covariance: Tensor, owner: Tensor, features: int
) -> Tensor:
    """Shapley values of v(S) = E[slope . (x - mean) | x_S] for Gaussian x, by all 2^features
    coalitions.

    v(S) = (C slope)_S . C_SS^+ (x - mean)_S for the covariance C; directions without variance are
    left out (C^+). `slope`, `offset` = x - mean (n, D), `covariance` (D, D), `owner` (D,) feature
    of each element: (n, features), float64.

    >>> slope, offset = torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 2).double()
    >>> gaussian_exact(slope, offset, torch.ones(2, 2).double(), torch.arange(2), 2).round(decimals=9).tolist()
    [[0.5, 0.5]]
    """
    masks = torch.tensor(subsets(features), device=slope.device)[:, owner].to(torch.float64)
    carried = slope @ covariance
    table = slope.new_zeros(len(slope), len(masks))
    block = max(1, _CHUNK // covariance.numel())
    for a in range(0, len(masks), block):
        part = masks[a : a + block]
        inner = torch.linalg.pinv(
            part[:, :, None] * covariance * part[:, None, :], hermitian=True, rtol=1e-10
        )
        table[:, a : a + block] = torch.einsum("nd,sde,ne->ns", carried, inner, offset)
    return shapley_values(table)


def gaussian_sampled(
    slope: Tensor, offset: Tensor, covariance: Tensor, owner: Tensor, orders: NDArray[np.int64]
) -> Tensor:
    """The same game along orderings and their reverses, (pairs, features): each pair's values, (n,
    pairs, features).

    Along one ordering of the elements, with C = L L' and z = L^-1 (x - mean), element k adds (L'
    slope)_k z_k: one Cholesky factor gives all contributions of an ordering.
    """
    n, features = len(slope), orders.shape[1]
    values = slope.new_zeros(n, len(orders), features)
    jitter = (
        1e-10
        * covariance.diagonal().mean()
        * torch.eye(len(covariance), dtype=torch.float64, device=slope.device)
    )
    for which, order in enumerate(orders):
        for walk in (order, order[::-1]):
            rank = torch.from_numpy(np.argsort(walk)).to(slope.device)[owner]
            columns = torch.argsort(rank, stable=True)
            factor = torch.linalg.cholesky((covariance + jitter)[columns][:, columns])
            innovation = torch.linalg.solve_triangular(factor, offset[:, columns].T, upper=False).T
            added = slope[:, columns] @ factor * innovation
            values[:, which].index_add_(1, owner[columns], added / 2)
    return values


@final
@dataclass(frozen=True)
class LinearShap(Method):
    """Shapley values of a linear model f(x) = beta . x + c, checked to be one.

    `dependence="independent"`: phi_i = beta_i (x_i - E[x_i]), whatever the removal (Lundberg and
    Lee 2017, corollary 1); cost: features + 3 evaluations per input and draw of the removal.
    `dependence="gaussian"`: v(S) = E[f(x) | x_S] under a Gaussian with the mean and covariance of
    the removal's rows (Aas, Jullum and Loland 2021, section 3.1), so that correlated features share
    credit; needs `Background(rows)`. Exact while 2^features * elements^3 stays below 2^28; beyond,
    `orderings` random orderings, forwards and backwards, with a standard error. Cost: elements + 2
    evaluations per input. A model that is not linear in its features is refused (`InputError`).

    >>> from assay.question.question import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[3.0, 1.0]]))
    >>> LinearShap()(question).values.tolist()
    [[6.0, -1.0]]
    """

    dependence: Literal["independent", "gaussian"] = "independent"
    orderings: int = 512

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "features + 3"

    def __post_init__(self) -> None:
        if self.dependence not in ("independent", "gaussian"):
            raise InputError(
                f"dependence must be 'independent' or 'gaussian', got {self.dependence!r}"
            )
        if self.orderings < 4 or self.orderings % 2:
            raise InputError(
                f"orderings must be an even number of at least 4, got {self.orderings}"
            )

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        return (
            _independent(question, seed)
            if self.dependence == "independent"
            else self._gaussian(question, seed)
        )

    def _gaussian(self, question: Question, seed: int) -> Estimate:
        rows, labels, features = (
            _background(question),
            question.partition.labels,
            question.partition.count,
        )
        if len(labels) > 1 or bool((labels < 0).any()):
            raise InputError(
                "a correlated linear model needs features that are the same for all inputs and own every element"
            )
        spread = rows.std(dim=0)
        # In units of the columns' own spread, so that what counts as no variance does not depend on units.
        owner, mean, unit = labels[0], rows.mean(dim=0), torch.where(spread > 0, spread, 1.0)
        covariance = torch.cov((rows / unit).T).reshape(rows.shape[1], -1)
        offset = (question.x.to(torch.float64) - mean) / unit
        slope = _slopes(question, mean, unit) * unit
        if features < 63 and 2**features * len(owner) ** 3 <= _EXACT_WORK:
            return Estimate(gaussian_exact(slope, offset, covariance, owner, features))
        pairs = gaussian_sampled(
            slope, offset, covariance, owner, orderings(features, self.orderings // 2, seed)
        )
        return Estimate(pairs.mean(dim=1), standard_error=standard_error(pairs, dim=1))


def _independent(question: Question, seed: int) -> Tensor:
    features = question.partition.count
    some = rng.shared(seed, "linear check").random((1, features)) < 0.5
    ends = np.repeat([[False], [True]], features, axis=1)
    masks = np.concatenate((ends, np.eye(features, dtype=np.bool_), some))
    table = question.value(as_masks(masks, question)).to(torch.float64)
    values = table[:, 2:-1] - table[:, :1]
    for mask, seen in ((ends[1], table[:, 1]), (some[0], table[:, -1])):
        _check_linear(
            seen,
            table[:, 0] + values[:, torch.from_numpy(mask).to(values.device)].sum(dim=1),
            values,
            rounding_tolerance(question.x),
        )
    return values


def _background(question: Question) -> Tensor:
    rows = question.fixed_replacements
    if rows is None or len(rows) > 1 or rows.shape[1] < 2:
        raise InputError(
            f"dependence='gaussian' takes mean and covariance from the removal's rows, got {question.removal!r}: "
            "use removal=Background(rows) with at least two rows"
        )
    return rows[0].to(torch.float64)


def _slopes(question: Question, mean: Tensor, step: Tensor) -> Tensor:
    """The coefficients (n, elements) of a linear model by one step per element from the mean,
    checked on the inputs.
    """
    n, elements = question.x.shape
    start = mean.expand(n, -1).to(question.x.dtype)
    origin = question.score(start).to(torch.float64)
    slope = torch.zeros(n, elements, dtype=torch.float64, device=question.x.device)
    block = max(1, _CHUNK // (n * elements))
    for a in range(0, elements, block):
        moves = torch.diag(step)[a : a + block].to(question.x.dtype)
        slope[:, a : a + block] = (
            question.score(start[:, None] + moves).to(torch.float64) - origin[:, None]
        )
    slope /= step
    contributions = slope * (question.x.to(torch.float64) - mean)
    _check_linear(
        question.prediction.to(torch.float64),
        origin + contributions.sum(dim=1),
        contributions,
        rounding_tolerance(question.x),
    )
    return slope


def _check_linear(seen: Tensor, expected: Tensor, contributions: Tensor, share: float) -> None:
    gap, scale = (seen - expected).abs(), seen.abs() + contributions.abs().sum(dim=1)
    if bool((gap > share * scale + 1e-12).any()):
        raise InputError(
            f"LinearShap expects a model that is linear in its features, but contributions miss the answer by up "
            f"to {float(gap.max()):.3g}: explain a linear output (the margin, not the probability), or use KernelShap"
        )
