"""Selection of columns where draws are hardly more than columns, or fewer.

A Gram matrix of d columns then has no more rank than the m draws, and d x d numbers to hold and to
factor. The same least squares, forward selection and lasso path are read off the draws instead: with
A the weighted centred design (m, d), the solution of least norm is A' (A A' + ridge)^+ y (the dual
form of ridge regression: Saunders, Gammerman and Vovk 1998), and a sweep is a projection of A's
columns (orthogonal matching pursuit: Pati, Rezaiifar and Krishnaprasad 1993). The columns that are
kept are refitted on their own, as everywhere.

The primal form beside it, and its twin in tests: `least_squares.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from assay.methods.lime.least_squares import COLLINEAR, last_on_path
from assay.methods.lime.neighbourhood import Sample
from assay.methods.lime.surrogate import (
    DrawMoments,
    Selector,
    Surrogate,
    bootstrap_counts,
    draw_blocks,
    fit,
    jaccard,
)
from assay.numerics.threads import few_threads

# Up to so many draws for each column: a bootstrap repeat has two thirds of them.
_DRAWS_PER_COLUMN = 1.5


def suits(sample: Sample, selector: Selector) -> bool:
    """Whether columns are selected, out of so many that the draws are the smaller side."""
    _, draws, columns = sample.design.shape
    return selector.selects(columns) and draws < _DRAWS_PER_COLUMN * columns


def fit_few_draws(sample: Sample, selector: Selector, seed: int) -> Surrogate:
    """`surrogate.fit` with `DrawMoments`, without a Gram matrix of all columns."""
    rows = Rows.of(sample)
    once = torch.ones_like(sample.weights[0])
    support = rows.support(selector, once)
    inputs = len(support)
    _, draws, columns = sample.design.shape
    # Refitted on the selected columns alone;
    # all others are 0, without an error.
    index = support[:, None, :].expand(-1, draws, -1)
    design = sample.design.expand(inputs, -1, -1).gather(2, index)
    alone = replace(
        sample,
        design=design,
        weights=sample.weights.expand(inputs, -1),
        strata=None,
    )
    # Strata are of no use here: with few draws their
    # main effects would take all there is.
    refit = fit(DrawMoments.of(alone, seed), replace(selector, keep=None))
    zeros = torch.zeros(inputs, columns, dtype=design.dtype, device=design.device)
    # The same blocks and repeats as where draws are many.
    blocks = draw_blocks(sample)
    repeats = []
    for count in bootstrap_counts(seed).to(zeros):
        multiplicity = torch.cat([count.new_ones(1), count])[blocks]
        repeats.append(rows.support(selector, multiplicity))
    return replace(
        refit,
        coefficients=zeros.scatter(1, support, refit.coefficients),
        standard_error=zeros.scatter(1, support, refit.standard_error),
        support=support,
        stability=jaccard(torch.stack(repeats), columns),
    )


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """The draws of n inputs, and the inner products of their designs, computed once.

    Settings:
        design: interpretable vectors less their mean, (r, m, d).
        weights: proximities, (r, m).
        answers: the target at every draw, (n, m).
        products: of every two draws' designs, (r, m, m).
    """

    design: Tensor
    weights: Tensor
    answers: Tensor
    products: Tensor

    @classmethod
    def of(cls, sample: Sample) -> Rows:
        """The draws of a sample."""
        mean = sample.shares[:, None, :] @ sample.design
        design = sample.design - mean
        return cls(design, sample.weights, sample.answers, design @ design.mT)

    def support(self, selector: Selector, multiplicity: Tensor) -> Tensor:
        """The columns (n, keep) that a selector picks from draws that count so many times (m,)."""
        drawn = multiplicity > 0
        weights = (self.weights * multiplicity)[:, drawn]
        shares = weights / weights.sum(dim=1, keepdim=True)
        design = self.design[:, drawn]
        centred = design - shares[:, None, :] @ design
        root = shares.sqrt()
        answers = self.answers[:, drawn]
        answers = answers - (shares * answers).sum(dim=1, keepdim=True)
        table = root[..., None] * centred
        target = root * answers
        keep = selector.keep or 0
        rule = selector.rule
        if rule == "forward":
            tables = table.expand(len(target), -1, -1)
            picked = [_forward(one, each, keep) for one, each in zip(tables, target)]
            return torch.stack(picked)
        products = self.products[:, drawn][..., drawn]
        products = _centred(products, shares) * root[..., None] * root[:, None, :]
        # The lasso's path is that of no ridge.
        ridge = selector.ridge if rule == "highest" else 0.0
        ranking = _ranking(table, target, products, ridge)
        if rule == "highest":
            return ranking[:, :keep]
        return _lasso(table, target, ranking, keep)


def _centred(products: Tensor, shares: Tensor) -> Tensor:
    """Inner products of rows less their mean, from those of the rows: (r, m, m)."""
    with_mean = products @ shares[..., None]
    mean_square = shares[:, None, :] @ with_mean
    return products - with_mean - with_mean.mT + mean_square


def _ranking(table: Tensor, target: Tensor, products: Tensor, ridge: float) -> Tensor:
    """Columns (n, d) by the size of their standardised coefficients |b_j| sd_j, the largest first."""
    eye = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    with few_threads(products.shape[-1]):
        inverse = torch.linalg.pinv(products + ridge * eye, hermitian=True, rtol=COLLINEAR)
    dual = (inverse @ target[..., None]).squeeze(-1)
    # One product for all inputs that share the design.
    shared = len(table) == 1
    coefficients = dual @ table[0] if shared else (dual[:, None, :] @ table).squeeze(1)
    sd = table.square().sum(dim=1).sqrt()
    size = coefficients.abs() * sd
    # Stable: ties go to the first column, on every device.
    order: Tensor = size.sort(dim=-1, descending=True, stable=True).indices
    return order


def _forward(table: Tensor, target: Tensor, keep: int) -> Tensor:
    """`least_squares.forward_selection` by projections: columns of table (m, d), in order."""
    variance = table.square().sum(dim=0)
    moment = target @ table
    floor = COLLINEAR * variance
    taken = torch.zeros_like(moment, dtype=torch.bool)
    basis = table[:, :0]
    order = []
    for _ in range(keep):
        tiny = torch.finfo(variance.dtype).tiny
        reduction = moment.square() / variance.clamp_min(tiny)
        gain = torch.where(variance > floor, reduction, 0.0)
        # Below any gain, so that collinear columns (gain
        # 0) are still picked before a second time.
        best = gain.masked_fill(taken, -1.0).argmax()
        order.append(best)
        taken[best] = True
        # One without variance has nothing to take along.
        if bool(variance[best] <= floor[best]):
            continue
        # Twice, since rounding leaves some of the basis in after once.
        column = table[:, best]
        for _ in range(2):
            column = column - basis @ (basis.mT @ column)
        column = column / column.norm()
        basis = torch.cat([basis, column[:, None]], dim=1)
        along = column @ table
        moment = moment - (column @ target) * along
        variance = variance - along.square()
    return torch.stack(order)


def _lasso(table: Tensor, target: Tensor, ranking: Tensor, keep: int) -> Tensor:
    """`least_squares.lasso_path` from the draws: (n, keep), ascending."""
    from sklearn.linear_model import lars_path

    tables = table.expand(len(target), -1, -1).cpu().numpy()
    active = []
    for one, answers, order in zip(tables, target.cpu().numpy(), ranking.cpu().numpy()):
        # Without any covariance there is no path.
        if not np.any(answers @ one):
            active.append(np.sort(order[:keep]))
            continue
        *_, path = lars_path(one, answers, method="lasso", alpha_min=0.0)
        active.append(last_on_path(path, order, keep))
    return torch.tensor(np.stack(active), device=target.device)
