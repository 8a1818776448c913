"""Permutation sampling: Shapley values from random orderings, walked in antithetic pairs.

The Shapley value of a feature is its mean marginal contribution when features join one after
another in a random order (Shapley 1953). Sampling orders is the estimator of Castro, Gomez and
Tejada (2009); walking each of them forwards and backwards is antithetic sampling (Mitchell et al.
2022), under which sampling adds no error in games of single features and pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import SettingError
from assay.methods.base import Axiom
from assay.methods.shapley import coalitions
from assay.methods.shapley.games import as_tensor
from assay.methods.shapley.mask_method import (
    MaskMethod,
    Solution,
    standard_error,
)
from assay.numerics.caching import remembered
from assay.question.question import Question

Walks: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.int64]]
"""Different coalitions (m, features), and which of them each walk meets (walks, features + 1)."""


@final
@dataclass(frozen=True)
class PermutationShapley(MaskMethod):
    """The mean marginal contribution over random orderings, each walked forwards and backwards.

    phi_i = mean_pi v(P_i + i) - v(P_i), P_i the features before i in pi
    (Castro, Gomez and Tejada 2009, equation 3), over antithetic pairs of orderings (Mitchell,
    Cooper, Frank and Holmes 2022, section 4.1). Complete by construction; exact for games without
    interactions of three features or more. The standard error comes from the pairs, widened by
    Student's factor, so that 1.96 of them make a 95 % interval however few the pairs, where
    contributions vary smoothly. A jump that no pair met is in no spread: an error of 0 from n pairs
    says that it is met by at most some 3 / n of them (rule of three, at 95 %).

    Settings:
        orderings: how many, an even number: each random one counts twice, with its reverse.

    Cost: at most orderings * (features - 1) + 2 evaluations per input and draw of the removal;
    repeated coalitions are asked once. Values (n, features) in units of the target.

    >>> table = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    >>> PermutationShapley(orderings=2).solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    orderings: int = 64

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "orderings * features"

    def __post_init__(self) -> None:
        if self.orderings < 2 or self.orderings % 2:
            raise SettingError(
                expected="as orderings an even number of at least 2",
                got=self.orderings,
                advice="Each is walked both ways: use 64.",
            )

    def players(self, question: Question) -> Tensor | None:
        return question.changeable_features()

    def held(self, features: int) -> int:
        return self.orderings * (features + 1)

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return _walks(features, self.orderings, seed)[0]

    def most_masks(self, features: int) -> int:
        # Walks share both ends, and all of them together are no more than all coalitions.
        most: int = min(2**features, self.orderings * (features - 1) + 2)
        return most

    def solve(self, table: Tensor, features: int, seed: int) -> Solution:
        where = as_tensor(_walks(features, self.orderings, seed)[1], table)
        orders = as_tensor(_orders(features, self.orderings, seed), table)
        # A step's contribution belongs to the
        # feature that joins at that step.
        steps = table[..., where].diff(dim=-1)
        joining = orders.expand_as(steps)
        contributions = torch.empty_like(steps).scatter_(-1, joining, steps)
        # The two walks of a pair depend on each
        # other; pairs are independent replicates.
        forwards = contributions[..., ::2, :]
        backwards = contributions[..., 1::2, :]
        pairs = (forwards + backwards) / 2
        return pairs.mean(dim=-2), standard_error(pairs, dim=-2)


def _orders(features: int, count: int, seed: int) -> NDArray[np.int64]:
    """Orderings, each followed by its reverse: (count, features)."""
    forwards = coalitions.orderings(features, count // 2, seed)
    pairs = np.stack((forwards, forwards[:, ::-1]), axis=1)
    return pairs.reshape(-1, features)


def _walk_bytes(walks: Walks) -> int:
    return sum(int(part.nbytes) for part in walks)


@remembered(most_bytes=1 << 26, size=_walk_bytes)
def _walks(features: int, count: int, seed: int) -> Walks:
    """The different coalitions met by `count` walks, and which of them each walk meets.

    (m, features) and (count, features + 1).
    """
    rank = np.argsort(_orders(features, count, seed), axis=1)
    # After k steps of a walk the features of rank below k are present.
    steps = np.arange(features + 1)[None, :, None]
    met = (rank[:, None, :] < steps).reshape(-1, features)
    # Walks share their ends, and often more: every coalition is asked once.
    masks, where = np.unique(met, axis=0, return_inverse=True)
    places = where.reshape(count, features + 1)
    masks.flags.writeable = False
    return masks, places
