"""Owen values: Shapley values when features come in nested groups that join one after another,
never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeAlias, Union, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.methods.base import Axiom
from assay.methods.shapley.mask_method import MaskMethod, Solved
from assay.question.question import Question

Hierarchy: TypeAlias = tuple[Union[int, "Hierarchy"], ...]

_MOST_CELLS = 1 << 28  # coalitions times features of one design: 256 MiB of masks


@final
@dataclass(frozen=True)
class Steps:
    """The marginal contributions that make up the values: which feature joins which coalition, with
    which weight.
    """

    masks: NDArray[np.bool_]
    feature: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    weight: NDArray[np.float64]


def coalitions_needed(hierarchy: Hierarchy, outside: int = 1) -> int:
    """An upper bound on the coalitions that a hierarchy asks about, two for every marginal
    contribution.
    """
    alone = outside * 2 ** (len(hierarchy) - 1)
    return sum(
        2 * alone if isinstance(part, int) else coalitions_needed(part, alone) for part in hierarchy
    )


def members(hierarchy: Hierarchy) -> Iterator[int]:
    """The features of a hierarchy, in its order."""
    for part in hierarchy:
        yield from (part,) if isinstance(part, int) else members(part)


def halves(
    shape: tuple[int, ...], first: int = 0, strides: tuple[int, ...] | None = None
) -> Hierarchy:
    """Halve a map along its longest side until every part is one feature.

    >>> halves((2, 2))
    ((0, 1), (2, 3))
    """
    strides = strides or tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    axis = max(range(len(shape)), key=lambda a: shape[a])
    if shape[axis] == 1:
        return (first,)
    cut = shape[axis] // 2
    parts = []
    for start, length in ((0, cut), (cut, shape[axis] - cut)):
        part = halves(
            (*shape[:axis], length, *shape[axis + 1 :]), first + start * strides[axis], strides
        )
        parts.append(part[0] if len(part) == 1 else part)
    return tuple(parts)


def _contributions(
    hierarchy: Hierarchy, outside: int, weight: float
) -> Iterator[tuple[int, int, float]]:
    """(feature, coalition it joins as a bit set, weight): siblings join in any order, and a group
    as a whole.
    """
    whole = [sum(1 << i for i in members((part,))) for part in hierarchy]
    count = len(hierarchy)
    for index, part in enumerate(hierarchy):
        others = [whole[j] for j in range(count) if j != index]
        for chosen in range(2 ** (count - 1)):
            joined = outside | sum(other for j, other in enumerate(others) if chosen >> j & 1)
            share = weight / (count * math.comb(count - 1, chosen.bit_count()))
            if isinstance(part, int):
                yield part, joined, share
            else:
                yield from _contributions(part, joined, share)


@lru_cache(maxsize=4)
def steps(hierarchy: Hierarchy, features: int) -> Steps:
    """All marginal contributions of a hierarchy over `features` features, every coalition listed
    once.
    """
    if sorted(members(hierarchy)) != list(range(features)):
        raise InputError(
            f"a hierarchy must hold each of the features 0 to {features - 1} once, got {sorted(members(hierarchy))}"
        )
    needed = coalitions_needed(hierarchy)
    if needed * features > _MOST_CELLS:
        raise InputError(
            f"this hierarchy asks up to {needed} coalitions of {features} features per input: nest it deeper (a pair "
            "of halves at each level costs about features^2), or use KernelShap"
        )
    feature, before, weight = zip(*_contributions(hierarchy, 0, 1.0))
    after = [mask | 1 << i for i, mask in zip(feature, before)]
    row = {mask: number for number, mask in enumerate(dict.fromkeys((*before, *after)))}
    packed = b"".join(mask.to_bytes(-(-features // 8), "little") for mask in row)
    bits = np.unpackbits(
        np.frombuffer(packed, np.uint8).reshape(len(row), -1),
        axis=1,
        count=features,
        bitorder="little",
    )
    return Steps(
        bits.astype(np.bool_),
        np.array(feature),
        np.array([row[mask] for mask in before]),
        np.array([row[mask] for mask in after]),
        np.array(weight),
    )


@final
@dataclass(frozen=True)
class OwenValues(MaskMethod):
    """Shapley values under a hierarchy: the members of a group join as a block, in any order, at
    every level.

    phi_i = sum over H of the groups outside i's and S of i's group without i of
    |H|! (M - |H| - 1)! / M! * |S|! (m - |S| - 1)! / m! * (v(Q_H + S + i) - v(Q_H + S))     (Owen 1977, equation 4;
    nested groups: Winter 1989). `hierarchy` nests tuples of feature numbers, ((0, 1), (2, (3, 4)));
    None halves the map of the features along its longest side, again and again. The sum over a
    group is the group's own Shapley value. Cost: for halves about features^2 evaluations per input;
    for groups of sizes m_g, sum_g 2^(groups + m_g - 2) m_g at most.

    >>> owen = OwenValues(((0, 1), 2))
    >>> table = torch.tensor(owen.masks(3, 0).all(1), dtype=torch.float64)
    >>> owen.solve(table, 3, 0)[0].tolist()
    [0.25, 0.25, 0.5]
    """

    hierarchy: Hierarchy | None = None

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "features^2 for halves"

    def bound(self, question: Question) -> OwenValues:
        return self if self.hierarchy is not None else OwenValues(halves(question.partition.shape))

    def _steps(self, features: int) -> Steps:
        return steps(halves((features,)) if self.hierarchy is None else self.hierarchy, features)

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return self._steps(features).masks

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        found = self._steps(features)
        feature, before, after, weight = (
            torch.from_numpy(part).to(table.device)
            for part in (found.feature, found.before, found.after, found.weight)
        )
        gained = (table[..., after] - table[..., before]) * weight
        return gained.new_zeros(*table.shape[:-1], features).index_add(-1, feature, gained), None
