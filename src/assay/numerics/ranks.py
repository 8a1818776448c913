"""Ranks with ties, and what is made of them: Spearman's correlation and the area under a ROC curve.

Equal numbers share the mean of their ranks (Kendall 1948): no order is read out of a tie.
"""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """The rank of each number in its row (n, k), from 1; equal ones share the mean: (n, k).

    >>> average_ranks(torch.tensor([[3.0, 1.0, 3.0, 9.0]])).tolist()
    [[2.5, 1.0, 2.5, 4.0]]
    """
    values = values.contiguous()
    ranked = values.sort(dim=1).values
    # How many are smaller, and how many are not larger.
    below = torch.searchsorted(ranked, values, right=False)
    upto = torch.searchsorted(ranked, values, right=True)
    return (below + upto + 1).to(torch.float64) / 2


def spearman(x: Tensor, y: Tensor, own: Tensor) -> Tensor:
    """The rank correlation along each row (n, k), over the places that are `own`: (n,); NaN where one
    side is constant.

    >>> x = torch.tensor([[1.0, 5.0, 2.0]])
    >>> float(spearman(x, -x, torch.ones_like(x, dtype=torch.bool)))
    -1.0
    """
    count = own.sum(1, keepdim=True)
    centred = []
    for values in (x, y):
        # What is not its own comes last, and has no part.
        ranks = average_ranks(values.to(torch.float64).masked_fill(~own, torch.inf))
        centred.append(torch.where(own, ranks - (count + 1) / 2, 0.0))
    first, second = centred
    size = (first.square().sum(1) * second.square().sum(1)).sqrt()
    return torch.where(size > 0, (first * second).sum(1) / size, torch.nan)


def roc_area(values: Tensor, positive: Tensor, own: Tensor) -> Tensor:
    """The probability that a positive has the larger value of a pair, half where both are equal: (n,);
    NaN where all are positive, or none (Mann and Whitney 1947).

    >>> inside = torch.tensor([[True, False, False]])
    >>> float(roc_area(torch.tensor([[2.0, 2.0, 1.0]]), inside, torch.ones_like(inside)))
    0.75
    """
    positive = positive & own
    ranks = average_ranks(values.to(torch.float64).masked_fill(~own, torch.inf))
    hits = positive.sum(1)
    others = own.sum(1) - hits
    ranked = torch.where(positive, ranks, 0.0).sum(1) - hits * (hits + 1) / 2
    return torch.where(hits * others > 0, ranked / (hits * others), torch.nan)
