"""Sampling designs: which coalitions to ask when there are too many to ask all.

Coalitions are drawn in complementary pairs (Covert and Lee 2021, section 4.2), stratified by size,
without replacement within a size: the design of Kernel SHAP with the leverage scores of Musco and
Witter (2025). A pair is known by its smaller side, whose size (1 to d // 2) is called its layer.
How many pairs each layer gets is an apportionment by Webster's divisor rule, as for the seats of a
parliament: it never takes a pair away from a layer when the budget grows. Together with an order
of drawing that is fixed for each layer, a larger design holds every smaller one of the same seed.

A design depends on the number of features, the budget and the seed alone, so that all inputs and
outputs share it. The estimators on it are in `kernel_shap.py` and `proxy_shap.py`; random orderings
are here for `permutation.py`, `sampling.py` and `linear_shap.py`.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from assay.errors import SettingError
from assay.methods.shapley.games import subsets_of_size
from assay.numerics import rng
from assay.numerics.caching import remembered

Bools = NDArray[np.bool_]

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]

Weighting = Literal["leverage", "kernel", "mixture"]

# Coalitions; layers up to this size are listed and shuffled, larger ones drawn without repeats.
_MAX_LISTED = 1 << 17

_BLOCK = 256  # coalitions drawn at once at most

_MOST_ORDERINGS = 1 << 24  # none that anybody could ask a model about is refused
_REMEMBERED = 1 << 26  # bytes of the latest designs, and of the latest orderings: 64 MiB each

_FLOAT_BITS = 1000  # whole numbers of more bits may be too large for a float


@final
@dataclass(frozen=True)
class Design:
    """Pairs of complementary coalitions, drawn without replacement within each size.

    Settings:
        half: one side of each pair, (pairs, d).
        layer: the size of that side, (pairs,).
        weight: the Shapley kernel 1 / (k (d - k) C(d, k)) over `rate`, (pairs,).
        rate: the chance that the pair is drawn, 1 where its layer is complete, (pairs,).
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
        """Coalitions less their share |S| / d, the regressors once the sum of phi is fixed.

        (pairs, d); each row sums to zero.
        """
        share = self.half.mean(axis=1, keepdims=True)
        return np.asarray(self.half - share, dtype=np.float64)

    @cached_property
    def projector(self) -> Floats:
        """Weighted least squares under the sum constraint, as one matrix: (d, pairs).

        (Z' W Z)^+ Z' W for the centred coalitions Z; its columns sum to zero.
        """
        if self.pairs == 0:
            return np.zeros((self.features, 0))
        weighted = self.centred.T * self.weight
        gram = weighted @ self.centred
        # The vector of ones is the null space of the Gram matrix.
        # Filling it with the mean eigenvalue keeps the system well
        # conditioned and leaves the solution as it is.
        filling = np.full_like(gram, 1.0 / self.features)
        gram += np.trace(gram) / self.features * filling
        solution = np.linalg.solve(gram, weighted)
        # Rounding may leave a little of that
        # direction: the sum is held exactly.
        rounding = solution.mean(axis=0)
        return np.asarray(solution - rounding, dtype=np.float64)

    @cached_property
    def leverage(self) -> Floats:
        """How much each pair's own worth moves its fitted worth, in [0, 1]: (pairs,)."""
        diagonal = np.einsum("pd,dp->p", self.centred, self.projector)
        clipped = np.clip(diagonal, 0.0, 1.0)
        return np.asarray(clipped, dtype=np.float64)

    def already_asked(self, smaller: Design) -> Bools:
        """Which pairs a design of the same seed and a smaller budget holds, in its order: (pairs,).

        The smaller design's part of a layer is a prefix of this one's.
        """
        first_of_layer = np.searchsorted(self.layer, self.layer)
        rank = np.arange(self.pairs) - first_of_layer
        per_layer = np.bincount(smaller.layer, minlength=self.features)
        return np.asarray(rank < per_layer[self.layer], dtype=np.bool_)


def _design_bytes(design: Design) -> int:
    """What a design holds once its regression has been used: masks, centred, projector, vectors."""
    cells = design.pairs * design.features
    return 17 * cells + 40 * design.pairs


def paired_design(
    features: int,
    pairs: int,
    seed: int,
    weighting: Weighting = "mixture",
) -> Design:
    """`pairs` pairs of complementary coalitions; a larger number of pairs holds the smaller one's.

    Sizes share the pairs evenly (`leverage`: Musco and Witter 2025, where the leverage score of S
    is 1 / C(d, |S|)), by the Shapley kernel 1 / (k (d - k)) (`kernel`: Lundberg and Lee 2017,
    theorem 2), or by the mean of both (`mixture`).
    """
    return designs(features, pairs, seed, weighting)


@remembered(_REMEMBERED, size=_design_bytes)
def designs(features: int, pairs: int, seed: int, weighting: Weighting) -> Design:
    """The designs of `paired_design`, the latest of which are remembered."""
    counts = allocation(features, pairs, weighting)
    layers = np.arange(1, len(counts) + 1)
    # A single feature has no pair at all: an
    # empty block gives the array its width.
    blocks = [np.zeros((0, features), dtype=np.bool_)]
    for size, count in enumerate(counts, start=1):
        blocks.append(_layer(features, size, count, seed))
    half = np.concatenate(blocks)
    layer = np.repeat(layers, counts)
    rates = [_rate(count, room) for count, room in zip(counts, capacities(features))]
    rate = np.repeat(np.asarray(rates, dtype=np.float64), counts)
    # Both sides of a pair of the middle layer lie in
    # that layer: each stands for half of it.
    share = np.where(2 * layer == features, 0.5, 1.0)
    # C(d, k) of the kernel and of the rate cancel:
    # what is left is the number of pairs drawn.
    layer_pairs = np.repeat(np.asarray(counts), counts)
    weight = share / (layer * (features - layer) * layer_pairs)
    for array in (half, layer, weight, rate):
        array.flags.writeable = False
    return Design(half, layer, weight, rate)


def capacity(features: int, size: int) -> int:
    """How many pairs have a side of this size."""
    coalitions = math.comb(features, size)
    if 2 * size == features:
        return coalitions // 2
    return coalitions


def capacities(features: int) -> list[int]:
    """How many pairs have a side of each size 1..d // 2: whole numbers of any length."""
    coalitions = 1
    room = []
    for size in range(1, features // 2 + 1):
        # C(d, k) from C(d, k - 1): from scratch, thousands of features would take minutes.
        coalitions = coalitions * (features - size + 1) // size
        room.append(coalitions // 2 if 2 * size == features else coalitions)
    return room


def _rate(count: int, room: int) -> float:
    """The chance that a pair of a layer is drawn."""
    # From 1,030 features on there are more pairs than a float can say. A quotient of whole
    # numbers can: it is zero to the last place.
    if room.bit_length() > _FLOAT_BITS:
        return count / room
    return count / float(room)


def least_pairs(features: int) -> int:
    """The fewest pairs of a design.

    All single features, which identify the regression, and one pair of every other size.
    """
    every_pair = int(2 ** (features - 1)) - 1
    return min(features + max(features // 2, 1) - 1, every_pair)


def allocation(features: int, pairs: int, weighting: Weighting) -> list[int]:
    """How many pairs each size 1..d // 2 gets: first `least_pairs`, then by the weighting.

    Webster's divisor rule: no size loses a pair when the number of pairs grows.
    """
    room = capacities(features)
    shares = _shares(features, weighting).tolist()
    # What the regression cannot do without comes before anything else.
    counts = []
    left = pairs
    for index, most in enumerate(room):
        required = features if index == 0 else 1
        counts.append(min(required, most, left))
        left -= counts[-1]
    # Webster: the j-th pair of a size is worth its share over 2 j + 1, and the dearest win. Ties go
    # to the smaller size, whatever the number of pairs.
    return _seated(counts, left, room, shares)


def _seated(counts: list[int], left: int, room: list[int], shares: list[float]) -> list[int]:
    """The counts with `left` more pairs, each for the size that offers most for it."""
    offers = []
    for index, count in enumerate(counts):
        if count < room[index]:
            offers.append((-shares[index] / (2 * count + 1), index))
    heapq.heapify(offers)
    for _ in range(left):
        if not offers:
            break
        _, index = offers[0]
        counts[index] += 1
        if counts[index] == room[index]:
            heapq.heappop(offers)
        else:
            offer = -shares[index] / (2 * counts[index] + 1)
            heapq.heapreplace(offers, (offer, index))
    return counts


def _shares(features: int, weighting: Weighting) -> Floats:
    """What each size 1..d // 2 is due of the pairs, adding up to one."""
    size = np.arange(1, features // 2 + 1)
    # A layer stands for its own size and the
    # complements' size; the middle one is both.
    even = np.where(2 * size == features, 1.0, 2.0)
    kernel = even / (size * (features - size))
    even = even / max(even.sum(), 1.0)
    if len(kernel):
        kernel = kernel / kernel.sum()
    shares = {
        "leverage": even,
        "kernel": kernel,
        "mixture": (even + kernel) / 2,
    }
    return np.asarray(shares[weighting], dtype=np.float64)


def _layer(features: int, size: int, count: int, seed: int) -> Bools:
    """`count` different coalitions of one size, in the layer's own random order.

    They are a prefix of any larger number of them.
    """
    generator = rng.shared(seed, f"coalitions of {size} in {features}")
    if capacity(features, size) <= _MAX_LISTED:
        sides = _one_side(subsets_of_size(features, size), size)
        order = generator.permutation(len(sides))[:count]
        return np.asarray(sides[order], dtype=np.bool_)
    # Repeats are few in a layer this large, and are thrown away.
    different: dict[bytes, Bools] = {}
    while len(different) < count:
        # No more than are missing: the stream runs on where it stopped.
        block = min(_BLOCK, count - len(different))
        for mask in _random_coalitions(generator, features, size, block):
            different.setdefault(mask.tobytes(), mask)
    return np.array(list(different.values())[:count])


def _one_side(masks: Bools, size: int) -> Bools:
    """One side of every pair: in the middle layer, which holds both, that with feature 0."""
    if 2 * size == masks.shape[1]:
        return masks[masks[:, 0]]
    return masks


def _random_coalitions(
    generator: np.random.Generator, features: int, size: int, count: int
) -> Bools:
    """A block of random coalitions of one size, in the middle layer with feature 0."""
    # The features of the smallest random numbers
    # are a uniform choice of `size` of them.
    keys = generator.random((count, features))
    members = np.argpartition(keys, size - 1, axis=1)[:, :size]
    masks = np.zeros((count, features), dtype=np.bool_)
    np.put_along_axis(masks, members, True, axis=1)
    if 2 * size == features:
        # The complement of a coalition without feature
        # 0 is the other side of the same pair.
        masks ^= ~masks[:, :1]
    return masks


@remembered(_REMEMBERED, size=lambda orders: int(orders.nbytes))
def orderings(features: int, count: int, seed: int, stream: str = "") -> Integers:
    """`count` random orderings of the features, (count, features): a prefix of any larger number.

    A method whose agreement with another would be taken for evidence draws from a `stream` of its
    own.
    """
    if count > _MOST_ORDERINGS:
        raise SettingError(
            expected=f"at most {_MOST_ORDERINGS} orderings or draws",
            got=count,
            advice="Some hundreds are usual: the standard error falls with their square root.",
        )
    generator = rng.shared(seed, f"{stream}orderings of {features}")
    sorted_orders = np.tile(np.arange(features), (count, 1))
    orders = generator.permuted(sorted_orders, axis=1)
    orders.flags.writeable = False
    return orders
