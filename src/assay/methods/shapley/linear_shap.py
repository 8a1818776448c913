"""Linear SHAP: Shapley values of linear models, for independent and for correlated features.

Independent features get their own contributions (Lundberg and Lee 2017, corollary 1). Correlated
ones are treated as jointly Gaussian, v(S) = E[f(x) | x_S] (Aas, Jullum and Loland 2021, section
3.1): for a linear model this conditional expectation is a regression, solved for all coalitions
where they are few, and along random orderings by one Cholesky factor each where they are many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError, SettingError
from assay.methods.base import Axiom, Estimate, Method
from assay.methods.shapley.coalitions import orderings
from assay.methods.shapley.games import (
    as_tensor,
    empty_and_full,
    shapley_values,
    subsets,
)
from assay.methods.shapley.mask_method import as_masks, standard_error
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.numerics.precision import rounding_tolerance, varies
from assay.numerics.threads import few_threads
from assay.question.question import Question
from assay.removals.fixed import refuse_categories

_EXACT_WORK = 1 << 28  # 2^features * elements^3 up to which coalitions are enumerated

_RANK_TOLERANCE = 1e-10  # share of the largest eigenvalue below which a direction has no variance

_CHECKS = 6  # coalitions at which a model's form is tried out, beside those that it is read from

_JITTER = 1e-10  # share of the mean variance added to the diagonal, so that Cholesky succeeds


def gaussian_exact(
    slope: Tensor,
    offset: Tensor,
    covariance: Tensor,
    owner: Tensor,
    features: int,
) -> Tensor:
    """Shapley values of v(S) = E[slope . (x - mean) | x_S] for Gaussian x, by all coalitions.

    v(S) = (C slope)_S . C_SS^+ (x - mean)_S for the covariance C; directions without variance say
    nothing of what is absent (C^+), and what is present counts as it is, also off the support of
    the Gaussian: slope_S . (x - mean)_S is there in full, as for `Conditional`.

    `slope`, `offset` = x - mean (n, D), `covariance` (D, D), `owner` (D,) feature of each element:
    (n, features), float64.

    >>> slope, offset = torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 2).double()
    >>> owner, covariance = torch.arange(2), torch.ones(2, 2).double()
    >>> gaussian_exact(slope, offset, covariance, owner, 2).round(decimals=9).tolist()
    [[0.5, 0.5]]
    """
    coalitions = torch.tensor(subsets(features), device=slope.device)
    masks = coalitions[:, owner].to(torch.float64)
    # The covariance of the answer with each element, C slope.
    answer_covariance = slope @ covariance
    table = slope.new_zeros(len(slope), len(masks))
    # Every principal part of a regular matrix is regular.
    with few_threads(len(covariance)):
        spectrum = torch.linalg.eigvalsh(covariance)
    singular = bool(spectrum[0] <= _RANK_TOLERANCE * spectrum[-1])
    cells_each = covariance.numel() + slope.numel()
    for piece in pieces(len(masks), cells_each):
        present = masks[piece]
        # Rows and columns of absent elements are zero,
        # and so they are in the pseudoinverse.
        inside = present[:, :, None] * covariance * present[:, None, :]
        with few_threads(len(covariance)):
            inner = torch.linalg.pinv(inside, hermitian=True, rtol=_RANK_TOLERANCE)
        table[:, piece] = torch.einsum(
            "nd,sde,ne->ns",
            answer_covariance,
            inner,
            offset,
        )
        if singular:
            explained = torch.einsum("de,sef,nf->nsd", covariance, inner, offset)
            off_support = present * (offset[:, None] - explained)
            table[:, piece] += torch.einsum("nd,nsd->ns", slope, off_support)
    return shapley_values(table)


def gaussian_sampled(
    slope: Tensor,
    offset: Tensor,
    covariance: Tensor,
    owner: Tensor,
    orders: NDArray[np.int64],
) -> Tensor:
    """The game of `gaussian_exact` along orderings and their reverses: (n, pairs, features).

    `orders` (pairs, features). Along one ordering of the elements, with C = L L' and
    z = L^-1 (x - mean), element k adds (L' slope)_k z_k: one Cholesky factor gives all
    contributions of an ordering.
    """
    n = len(slope)
    values = slope.new_zeros(n, *orders.shape)
    identity = torch.eye(
        len(covariance),
        dtype=torch.float64,
        device=slope.device,
    )
    jitter = _JITTER * covariance.diagonal().mean() * identity
    regular = covariance + jitter
    for pair, order in enumerate(orders):
        for walk in (order, order[::-1]):
            # Elements of one feature join together,
            # in the order of their columns.
            rank = as_tensor(np.argsort(walk), slope)[owner]
            columns = torch.argsort(rank, stable=True)
            with few_threads(len(regular)):
                factor = torch.linalg.cholesky(regular[columns][:, columns])
            # z is what each element adds to what those
            # before it say, in units of its own spread.
            deviations = offset[:, columns].T
            innovation = torch.linalg.solve_triangular(
                factor,
                deviations,
                upper=False,
            ).T
            contributions = slope[:, columns] @ factor * innovation
            values[:, pair].index_add_(1, owner[columns], contributions / 2)
    return values


@final
@dataclass(frozen=True)
class LinearShap(Method):
    """Shapley values of a linear model f(x) = beta . x + c, checked to be one.

    phi_i = beta_i (x_i - E[x_i])     (Lundberg and Lee 2017, corollary 1), or those of
    v(S) = E[f(x) | x_S] under a Gaussian (Aas, Jullum and Loland 2021, section 3.1)

    Settings:
        dependence: 'independent' features, whatever the removal; or 'gaussian' ones, with the mean
            and covariance of the removal's rows, so that correlated features share credit, which
            needs `Background(rows)`.
        orderings: how many random orderings, forwards and backwards together, 'gaussian' walks
            where 2^features * elements^3 is above 2^28; below, it is exact.

    Cost: at most features + 8 evaluations per input and draw of the removal for 'independent',
    elements + 8 evaluations per input for 'gaussian', six of them at coalitions drawn at random, at
    which a linear model is the sum of its parts: one that is not linear is found out there by
    chance, and for certain up to three features. Values (n, features) in units of the target; a
    standard error where orderings are sampled. Errors: InputError for a model that is not linear.

    >>> from assay.question.question import Question
    >>> question = Question(lambda x: 2 * x[:, 0] - x[:, 1], torch.tensor([[3.0, 1.0]]))
    >>> LinearShap()(question).values.tolist()
    [[6.0, -1.0]]
    """

    dependence: Literal["independent", "gaussian"] = "independent"
    orderings: int = 512

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.LINEARITY})
    cost: ClassVar[str] = "features + 8"

    def __post_init__(self) -> None:
        if self.dependence not in ("independent", "gaussian"):
            raise SettingError(
                expected="dependence 'independent' or 'gaussian'",
                got=repr(self.dependence),
                advice="Use 'gaussian' where correlated features are to share credit.",
            )
        if self.orderings < 4 or self.orderings % 2:
            raise SettingError(
                expected="as orderings an even number of at least 4",
                got=self.orderings,
                advice="Each is walked both ways, and two pairs make an error known: use 512.",
            )

    def players(self, question: Question) -> Tensor | None:
        # A feature that no row changes still tells of the others that hang together with it.
        if self.dependence == "gaussian":
            return None
        return question.changeable_features()

    def values(self, question: Question, seed: int) -> Tensor | Estimate:
        if self.dependence == "independent":
            return _independent(question, seed)
        return self._gaussian(question, seed)

    def _gaussian(self, question: Question, seed: int) -> Estimate:
        refuse_categories(
            question.layout,
            "dependence='gaussian'",
            "Use LinearShap('independent'), or KernelShap with Conditional(rows, kind='kernel').",
        )
        rows = _background(question)
        owner = _shared_labels(question)
        features = question.partition.count
        mean = rows.mean(dim=0)
        # In units of the columns' own spread, so that
        # what counts as no variance does not depend on
        # units; a column that is constant up to rounding
        # keeps its own.
        moving = varies(rows, dim=0)
        rows = torch.where(moving, rows, mean)
        unit = torch.where(moving, rows.std(dim=0), 1.0)
        covariance = torch.cov((rows / unit).T).reshape(rows.shape[1], -1)
        offset = (question.x.to(torch.float64) - mean) / unit
        slope = _slopes(question, mean, unit, seed) * unit
        # The size of 2^features is bounded first,
        # so that no huge integer is built.
        if features < 63 and 2**features * len(owner) ** 3 <= _EXACT_WORK:
            values = gaussian_exact(slope, offset, covariance, owner, features)
            return Estimate(values)
        orders = orderings(features, self.orderings // 2, seed)
        pairs = gaussian_sampled(slope, offset, covariance, owner, orders)
        error = standard_error(pairs, dim=1)
        return Estimate(pairs.mean(dim=1), standard_error=error)


def _independent(question: Question, seed: int) -> Tensor:
    """What each feature adds alone; the full coalition and some others check that this is all."""
    features = question.partition.count
    ends = empty_and_full(features)
    singles = np.eye(features, dtype=np.bool_)
    masks = np.concatenate((ends, singles, _coalitions_to_check(features, seed)))
    table = question.value(as_masks(masks, question)).to(torch.float64)
    empty = table[:, :1]
    values = table[:, 2 : 2 + features] - empty
    tolerance = rounding_tolerance(question.x)
    for coalition in (1, *range(2 + features, len(masks))):
        answers = table[:, coalition]
        present = as_tensor(masks[coalition], values)
        expected = table[:, 0] + values[:, present].sum(dim=1)
        _check_linear(answers, expected, values, tolerance)
    return values


def _coalitions_to_check(players: int, seed: int) -> NDArray[np.bool_]:
    """Coalitions of two players or more, not of all: every one where they are few, else random ones.

    Each comes with what it leaves out: two players that act together are both in one of the two
    half of the time.
    """
    if 2 ** min(players, 16) - players - 2 <= _CHECKS:
        every = subsets(players)
        sizes = every.sum(axis=1)
        partial: NDArray[np.bool_] = every[(sizes > 1) & (sizes < players)]
        return partial
    generator = rng.shared(seed, "linear check")
    drawn: NDArray[np.bool_] = generator.random((_CHECKS // 2, players)) < 0.5
    return np.concatenate((drawn, ~drawn))


def _background(question: Question) -> Tensor:
    """The removal's rows, which stand for the population: (rows, elements), float64."""
    rows = question.fixed_replacements
    if rows is None or len(rows) > 1 or rows.shape[1] < 2:
        raise InputError(
            expected="for dependence='gaussian' a removal whose rows have a mean and covariance",
            got=repr(question.removal),
            advice="Ask with removal=Background(rows) with at least two rows.",
        )
    return rows[0].to(torch.float64)


def _shared_labels(question: Question) -> Tensor:
    """The feature of each element, (elements,), the same for all inputs."""
    labels = question.partition.labels
    if len(labels) > 1 or bool((labels < 0).any()):
        raise InputError(
            expected="features that are the same for all inputs and own every element",
            got=repr(question.features),
            advice="Use Columns(), with groups if need be, or dependence='independent'.",
        )
    return labels[0]


def _slopes(question: Question, mean: Tensor, step: Tensor, seed: int) -> Tensor:
    """The coefficients (n, elements) of a linear model, checked on the inputs and between them and
    the mean.

    By one step per element from the mean: `mean` and `step` are (elements,).
    """
    n, elements = question.x.shape
    device = question.x.device
    start = mean.expand(n, -1).to(question.x.dtype)
    origin = question.score(start).to(torch.float64)
    slope = torch.zeros(n, elements, dtype=torch.float64, device=device)
    for piece in pieces(elements, cells_each=n * elements):
        moves = torch.diag(step)[piece].to(question.x.dtype)
        moved = question.score(start[:, None] + moves).to(torch.float64)
        slope[:, piece] = moved - origin[:, None]
    slope /= step
    contributions = slope * (question.x.to(torch.float64) - mean)
    prediction = question.prediction.to(torch.float64)
    expected = origin + contributions.sum(dim=1)
    tolerance = rounding_tolerance(question.x)
    _check_linear(prediction, expected, contributions, tolerance)
    coalitions = _coalitions_to_check(elements, seed)
    for present in torch.from_numpy(coalitions).to(device):
        answers = question.score(torch.where(present, question.x, start)).to(torch.float64)
        parts = contributions[:, present]
        _check_linear(answers, origin + parts.sum(dim=1), parts, tolerance)
    return slope


def _check_linear(
    answers: Tensor,
    expected: Tensor,
    contributions: Tensor,
    tolerance: float,
) -> None:
    gap = (answers - expected).abs()
    # Rounding is relative to the numbers that are
    # added, which may cancel in the answer.
    scale = answers.abs() + contributions.abs().sum(dim=1)
    if bool((gap > tolerance * scale + 1e-12).any()):
        raise InputError(
            expected="for LinearShap a model that is linear in its features",
            got=f"contributions that miss the answer by up to {float(gap.max()):.3g}",
            advice="Explain a linear output (the margin, not the probability), or use KernelShap.",
        )
