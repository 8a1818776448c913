"""Shapley values from random orderings, walked in antithetic pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError
from assay.methods.base import Axiom
from assay.methods.shapley import coalitions
from assay.methods.shapley.mask_method import MaskMethod, Solved, standard_error


@final
@dataclass(frozen=True)
class PermutationShapley(MaskMethod):
    """The mean marginal contribution over random orderings, each walked forwards and backwards.

    phi_i = mean_pi v(P_i + i) - v(P_i), P_i the features before i in pi (Castro, Gomez and Tejada
    2009, equation 3), over `orderings` / 2 antithetic pairs (Mitchell, Cooper, Frank and Holmes
    2022, section 4.1). Complete by construction; exact for games without interactions of three
    features or more; the standard error comes from the pairs, widened by Student's factor, so that
    1.96 of them make a 95 % interval however few the pairs. Cost: at most orderings * (features -
    1) + 2 evaluations per input; repeated coalitions are asked once.

    >>> table = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    >>> PermutationShapley(orderings=2).solve(table, 2, seed=0)[0].tolist()
    [0.5, 0.5]
    """

    orderings: int = 64

    axioms = frozenset({Axiom.COMPLETENESS, Axiom.DUMMY, Axiom.LINEARITY})
    cost: ClassVar[str] = "orderings * features"

    def __post_init__(self) -> None:
        if self.orderings < 2 or self.orderings % 2:
            raise InputError(
                f"orderings must be an even number of at least 2, got {self.orderings}: each is walked both ways"
            )

    def masks(self, features: int, seed: int) -> NDArray[np.bool_]:
        return self._walks(features, seed)[0]

    def _walks(self, features: int, seed: int) -> tuple[NDArray[np.bool_], Tensor]:
        """The different coalitions met, and which of them each walk meets: (orderings, features +
        1).
        """
        orders = self._orders(features, seed)
        place = np.argsort(orders, axis=1)
        met = (place[:, None, :] < np.arange(features + 1)[None, :, None]).reshape(-1, features)
        masks, where = np.unique(met, axis=0, return_inverse=True)
        return masks, torch.from_numpy(where.reshape(len(orders), features + 1))

    def _orders(self, features: int, seed: int) -> NDArray[np.int64]:
        forwards = coalitions.orderings(features, self.orderings // 2, seed)
        return np.stack((forwards, forwards[:, ::-1]), axis=1).reshape(-1, features)

    def solve(self, table: Tensor, features: int, seed: int) -> Solved:
        where = self._walks(features, seed)[1].to(table.device)
        orders = torch.tensor(self._orders(features, seed), device=table.device)
        steps = table[..., where].diff(dim=-1)
        by_feature = torch.empty_like(steps).scatter_(-1, orders.expand_as(steps), steps)
        pairs = (by_feature[..., ::2, :] + by_feature[..., 1::2, :]) / 2
        return pairs.mean(dim=-2), standard_error(pairs, dim=-2)
