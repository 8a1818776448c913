"""The surrogate that LIME fits: weighted least squares, on all columns or on a few picked ones,
with its error bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from assay.methods.lime import least_squares as sparse
from assay.methods.lime.neighbourhood import Sample
from assay.numerics import rng

Selection = Literal["auto", "forward", "lasso", "highest"]

Pick: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Gram matrices and moments to the picked columns (n, k)."""

Scatter: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
"""Coefficients (n, d) and the picked columns (n, k), all where there are none, to the covariance of
their moments (n, k, k).
"""

Stability: TypeAlias = Callable[[Pick], Tensor]

_BLOCKS = 20  # blocks of draws that the selection's stability is resampled from

_REPEATS = 20  # resampled selections, compared in pairs


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """Surrogates of some inputs: coefficients, their standard errors, columns picked (n, k),
    intercepts, R^2.
    """

    coefficients: Tensor
    standard_error: Tensor
    picked: Tensor | None
    intercept: Tensor
    r2: Tensor
    stability: Tensor


def fit(sample: Sample, keep: int | None, selection: Selection, ridge: float, seed: int) -> Fit:
    """The weighted least squares surrogate of every row of answers, on all columns or on `keep` of
    them.

    Standard errors are the sandwich B^-1 W B^-1 with B the weighted second moment of the centred
    columns and W = sum_i w_i^2 e_i^2 z_i z_i' over the random draws (White 1980), times m / (m -
    columns - 1).
    """
    data = sparse.moments(sample.design, sample.weights, sample.answers)

    def scatter(coefficients: Tensor, picked: Tensor | None) -> Tensor:
        return _sandwich(sample, data, coefficients, picked)

    return solved(
        data,
        keep,
        picker(keep, selection, ridge),
        ridge,
        scatter,
        lambda pick: _stability(sample, pick, seed),
    )


def solved(
    data: sparse.Moments,
    keep: int | None,
    pick: Pick,
    ridge: float,
    scatter: Scatter,
    stability: Stability,
) -> Fit:
    """The surrogates that follow from moments with the covariance that `scatter` tells."""
    columns = data.moment.shape[1]
    if keep is None or keep >= columns:
        picked, coefficients = None, sparse.solve(data.gram, data.moment, ridge)
        bread = sparse.inverse(data.gram, ridge)
        error = (bread @ scatter(coefficients, None) @ bread).diagonal(dim1=-2, dim2=-1)
        agreed = torch.ones_like(data.mean)
    else:
        picked = pick(data.gram, data.moment)
        bread = sparse.inverse(sparse.restrict(data.gram, picked), ridge)
        some = (bread @ data.moment.gather(1, picked)[..., None]).squeeze(-1)
        coefficients = torch.zeros_like(data.moment).scatter_(1, picked, some)
        some_error = (bread @ scatter(coefficients, picked) @ bread).diagonal(dim1=-2, dim2=-1)
        error = torch.zeros_like(data.moment).scatter_(1, picked, some_error)
        agreed = stability(pick)
    curved = (coefficients[:, None, :] @ data.gram @ coefficients[..., None]).flatten()
    left = data.power - 2 * (coefficients * data.moment).sum(dim=1) + curved
    r2 = torch.where(
        data.power > 0, 1 - left / data.power.clamp_min(torch.finfo(left.dtype).tiny), 1.0
    )
    intercept = data.mean - (data.centre * coefficients).sum(dim=1)
    return Fit(coefficients, error.clamp_min(0).sqrt(), picked, intercept, r2, agreed)


def select(gram: Tensor, moment: Tensor, keep: int, selection: Selection, ridge: float) -> Tensor:
    """The picked columns (..., keep). "auto" is forward selection up to six columns, the highest
    weights above.
    """
    if selection == "lasso":
        return sparse.lasso_path(gram, moment, keep)
    if selection == "forward" or (selection == "auto" and keep <= 6):
        return sparse.forward_selection(gram, moment, keep)
    return sparse.highest_weights(gram, moment, keep, ridge)


def picker(keep: int | None, selection: Selection, ridge: float) -> Pick:
    """`select` with its settings."""
    return partial(select, keep=keep or 0, selection=selection, ridge=ridge)


def _sandwich(
    sample: Sample, data: sparse.Moments, coefficients: Tensor, picked: Tensor | None
) -> Tensor:
    """The covariance of the picked columns' moments: what the random draws scatter around the fit."""
    share = sample.weights / sample.weights.sum(dim=1, keepdim=True)
    apart = sample.design - data.centre[:, None, :]
    fitted = (
        coefficients @ apart[0].T
        if len(apart) == 1
        else (apart @ coefficients[..., None]).squeeze(-1)
    )
    left = share * (sample.answers - data.mean[:, None] - fitted)
    if picked is not None:
        apart = apart.expand(len(left), -1, -1).gather(
            2, picked[:, None, :].expand(-1, apart.shape[1], -1)
        )
    scores = (left[..., None] * apart)[:, sample.fixed :]
    draws, spent = scores.shape[1], scores.shape[2] + 1
    if sample.levels is not None and draws > 2 * (3 * sample.levels.shape[1] + 1):
        # A balanced design adds no error from main effects (Owen 1992), so they are taken out of what is left.
        scores, spent = _without_main_effects(scores, sample.levels), 3 * sample.levels.shape[1] + 1
    return scores.mT @ scores * (draws / max(1, draws - spent))


def _without_main_effects(scores: Tensor, levels: Tensor) -> Tensor:
    """Scores (n, m, d) less their mean at every level (m, columns) of every column."""
    strata = torch.nn.functional.one_hot(levels, 4).flatten(1).to(scores.dtype)
    rows = scores.transpose(0, 1).flatten(1)  # one product for all inputs
    means = strata.T @ rows / strata.sum(dim=0)[:, None].clamp_min(1)
    middle = rows.mean(dim=0, keepdim=True)
    left = rows - middle - strata @ (means - middle)
    return left.view(scores.shape[1], len(scores), -1).transpose(0, 1)


def _stability(sample: Sample, pick: Pick, seed: int) -> Tensor:
    """The mean Jaccard similarity (n,) of the columns that pairs of bootstrap repeats over blocks
    of draws pick.

    Blocks are summed up once, so that a repeat costs a Gram matrix of sums. A balanced design
    agrees better than this.
    """
    design, weights, answers = sample.design, sample.weights, sample.answers
    table = torch.cat([torch.ones_like(design[..., :1]), design], dim=2)
    draws = table.shape[1] - sample.fixed
    block = torch.cat([torch.zeros(sample.fixed), 1 + torch.arange(draws) % _BLOCKS]).to(
        design.device
    )
    parts = [
        (table[:, at], weights[:, at], answers[:, at])
        for at in (block == one for one in range(_BLOCKS + 1))
    ]
    grams = torch.stack([rows.mT @ (weight[..., None] * rows) for rows, weight, _ in parts])
    sums = torch.stack([((weight * own)[:, None] @ rows).squeeze(1) for rows, weight, own in parts])
    counts = rng.shared(seed, "lime stability").multinomial(
        _BLOCKS, [1 / _BLOCKS] * _BLOCKS, size=_REPEATS
    )
    members = torch.zeros(
        _REPEATS, len(answers), design.shape[2], dtype=torch.bool, device=design.device
    )
    for member, count in zip(members, torch.from_numpy(counts).to(design)):
        times = torch.cat([torch.ones_like(count[:1]), count])
        gram, moment = torch.tensordot(times, grams, 1), torch.tensordot(times, sums, 1)
        whole = gram[:, :1, :1]
        centre, gram, moment = gram[:, 0, 1:] / whole[:, 0], gram / whole, moment / whole[:, 0]
        apart = gram[:, 1:, 1:] - centre[:, :, None] * centre[:, None, :]
        member.scatter_(1, pick(apart, moment[:, 1:] - centre * moment[:, :1]), True)
    return jaccard(members)


def jaccard(members: Tensor) -> Tensor:
    """The mean Jaccard similarity (n,) of sets (repeats, n, d), compared in pairs."""
    one, other = members[::2], members[1::2]
    return ((one & other).sum(dim=2) / (one | other).sum(dim=2)).mean(dim=0, dtype=torch.float64)
