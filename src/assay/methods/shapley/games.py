"""Exact values of games: every coalition's worth in, every feature's share out.

A game is a table: `table[..., s]` is v(S) for coalition s, with any leading dimensions (inputs,
outputs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError

MOST_EXACT = 20  # 2^20 coalitions: about a million model evaluations per input


@lru_cache(maxsize=8)
def subsets(count: int) -> NDArray[np.bool_]:
    """All coalitions of `count` features, (2^count, count): bit i of a row's number says whether
    feature i is present.

    >>> subsets(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if count > MOST_EXACT:
        raise InputError(
            f"exact enumeration takes at most {MOST_EXACT} features, got {count}, which would cost 2^{count} = "
            f"{2**count} model evaluations per input: group the features, or use KernelShap or PermutationShapley"
        )
    masks = np.zeros((2**count, count), dtype=np.bool_)
    for i in range(count):
        masks[2**i : 2 ** (i + 1)] = masks[: 2**i]
        masks[2**i : 2 ** (i + 1), i] = True
    masks.flags.writeable = False
    return masks


@lru_cache(maxsize=8)
def sizes(count: int) -> NDArray[np.int64]:
    """How many features each coalition of `subsets` holds: (2^count,).

    >>> sizes(2).tolist()
    [0, 1, 1, 2]
    """
    found = np.zeros(1, dtype=np.int64)
    for _ in range(count):
        found = np.concatenate((found, found + 1))
    found.flags.writeable = False
    return found


def shapley_values(table: Tensor) -> Tensor:
    """Exact Shapley values of games given on all coalitions in the order of `subsets`: (..., 2^d)
    to (..., d).

    phi_i = sum_{S without i} |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))     (Shapley 1953, equation 12)

    >>> shapley_values(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 0.5]
    """
    count = _players(table)
    return semivalues(table, [1.0 / (count * math.comb(count - 1, size)) for size in range(count)])


def banzhaf_values(table: Tensor) -> Tensor:
    """Exact Banzhaf values of games given on all coalitions in the order of `subsets`: (..., 2^d)
    to (..., d).

    phi_i = 2^(1 - d) sum_{S without i} (v(S + i) - v(S))     (Banzhaf 1965)

    >>> banzhaf_values(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 0.5]
    """
    count = _players(table)
    return semivalues(table, [0.5 ** (count - 1)] * count)


def semivalues(table: Tensor, weights: Sequence[float]) -> Tensor:
    """sum_{S without i} weights[|S|] (v(S + i) - v(S)) for every feature i: (..., 2^d) to (..., d),
    in float64.
    """
    count = _players(table)
    weight = torch.from_numpy(np.asarray(weights, dtype=np.float64)[sizes(count - 1)]).to(
        table.device
    )
    values = []
    for i in range(count):
        # coalitions with and without feature i lie 2^i apart; differences first, so that a dummy's share is exactly
        # zero
        halves = table.to(torch.float64).reshape(*table.shape[:-1], -1, 2, 2**i)
        values.append((halves[..., 1, :] - halves[..., 0, :]).flatten(-2) @ weight)
    return torch.stack(values, dim=-1)


def _players(table: Tensor) -> int:
    count = int(table.shape[-1]).bit_length() - 1
    if count < 1 or table.shape[-1] != 2**count:
        raise InputError(
            f"a full table has 2^features columns, got {table.shape[-1]}: ask for every row of subsets(features)"
        )
    return count
