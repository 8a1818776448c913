"""Which coalitions to ask when there are too many to ask all, and how their values become Shapley
values.

A design depends on the number of features, the budget and the seed alone, so that all inputs and
outputs share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, combinations
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from assay.methods.shapley.games import MOST_EXACT, sizes, subsets
from assay.numerics import rng

Bools = NDArray[np.bool_]

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]

Weighting = Literal["leverage", "kernel", "mixture"]

_LISTED = (
    1 << 17
)  # layers up to this size are listed and shuffled; larger ones are drawn, repeats thrown away


@final
@dataclass(frozen=True)
class Design:
    """Pairs of complementary coalitions, drawn without replacement within each size.

    `half` (pairs, d) is one side of each pair, `layer` (pairs,) its size; `weight` (pairs,) the
    Shapley kernel 1 / (k (d - k) C(d, k)) over the chance of being drawn; `rate` (pairs,) that
    chance (1 where the layer is complete).
    """

    half: Bools
    layer: Integers
    weight: Floats
    rate: Floats

    @property
    def features(self) -> int:
        """How many features the coalitions are of."""
        return int(self.half.shape[1])

    @property
    def pairs(self) -> int:
        """How many coalitions come with their complement."""
        return int(self.half.shape[0])

    @property
    def complete(self) -> bool:
        """Whether every coalition is asked, so that the answer is exact."""
        return bool(np.all(self.rate == 1.0))

    @cached_property
    def centred(self) -> Floats:
        """(pairs, d) coalitions less their share |S| / d: the regressors once the sum of phi is
        fixed.
        """
        return np.asarray(self.half - self.half.mean(axis=1, keepdims=True), dtype=np.float64)

    @cached_property
    def projector(self) -> Floats:
        """(d, pairs): weighted least squares under the sum constraint, as one matrix; its columns
        sum to zero.
        """
        if self.pairs == 0:
            return np.zeros((self.features, 0))
        weighted = self.centred.T * self.weight
        gram = weighted @ self.centred
        # the vector of ones is the null space of the Gram matrix: filled, so that the system is well conditioned
        gram += np.trace(gram) / self.features * np.full_like(gram, 1.0 / self.features)
        solution = np.linalg.solve(gram, weighted)
        return np.asarray(solution - solution.mean(axis=0), dtype=np.float64)

    @cached_property
    def leverage(self) -> Floats:
        """(pairs,) how much each pair's own value moves its fitted value, in [0, 1]."""
        own = np.einsum("pd,dp->p", self.centred, self.projector)
        return np.asarray(np.clip(own, 0.0, 1.0), dtype=np.float64)

    def known(self, smaller: Design) -> Bools:
        """(pairs,) which pairs a design of the same seed and a smaller budget holds already, in the
        same order.
        """
        place = np.arange(self.pairs) - np.searchsorted(self.layer, self.layer)
        return np.asarray(
            place < np.bincount(smaller.layer, minlength=self.features)[self.layer], dtype=np.bool_
        )


@lru_cache(maxsize=64)
def paired(features: int, pairs: int, seed: int, weighting: Weighting = "mixture") -> Design:
    """`pairs` pairs of complementary coalitions; a larger number of pairs holds the smaller one's.

    Sizes share the pairs evenly (`leverage`: Musco and Witter 2025, where the leverage score of S
    is 1 / C(d, |S|)), by the Shapley kernel 1 / (k (d - k)) (`kernel`: Lundberg and Lee 2017,
    theorem 2), or by the mean of both (`mixture`).
    """
    drawn = allocation(features, pairs, weighting)
    blocks = [_layer(features, k, n, seed) for k, n in enumerate(drawn, start=1)]
    half = np.concatenate([*blocks, np.zeros((0, features), dtype=np.bool_)])
    layer = np.repeat(np.arange(1, len(drawn) + 1), drawn)
    full = np.array([capacity(features, k) for k in range(1, len(drawn) + 1)], dtype=np.float64)
    rate = np.repeat(np.asarray(drawn) / full, drawn)
    share = np.where(2 * layer == features, 0.5, 1.0)  # the middle layer pairs with itself
    weight = share / (layer * (features - layer) * np.repeat(np.asarray(drawn), drawn))
    for array in (half, layer, weight, rate):
        array.flags.writeable = False
    return Design(half, layer, weight, rate)


def capacity(features: int, size: int) -> int:
    """How many pairs have a side of this size."""
    return math.comb(features, size) // (2 if 2 * size == features else 1)


def least_pairs(features: int) -> int:
    """The fewest pairs of a design: all single features, which identify the regression, and one of
    every other size.
    """
    return min(features + max(features // 2, 1) - 1, int(2 ** (features - 1)) - 1)


def allocation(features: int, pairs: int, weighting: Weighting) -> list[int]:
    """How many pairs of each size 1..d // 2: first `least_pairs`, then by the weighting.

    Webster's divisor rule: no size loses a pair when the number of pairs grows.
    """
    most = [min(capacity(features, k), pairs) for k in range(1, features // 2 + 1)]
    owner = np.repeat(np.arange(len(most)), most)
    quotients = np.zeros(0)
    for size, (share, count) in enumerate(zip(_shares(features, weighting), most), start=1):
        quotient = share / (2 * np.arange(count) + 1)
        quotient[: features if size == 1 else 1] = np.inf
        quotients = np.concatenate((quotients, quotient))
    best = np.argsort(-quotients, kind="stable")[:pairs]
    return [int(number) for number in np.bincount(owner[best], minlength=len(most))]


def _shares(features: int, weighting: Weighting) -> Floats:
    size = np.arange(1, features // 2 + 1)
    even = np.where(2 * size == features, 1.0, 2.0)
    kernel = even / (size * (features - size))
    even, kernel = even / max(even.sum(), 1.0), kernel / kernel.sum() if len(kernel) else kernel
    return np.asarray(
        {"leverage": even, "kernel": kernel, "mixture": (even + kernel) / 2}[weighting],
        dtype=np.float64,
    )


def _layer(features: int, size: int, count: int, seed: int) -> Bools:
    """`count` different coalitions of one size, in the layer's own random order: a prefix of any
    larger number.
    """
    draw = rng.shared(seed, f"coalitions of {size} in {features}")
    if capacity(features, size) <= _LISTED:
        listed = _listed(features, size)
        return np.asarray(listed[draw.permutation(len(listed))[:count]], dtype=np.bool_)
    found: dict[bytes, Bools] = {}
    while len(found) < count:
        for mask in _drawn(draw, features, size):
            found.setdefault(mask.tobytes(), mask)
    return np.array(list(found.values())[:count])


def _listed(features: int, size: int) -> Bools:
    """Every coalition of one size; of the middle size only those with feature 0, the others are
    their complements.
    """
    if (
        features <= MOST_EXACT
    ):  # a look through all coalitions is quicker than building those of one size
        found = np.flatnonzero(sizes(features) == size)
        found = found[found & 1 == 1] if 2 * size == features else found
        return np.asarray(subsets(features)[found], dtype=np.bool_)
    choices: Iterator[tuple[int, ...]] = combinations(range(features), size)
    if 2 * size == features:
        choices = ((0, *rest) for rest in combinations(range(1, features), size - 1))
    flat = np.fromiter(chain.from_iterable(choices), dtype=np.int64).reshape(-1, size)
    masks = np.zeros((len(flat), features), dtype=np.bool_)
    np.put_along_axis(masks, flat, True, axis=1)
    return masks


def _drawn(draw: np.random.Generator, features: int, size: int) -> Bools:
    """A block of 256 random coalitions of one size."""
    order = np.argpartition(draw.random((256, features)), size - 1, axis=1)[:, :size]
    masks = np.zeros((256, features), dtype=np.bool_)
    np.put_along_axis(masks, order, True, axis=1)
    if 2 * size == features:
        masks ^= ~masks[:, :1]
    return masks


@lru_cache(maxsize=64)
def orderings(features: int, count: int, seed: int) -> Integers:
    """`count` random orderings of the features, (count, features): a prefix of any larger number."""
    draw = rng.shared(seed, f"orderings of {features}")
    orders = draw.permuted(np.tile(np.arange(features), (count, 1)), axis=1)
    orders.flags.writeable = False
    return orders
