"""Owen values: Shapley values when features come in nested groups that join as blocks.

The orderings over which the Shapley value averages are restricted to those that keep every group
together (Owen 1977; nested groups: Winter 1989). A group's members then meet few different sets of
outside features, so that the exact sum is short: for a picture that is halved again and again, it
takes about features^2 coalitions instead of 2^features. Known elsewhere as the partition explainer.

Coalitions are bit sets (integers) while the marginal contributions are listed, and masks once all
of them are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, Union, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.methods.base import Axiom, Method
from assay.methods.shapley.games import as_tensor
from assay.methods.shapley.mask_method import MaskMethod, Solution
from assay.numerics.caching import remembered
from assay.question.question import Question

Hierarchy: TypeAlias = tuple[Union[int, "Hierarchy"], ...]

_MAX_CELLS = 1 << 28  # coalitions times features of one design: 256 MiB of masks


@final
@dataclass(frozen=True)
class Contributions:
    """The marginal contributions that make up the values, each (c,): v(after) - v(before).

    Settings:
        masks: the different coalitions, (m, features).
        feature: who joins.
        before: the row of `masks` that is joined.
        after: the row of `masks` that results.
        weight: the share of orderings in which this happens.
    """

    masks: NDArray[np.bool_]
    feature: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    weight: NDArray[np.float64]


def coalitions_needed(hierarchy: Hierarchy, outside: int = 1) -> int:
    """An upper bound on the coalitions that a hierarchy asks about.

    Two for every marginal contribution; `outside` counts the sets of features that may have joined
    before the group.
    """
    before_a_part = outside * 2 ** (len(hierarchy) - 1)
    total = 0
    for part in hierarchy:
        if isinstance(part, int):
            total += 2 * before_a_part
        else:
            total += coalitions_needed(part, before_a_part)
    return total


def members(hierarchy: Hierarchy) -> Iterator[int]:
    """The features of a hierarchy, in its order."""
    for part in hierarchy:
        if isinstance(part, int):
            yield part
        else:
            yield from members(part)


def halves(
    shape: tuple[int, ...],
    first: int = 0,
    strides: tuple[int, ...] | None = None,
) -> Hierarchy:
    """Halve a map along its longest side until every part is one feature.

    `first` is the number of the map's first feature, `strides` how far apart neighbours along each
    axis are numbered, row-major by default.

    >>> halves((2, 2))
    ((0, 1), (2, 3))
    """
    if strides is None:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    axis = shape.index(max(shape))
    if shape[axis] == 1:
        return (first,)
    middle = shape[axis] // 2
    parts: list[int | Hierarchy] = []
    for start, length in ((0, middle), (middle, shape[axis] - middle)):
        half = (*shape[:axis], length, *shape[axis + 1 :])
        part = halves(half, first + start * strides[axis], strides)
        # A group of one is its member.
        parts.append(part[0] if len(part) == 1 else part)
    return tuple(parts)


def _bits(hierarchy: Hierarchy) -> int:
    """The features of a hierarchy as a bit set."""
    return sum(1 << feature for feature in members(hierarchy))


def _weighted_contributions(
    hierarchy: Hierarchy, outside: int, weight: float
) -> Iterator[tuple[int, int, float]]:
    """(feature, coalition it joins as a bit set, weight) for all members of a group.

    Siblings join in any order, and a group as a whole. `outside` has joined before the group,
    `weight` is the share of orderings in which exactly it has.
    """
    blocks = [_bits((part,)) for part in hierarchy]
    count = len(hierarchy)
    for index, part in enumerate(hierarchy):
        siblings = blocks[:index] + blocks[index + 1 :]
        # Bit j of `chosen` says whether sibling j is there already.
        for chosen in range(2 ** (count - 1)):
            joined = outside
            for j, block in enumerate(siblings):
                if chosen >> j & 1:
                    joined |= block
            # |H|! (M - |H| - 1)! / M!, the Shapley weight among siblings
            share = weight / (count * math.comb(count - 1, chosen.bit_count()))
            if isinstance(part, int):
                yield part, joined, share
            else:
                yield from _weighted_contributions(part, joined, share)


def _listed_bytes(listed: Contributions) -> int:
    return int(listed.masks.nbytes + 32 * len(listed.feature))


@remembered(most_bytes=1 << 27, size=_listed_bytes)
def contributions(hierarchy: Hierarchy, features: int) -> Contributions:
    """All marginal contributions of a hierarchy, every coalition listed once."""
    _check_hierarchy(hierarchy, features)
    feature, before, weight = zip(*_weighted_contributions(hierarchy, 0, 1.0))
    after = [coalition | 1 << i for i, coalition in zip(feature, before)]
    # A coalition that many contributions share is
    # asked once: its first place counts.
    different = dict.fromkeys((*before, *after))
    row = {coalition: number for number, coalition in enumerate(different)}
    return Contributions(
        masks=_masks(row, features),
        feature=np.array(feature),
        before=np.array([row[coalition] for coalition in before]),
        after=np.array([row[coalition] for coalition in after]),
        weight=np.array(weight),
    )


def _renumbered(hierarchy: Hierarchy, numbers: Mapping[int, int]) -> Hierarchy:
    """A hierarchy of the features that have a new number, under that number.

    A feature that changes nothing leaves the values of the others as they are when it goes.
    """
    parts: list[int | Hierarchy] = []
    for part in hierarchy:
        if not isinstance(part, int):
            group = _renumbered(part, numbers)
            # A group of one is its member, and one of nobody is none.
            if len(group) < 2:
                parts.extend(group)
            else:
                parts.append(group)
        elif part in numbers:
            parts.append(numbers[part])
    return tuple(parts)


def _check_members(hierarchy: Hierarchy, features: int) -> None:
    listed = sorted(members(hierarchy))
    if listed != list(range(features)):
        raise InputError(
            expected=f"a hierarchy that holds each of the features 0 to {features - 1} once",
            got=listed,
            advice="List every feature in one group, or leave the hierarchy out for halves.",
        )


def _check_hierarchy(hierarchy: Hierarchy, features: int) -> None:
    _check_members(hierarchy, features)
    needed = coalitions_needed(hierarchy)
    if needed * features > _MAX_CELLS:
        raise InputError(
            expected=f"a hierarchy that asks at most {_MAX_CELLS // features} coalitions per input",
            got=f"up to {needed} coalitions of {features} features",
            advice=(
                "To ask fewer, nest it deeper (a pair of halves at each level costs about "
                "features^2), or use KernelShap."
            ),
        )


def _masks(coalitions: Mapping[int, int], features: int) -> NDArray[np.bool_]:
    """Bit sets of any length as masks (m, features), in their order."""
    width = -(-features // 8)  # whole bytes
    packed = [coalition.to_bytes(width, "little") for coalition in coalitions]
    octets = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, width)
    bits = np.unpackbits(octets, axis=1, count=features, bitorder="little")
    return bits.astype(np.bool_)


@final
@dataclass(frozen=True)
class OwenValues(MaskMethod):
    """Shapley values under a hierarchy: the members of a group join as a block, at every level.

    phi_i = sum over H of the groups outside i's and S of i's group without i of
    |H|! (M - |H| - 1)! / M! * |S|! (m - |S| - 1)! / m! * (v(Q_H + S + i) - v(Q_H + S))
    (Owen 1977, equation 4; nested groups: Winter 1989). The sum over a group is the group's own
    Shapley value.

    Settings:
        hierarchy: nested tuples of feature numbers, ((0, 1), (2, (3, 4))); None halves the map of
            the features along its longest side, again and again.

    Cost: for halves about features^2 evaluations per input and draw of the removal; for groups of
    sizes m_g, sum_g 2^(groups + m_g - 2) m_g at most. Values (n, features) in units of the target.
    Errors: InputError for a hierarchy that misses a feature, or that asks too much.

    >>> import torch
    >>> owen = OwenValues(((0, 1), 2))
    >>> table = torch.tensor(owen.masks(3, 0).all(1), dtype=torch.float64)
    >>> owen.solve(table, 3, 0)[0].tolist()
    [0.25, 0.25, 0.5]
    """

    hierarchy: Hierarchy | None = None

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "features^2 for halves"

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def among(self, question: Question, players: Tensor) -> Iterator[tuple[Tensor, Method]]:
        """Inputs with the same players go together: the hierarchy names them."""
        partition = question.partition
        if self.hierarchy is not None:
            _check_members(self.hierarchy, partition.count)
        # A shorter text is a shorter line, which is halved elsewhere; a map keeps its places.
        existing = torch.ones_like(players)
        if len(partition.shape) == 1:
            existing = question.existing_features()
        kinds, kind = torch.cat((players, existing), dim=1).unique(dim=0, return_inverse=True)
        for number, both in enumerate(kinds):
            playing, owned = (part.nonzero()[:, 0].tolist() for part in both.chunk(2))
            whole = self._whole(partition.shape, owned, partition.count)
            places = {feature: place for place, feature in enumerate(playing)}
            yield (kind == number).nonzero()[:, 0], OwenValues(_renumbered(whole, places))

    def _whole(self, shape: tuple[int, ...], owned: list[int], count: int) -> Hierarchy:
        """The hierarchy of the features that an input has, `owned` of `count`."""
        if self.hierarchy is not None:
            return self.hierarchy
        if 0 < len(owned) < count:
            return _renumbered(halves((len(owned),)), dict(enumerate(owned)))
        return halves(shape)

    def resolved(self, question: Question) -> OwenValues:
        if self.hierarchy is not None:
            return self
        return OwenValues(halves(question.partition.shape))

    def _contributions(self, features: int) -> Contributions:
        hierarchy = self.hierarchy
        if hierarchy is None:
            hierarchy = halves((features,))
        return contributions(hierarchy, features)

    def held(self, features: int) -> int:
        return coalitions_needed(self.hierarchy or halves((features,)))

    def rows_each(self, question: Question, players: int) -> int:
        if self.hierarchy is None and len(question.partition.shape) == 1:
            return super().rows_each(question, players)
        # Few players ask no more than all of them do.
        features = question.partition.count
        return question.replacements * len(self.resolved(question).masks(features, 0))

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return self._contributions(features).masks

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        listed = self._contributions(features)
        feature = as_tensor(listed.feature, table)
        before = as_tensor(listed.before, table)
        after = as_tensor(listed.after, table)
        weight = as_tensor(listed.weight, table)
        gains = (table[..., after] - table[..., before]) * weight
        values = gains.new_zeros(*table.shape[:-1], features)
        return values.index_add(-1, feature, gains), None
