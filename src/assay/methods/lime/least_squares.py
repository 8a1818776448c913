"""Weighted least squares and sparse selection on Gram matrices: every fit costs what its features
cost, not its samples.

All functions are batched over leading dimensions: gram (..., d, d) is the weighted second moment of
the centred columns and moment (..., d) their weighted covariance with the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

_COLLINEAR = (
    1e-10  # the share of a column's variance below which the rest of the columns explain it
)


@final
@dataclass(frozen=True)
class Moments:
    """Weighted first and second moments of designs and answers; weights sum to one.

    `gram` (r, d, d), `moment` (n, d), `centre` (r, d), `mean` (n,), `power` (n,): r is 1 where all
    rows share one design.
    """

    gram: Tensor
    moment: Tensor
    centre: Tensor
    mean: Tensor
    power: Tensor


def moments(design: Tensor, weights: Tensor, answers: Tensor) -> Moments:
    """Moments of designs (r, m, d) with weights (r, m) against answers (n, m), r = 1 (one design
    for all) or n.

    One Gram matrix serves every row and label where the design is shared.
    """
    share = weights / weights.sum(dim=1, keepdim=True)
    centre = (share[:, None, :] @ design).squeeze(1)
    mean = (share * answers).sum(dim=1)
    apart, rest = design - centre[:, None, :], answers - mean[:, None]
    weighted = share * rest
    moment = weighted @ apart[0] if len(apart) == 1 else (weighted[:, None, :] @ apart).squeeze(1)
    gram = apart.mT @ (share[:, :, None] * apart)
    return Moments(gram, moment, centre, mean, (weighted * rest).sum(dim=1))


def solve(gram: Tensor, moment: Tensor, ridge: float = 0.0) -> Tensor:
    """The coefficients b of (gram + ridge) b = moment, of least norm where columns are collinear."""
    return (inverse(gram, ridge) @ moment[..., None]).squeeze(-1)


def inverse(gram: Tensor, ridge: float = 0.0) -> Tensor:
    """The (pseudo-)inverse of gram + ridge: directions without variance get none, fixed columns get
    zeros.
    """
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    inverted: Tensor = torch.linalg.pinv(gram + ridge * eye, hermitian=True, rtol=_COLLINEAR)
    moving = gram.diagonal(dim1=-2, dim2=-1) > 0
    return inverted * (moving[..., :, None] & moving[..., None, :])


def forward_selection(gram: Tensor, moment: Tensor, keep: int) -> Tensor:
    """The columns picked one by one, each the one that raises R^2 most: (..., keep) indices in
    order of choice.

    After a column p is picked, it is swept out of the rest: G - G_p G_p' / G_pp, c - G_p c_p /
    G_pp, so that the gain of column j is c_j^2 / G_jj.
    """
    gram, moment = (part.clone() for part in _batched(gram, moment))
    floor = _COLLINEAR * gram.diagonal(dim1=-2, dim2=-1)
    taken = torch.zeros_like(moment, dtype=torch.bool)
    picked = []
    for _ in range(keep):
        own = gram.diagonal(dim1=-2, dim2=-1)
        gain = torch.where(
            own > floor, moment.square() / own.clamp_min(torch.finfo(own.dtype).tiny), 0.0
        )
        best = gain.masked_fill(taken, -1.0).argmax(dim=-1, keepdim=True)
        picked.append(best)
        taken = taken.scatter(-1, best, True)
        column = gram.gather(-1, best[..., None].expand(*gram.shape[:-1], 1)).squeeze(-1)
        pivot = column.gather(-1, best)
        scale = torch.where(pivot > floor.gather(-1, best), 1.0 / pivot, 0.0)
        moment = moment - column * moment.gather(-1, best) * scale
        gram = gram - column[..., :, None] * (column * scale)[..., None, :]
    return torch.cat(picked, dim=-1)


def highest_weights(gram: Tensor, moment: Tensor, keep: int, ridge: float = 0.0) -> Tensor:
    """The columns with the largest standardised coefficients of the full fit, |b_j| sd_j: (...,
    keep) indices.
    """
    spread = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt()
    weight = solve(gram, moment, ridge).abs() * spread
    return weight.sort(dim=-1, descending=True, stable=True).indices[..., :keep]


def lasso_path(gram: Tensor, moment: Tensor, keep: int) -> Tensor:
    """The columns of the last point on the lasso path that has `keep` of them: (..., keep) indices,
    ascending.

    The path is computed by least angle regression (Efron, Hastie, Johnstone and Tibshirani 2004) on
    the Gram matrix. A path that ends earlier (collinear columns, or a perfect fit) is filled up
    with the highest weights.
    """
    gram, moment = _batched(gram, moment)
    rest = highest_weights(gram, moment, moment.shape[-1]).cpu().numpy()
    flat_gram = gram.flatten(0, -3).cpu().numpy() if gram.dim() > 3 else gram.cpu().numpy()
    flat_moment = moment.flatten(0, -2).cpu().numpy()
    rest = rest.reshape(len(flat_moment), -1)
    chosen = [_lasso_active(*row, keep) for row in zip(flat_gram, flat_moment, rest)]
    return torch.tensor(np.stack(chosen), device=moment.device).reshape(*moment.shape[:-1], keep)


def _lasso_active(gram: np.ndarray, moment: np.ndarray, rest: np.ndarray, keep: int) -> np.ndarray:
    from sklearn.linear_model import lars_path_gram

    if not np.any(moment):
        return np.sort(rest[:keep])
    *_, path = lars_path_gram(moment, gram, n_samples=1, method="lasso", alpha_min=0.0)
    sizes = np.count_nonzero(path, axis=0)
    last = int(np.flatnonzero(sizes <= keep)[-1])
    active = np.flatnonzero(path[:, last])
    filler = rest[~np.isin(rest, active)][: keep - len(active)]
    return np.sort(np.concatenate([active, filler]))


def restrict(gram: Tensor, picked: Tensor) -> Tensor:
    """The Gram matrices of the picked columns: (..., d, d) and (..., k) to (..., k, k)."""
    gram = gram.expand(*picked.shape[:-1], *gram.shape[-2:])
    rows = gram.gather(-2, picked[..., :, None].expand(*picked.shape, gram.shape[-1]))
    return rows.gather(
        -1, picked[..., None, :].expand(*picked.shape[:-1], picked.shape[-1], picked.shape[-1])
    )


def _batched(gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    return gram.expand(*moment.shape, moment.shape[-1]), moment
