"""Features in pairs: a matrix of credit for each input, whose sum is what the features' credit sums to.

In the convention of Lundberg et al. (2020, section "SHAP interaction values"): a pair's interaction
(Grabisch and Roubens 1999) is shared in halves between (i, j) and (j, i), and what is left of a
feature's own credit stands on the diagonal.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from assay.features.partition import Partition


def in_pairs(partition: Partition) -> Partition:
    """The pairs of a partition's features, row by row: `maps` are then matrices."""
    names = tuple(partition.names)
    pairs = tuple(one if one is other else f"{one} x {other}" for one in names for other in names)
    count = partition.count
    return replace(
        partition,
        count=count * count,
        names=pairs,
        shape=(count, count),
        pooling="sum",
        identity=False,
        own_names=None,
    )


def matrices(single: Tensor, pairs: Tensor) -> Tensor:
    """(n, features * features) from values (n, features) and interactions of the pairs (0, 1),
    (0, 2), ..., (1, 2), ... (n, pairs).

    >>> matrices(torch.tensor([[3.0, 1.0]]), torch.tensor([[4.0]])).tolist()
    [[1.0, 2.0, 2.0, -1.0]]
    """
    n, features = single.shape
    rows, columns = torch.triu_indices(features, features, 1, device=single.device)
    matrix = single.new_zeros(n, features, features)
    matrix[:, rows, columns] = pairs / 2
    matrix[:, columns, rows] = pairs / 2
    own = single - matrix.sum(dim=2)
    matrix += torch.diag_embed(own)
    return matrix.flatten(1)
