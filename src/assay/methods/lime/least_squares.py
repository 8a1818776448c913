"""Weighted least squares and sparse selection on Gram matrices.

Everything a fit needs of m draws is in their weighted second moments, so they are summed up once
(`moments_of`), and every fit, ridge and selection afterwards costs what its d features cost, not its
draws: forward selection is the sweep operator (Goodnight 1979, "A tutorial on the sweep operator"),
the lasso path is least angle regression on the Gram matrix (Efron, Hastie, Johnstone and Tibshirani
2004), and collinear columns get the solution of least norm from a pseudo-inverse.

All functions are batched over leading dimensions: gram (..., d, d) is the weighted second moment of
the centred columns and moment (..., d) their weighted covariance with the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from assay.methods.lime.neighbourhood import Sample
from assay.numerics.threads import few_threads

# The share of a column's variance below which it counts as explained by the other columns: far above
# what rounding leaves in float64 (1e-16), far below any correlation that could matter.
COLLINEAR = 1e-10

# The same share, above which triangles are as good as eigenvalues.
_APART = 1e-4


@final
@dataclass(frozen=True)
class Moments:
    """Weighted first and second moments of designs and answers; weights sum to one.

    r is 1 where all inputs share one design, and n otherwise.

    Settings:
        gram: covariance of the columns, (r, d, d).
        moment: covariance of the columns with the answers, (n, d).
        design_mean: mean of the columns, (r, d).
        answer_mean: mean of the answers, (n,).
        answer_variance: variance of the answers, (n,).
    """

    gram: Tensor
    moment: Tensor
    design_mean: Tensor
    answer_mean: Tensor
    answer_variance: Tensor


def moments_of(sample: Sample) -> Moments:
    """The weighted moments of all draws of a sample.

    One Gram matrix serves every input where the design is shared.
    """
    design = sample.design
    shares = sample.shares
    design_mean = (shares[:, None, :] @ design).squeeze(1)
    answer_mean = (shares * sample.answers).sum(dim=1)
    centred_design = design - design_mean[:, None]
    centred_answers = sample.answers - answer_mean[:, None]
    weighted_answers = shares * centred_answers
    if len(design) == 1:
        # A shared design: one matrix product for
        # all inputs, without a copy of it for each.
        moment = weighted_answers @ centred_design[0]
    else:
        product = weighted_answers[:, None, :] @ centred_design
        moment = product.squeeze(1)
    weighted_design = shares[:, :, None] * centred_design
    answer_variance = weighted_answers * centred_answers
    return Moments(
        gram=centred_design.mT @ weighted_design,
        moment=moment,
        design_mean=design_mean,
        answer_mean=answer_mean,
        answer_variance=answer_variance.sum(dim=1),
    )


def solve(gram: Tensor, moment: Tensor, ridge: float = 0.0) -> Tensor:
    """The coefficients b of (gram + ridge) b = moment, of least norm where columns are collinear."""
    solution = inverse(gram, ridge) @ moment[..., None]
    return solution.squeeze(-1)


def inverse(gram: Tensor, ridge: float) -> Tensor:
    """The (pseudo-)inverse of gram + ridge: directions without variance get none, constant columns
    get zeros.
    """
    size = gram.shape[-1]
    eye = torch.eye(size, dtype=gram.dtype, device=gram.device)
    penalised = gram + ridge * eye
    with few_threads(size):
        inverse_gram: Tensor = torch.linalg.pinv(penalised, hermitian=True, rtol=COLLINEAR)
    # A ridge gives constant columns a diagonal of their
    # own, so the pseudo-inverse does not see them.
    varies = gram.diagonal(dim1=-2, dim2=-1) > 0
    both_vary = varies[..., :, None] & varies[..., None, :]
    return inverse_gram * both_vary


def forward_selection(gram: Tensor, moment: Tensor, keep: int) -> Tensor:
    """The columns picked one by one, each the one that raises R^2 most.

    After a column p is picked, it is swept out of the others: G - G_p G_p' / G_pp, c - G_p c_p /
    G_pp, so that the gain of column j is c_j^2 / G_jj. Returns (..., keep) indices, in order of
    choice.
    """
    gram, moment = _batched(gram, moment)
    # Judged against the variance before any
    # sweep: what is left of a copy is rounding.
    floor = COLLINEAR * gram.diagonal(dim1=-2, dim2=-1)
    taken = torch.zeros_like(moment, dtype=torch.bool)
    order = []
    for _ in range(keep):
        variance = gram.diagonal(dim1=-2, dim2=-1)
        tiny = torch.finfo(variance.dtype).tiny
        divisor = variance.clamp_min(tiny)
        reduction = moment.square() / divisor
        gain = torch.where(variance > floor, reduction, 0.0)
        # Below any gain, so that collinear columns (gain
        # 0) are still picked before a second time.
        open_gain = gain.masked_fill(taken, -1.0)
        best = open_gain.argmax(dim=-1, keepdim=True)
        order.append(best)
        taken = taken.scatter(-1, best, True)
        # Sweep the column out. One without
        # variance has nothing to take along.
        index = best[..., None].expand(*gram.shape[:-1], 1)
        column = gram.gather(-1, index).squeeze(-1)
        pivot = column.gather(-1, best)
        has_variance = pivot > floor.gather(-1, best)
        scale = torch.where(has_variance, 1.0 / pivot, 0.0)
        moment = moment - column * moment.gather(-1, best) * scale
        scaled = (column * scale)[..., None, :]
        gram = gram - column[..., :, None] * scaled
    return torch.cat(order, dim=-1)


def highest_weights(gram: Tensor, moment: Tensor, keep: int, ridge: float = 0.0) -> Tensor:
    """The columns with the largest standardised coefficients |b_j| sd_j of the full fit.

    Returns (..., keep) indices, the largest first.
    """
    variance = gram.diagonal(dim1=-2, dim2=-1)
    sd = variance.clamp_min(0.0).sqrt()
    size = _ranked_by(gram, moment, ridge).abs() * sd
    # Stable: ties go to the first column, on every device.
    order = size.sort(dim=-1, descending=True, stable=True)
    return order.indices[..., :keep]


def _ranked_by(gram: Tensor, moment: Tensor, ridge: float) -> Tensor:
    """`solve` for a ranking alone: by triangles where no column is nearly one of the others, for a
    fraction of the time that eigenvalues take.
    """
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    with few_threads(gram.shape[-1]):
        triangle, failed = torch.linalg.cholesky_ex(gram + ridge * eye)
    pivots = triangle.diagonal(dim1=-2, dim2=-1).square()
    variance = gram.diagonal(dim1=-2, dim2=-1)
    # A pivot is what the columns before leave of a variance.
    apart = bool((pivots > _APART * variance.amax(dim=-1, keepdim=True)).all())
    if bool(failed.any()) or not apart or not bool((variance > 0).all()):
        return solve(gram, moment, ridge)
    return torch.cholesky_solve(moment[..., None], triangle).squeeze(-1)


def lasso_path(gram: Tensor, moment: Tensor, keep: int) -> Tensor:
    """The columns of the last point on the lasso path that has `keep` of them.

    A path that ends earlier (collinear columns, or a perfect fit) is filled up with the highest
    weights. Returns (..., keep) indices, ascending.
    """
    gram, moment = _batched(gram, moment)
    columns = moment.shape[-1]
    ranking = highest_weights(gram, moment, columns)
    # One path at a time, on the processor:
    # scikit-learn's is not batched.
    problems = zip(
        gram.reshape(-1, columns, columns).cpu().numpy(),
        moment.reshape(-1, columns).cpu().numpy(),
        ranking.reshape(-1, columns).cpu().numpy(),
    )
    active = [_lasso_columns(*problem, keep) for problem in problems]
    supports = torch.tensor(np.stack(active), device=moment.device)
    return supports.reshape(*moment.shape[:-1], keep)


def _lasso_columns(
    gram: np.ndarray, moment: np.ndarray, ranking: np.ndarray, keep: int
) -> np.ndarray:
    from sklearn.linear_model import lars_path_gram

    # Without any covariance there is no path:
    # least angle regression would divide by zero.
    if not np.any(moment):
        return np.sort(ranking[:keep])
    *_, path = lars_path_gram(
        moment,
        gram,
        n_samples=1,
        method="lasso",
        alpha_min=0.0,
    )
    return last_on_path(path, ranking, keep)


def last_on_path(path: np.ndarray, ranking: np.ndarray, keep: int) -> np.ndarray:
    """The columns of the last point of a path (d, points) that has `keep` of them, filled up with
    the first of a ranking.
    """
    # Where columns tie, two may enter at once and no point has exactly `keep`.
    sizes = np.count_nonzero(path, axis=0)
    # Columns may leave the path again, so its last
    # point of that size counts, not the first.
    last = int(np.flatnonzero(sizes <= keep)[-1])
    active = np.flatnonzero(path[:, last])
    inactive = ranking[~np.isin(ranking, active)]
    filler = inactive[: keep - len(active)]
    return np.sort(np.concatenate([active, filler]))


def restrict(gram: Tensor, columns: Tensor) -> Tensor:
    """The Gram matrices of some columns (..., k) of each: (..., d, d) to (..., k, k)."""
    batch = columns.shape[:-1]
    size = gram.shape[-1]
    kept = columns.shape[-1]
    gram = gram.expand(*batch, size, size)
    row_index = columns[..., :, None].expand(*batch, kept, size)
    column_index = columns[..., None, :].expand(*batch, kept, kept)
    return gram.gather(-2, row_index).gather(-1, column_index)


def _batched(gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    """A Gram matrix for every moment, where it was shared."""
    return gram.expand(*moment.shape, moment.shape[-1]), moment
