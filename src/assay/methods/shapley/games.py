"""Cooperative games given by their full tables, and the exact values of their players.

A game of d players is a table of the worths of its 2^d coalitions: `table[..., s]` is v(S), where
bit i of the number s says whether player i is in S. Leading dimensions (inputs, outputs) are games
of their own. From the table follow the Shapley value (Shapley 1953), the Banzhaf value (Banzhaf
1965) and every other semivalue (Dubey, Neyman and Weber 1981): weighted means of a player's
marginal contributions, whose weights depend on the size of the coalition that is joined.

This file is also where coalitions are listed: all of them, or those of one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.numerics.caching import remembered

MAX_ENUMERATED = 20  # features; 2^20 coalitions are about a million model evaluations per input


@remembered(most_bytes=1 << 25, size=lambda masks: int(masks.nbytes))
def subsets(count: int) -> NDArray[np.bool_]:
    """All coalitions of `count` features in the order of their numbers: (2^count, count).

    >>> subsets(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if count > MAX_ENUMERATED:
        raise InputError(
            expected=f"at most {MAX_ENUMERATED} features to enumerate all coalitions",
            got=f"{count}, which would cost 2^{count} = {2**count} model evaluations per input",
            advice="Group the features, or use KernelShap or PermutationShapley.",
        )
    masks = np.zeros((2**count, count), dtype=np.bool_)
    # Coalitions with feature i as their last one
    # repeat all that came before, with i added.
    for i in range(count):
        masks[2**i : 2 ** (i + 1)] = masks[: 2**i]
        masks[2**i : 2 ** (i + 1), i] = True
    # The list is remembered and shared: nobody may write into it.
    masks.flags.writeable = False
    return masks


def subsets_of_size(count: int, size: int) -> NDArray[np.bool_]:
    """All coalitions of `size` out of `count` features: (C(count, size), count).

    >>> subsets_of_size(3, 2).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    if count <= MAX_ENUMERATED:
        # A look through all coalitions is quicker
        # than building those of one size.
        masks = subsets(count)
        return np.asarray(masks[sizes(count) == size], dtype=np.bool_)
    members = chain.from_iterable(combinations(range(count), size))
    columns = np.fromiter(members, dtype=np.int64).reshape(-1, size)
    masks = np.zeros((len(columns), count), dtype=np.bool_)
    np.put_along_axis(masks, columns, True, axis=1)
    return masks


def empty_and_full(count: int) -> NDArray[np.bool_]:
    """The coalitions of nobody and of everybody: (2, count)."""
    return np.repeat([[False], [True]], count, axis=1)


def coalition_numbers(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The rows of `subsets` at which coalitions (m, count) stand: (m,).

    >>> coalition_numbers(np.array([[True, False], [True, True]])).tolist()
    [1, 3]
    """
    values = 1 << np.arange(masks.shape[1])
    return np.asarray(masks @ values, dtype=np.int64)


@remembered(most_bytes=1 << 24, size=lambda members: int(members.nbytes))
def sizes(count: int) -> NDArray[np.int64]:
    """How many features each coalition of `subsets` holds: (2^count,).

    >>> sizes(2).tolist()
    [0, 1, 1, 2]
    """
    members = np.zeros(1, dtype=np.int64)
    # One more feature: every coalition so far
    # once without it, and once with it.
    for _ in range(count):
        members = np.concatenate((members, members + 1))
    members.flags.writeable = False
    return members


def shapley_values(table: Tensor) -> Tensor:
    """Exact Shapley values of games given on all coalitions: (..., 2^d) to (..., d).

    phi_i = sum_{S without i} |S|! (d - |S| - 1)! / d! (v(S + i) - v(S))
    (Shapley 1953, equation 12). Coalitions stand in the order of `subsets`. Arithmetic O(d 2^d).

    >>> shapley_values(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 0.5]
    """
    count = _players(table)
    # |S|! (d - |S| - 1)! / d!, written with a
    # binomial coefficient so that nothing overflows
    weights = [1.0 / (count * math.comb(count - 1, size)) for size in range(count)]
    return semivalues(table, weights)


def banzhaf_values(table: Tensor) -> Tensor:
    """Exact Banzhaf values of games given on all coalitions: (..., 2^d) to (..., d).

    phi_i = 2^(1 - d) sum_{S without i} (v(S + i) - v(S))     (Banzhaf 1965)
    Coalitions stand in the order of `subsets`. Arithmetic O(d 2^d).

    >>> banzhaf_values(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()
    [0.5, 0.5]
    """
    count = _players(table)
    return semivalues(table, [0.5 ** (count - 1)] * count)


def semivalues(table: Tensor, weights: Sequence[float]) -> Tensor:
    """sum_{S without i} weights[|S|] (v(S + i) - v(S)) for every feature i.

    Games (..., 2^d), `weights` (d,) one for each size of S: (..., d), float64 (Dubey, Neyman and
    Weber 1981).
    """
    count = _players(table)
    # The coalitions without feature i have the
    # sizes of all coalitions of d - 1 features.
    by_size = np.asarray(weights, dtype=np.float64)
    weight = as_tensor(by_size[sizes(count - 1)], table)
    values = []
    for i in range(count):
        # Coalitions with and without feature i lie 2^i apart.
        shape = (*table.shape[:-1], -1, 2, 2**i)
        worths = table.to(torch.float64).reshape(shape)
        # Differences come first, so that a dummy's share is exactly zero.
        contributions = worths[..., 1, :] - worths[..., 0, :]
        values.append(contributions.flatten(-2) @ weight)
    return torch.stack(values, dim=-1)


def pair_interactions(table: Tensor) -> Tensor:
    """Exact Shapley interactions of all pairs: games (..., 2^d) to (..., d (d - 1) / 2).

    I_ij = sum_{S without i, j} |S|! (d - |S| - 2)! / (d - 1)! (v(S + i + j) - v(S + i) - v(S + j) + v(S))
    (Grabisch and Roubens 1999, equation 3), for (0, 1), (0, 2), ..., (1, 2), ... Arithmetic
    O(d^2 2^d).

    >>> pair_interactions(torch.tensor([0.0, 0.0, 0.0, 1.0])).tolist()
    [1.0]
    """
    count = _players(table)
    if count == 1:
        return table.new_zeros(*table.shape[:-1], 0)
    by_size = [1.0 / ((count - 1) * math.comb(count - 2, size)) for size in range(count - 1)]
    # Coalitions without i and j have the sizes of all coalitions of d - 2 features.
    weight = as_tensor(np.asarray(by_size)[sizes(count - 2)], table)
    found = []
    for i in range(count):
        for j in range(i + 1, count):
            shape = (*table.shape[:-1], -1, 2, 2 ** (j - i - 1), 2, 2**i)
            worths = table.to(torch.float64).reshape(shape)
            with_j, without = worths[..., 1, :, :, :], worths[..., 0, :, :, :]
            both = with_j[..., 1, :] - with_j[..., 0, :]
            joint = both - (without[..., 1, :] - without[..., 0, :])
            found.append(joint.flatten(-3) @ weight)
    return torch.stack(found, dim=-1)


def as_tensor(array: NDArray[Any], like: Tensor) -> Tensor:
    """An array as a tensor on the device of another tensor."""
    return torch.from_numpy(array).to(like.device)


def _players(table: Tensor) -> int:
    coalitions = int(table.shape[-1])
    count = coalitions.bit_length() - 1
    if count < 1 or coalitions != 2**count:
        raise InputError(
            expected="a full table, which has 2^features columns",
            got=coalitions,
            advice="Ask for the worth of every row of subsets(features).",
        )
    return count
