"""In which order features are taken, and what becomes of ties.

Credit that is the same for several features says nothing of their order: whichever comes first by
its number would be an order that nobody gave. What is measured of an order is therefore averaged
over orders that break ties by chance, drawn from each input's own stream, the same for all
attributions; in pairs, one the other turned round, whose mean is exact where effects add up. An
input whose ties are cut by none of the steps that are asked needs one order alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from assay.numerics import rng


@final
@dataclass(frozen=True, eq=False)
class Order:
    """Credit (n, features) as an order in which features are taken.

    Settings:
        credit: (n, features); the largest comes first.
        eligible: (n, features), bool: which features are taken at all; the others come last.
    """

    credit: Tensor
    eligible: Tensor

    @property
    def _sortable(self) -> Tensor:
        return self.credit.to(torch.float64).masked_fill(~self.eligible, -torch.inf)

    @property
    def lengths(self) -> Tensor:
        """How many features are taken of each input: (n,)."""
        return self.eligible.sum(1)

    def cut_ties(self, counts: Tensor) -> Tensor:
        """Whether the first `counts` (n, m) features end inside a tie: (n, m), bool."""
        ranked = self._sortable.sort(dim=1, descending=True).values
        lengths = self.lengths.unsqueeze(1)
        # None and all of the features are the same set in any order.
        inside = (counts > 0) & (counts < lengths)
        last_taken = ranked.gather(1, (counts - 1).clamp_min(0))
        first_left = ranked.gather(1, counts.clamp_max(ranked.shape[1] - 1))
        return inside & (last_taken == first_left)

    def places(self, tie_breaker: Tensor) -> Tensor:
        """The place of every feature in the order: (n, features), 0 first; ties by the order of
        `tie_breaker` (n, features).
        """
        # Shuffled, then sorted stably: equal credits keep the order of the shuffle.
        shuffled = tie_breaker.argsort(dim=1)
        ranked = self._sortable.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
        order = shuffled.gather(1, ranked)
        place = torch.arange(order.shape[1], device=order.device)
        # The inverse permutation: from the feature at each place to the place of each feature.
        return torch.empty_like(order).scatter_(1, order, place.expand_as(order))


def tie_breaker(streams: rng.Streams, way: int, features: int) -> Tensor:
    """Way number `way` of each input to break its ties: (n, features), uniform.

    An odd one is the way before it, turned round.
    """
    draw = way // 2
    # By each input's own stream: its ties are broken alike, whatever batch it is in.
    uniform = streams.uniform((draw, draw + 1), features, torch.float64)[:, 0]
    return uniform if way % 2 == 0 else 1 - uniform


def even_counts(lengths: Tensor, steps: int) -> Tensor:
    """None, all, and evenly between: (n, steps + 1) numbers of features, of lengths (n,)."""
    share = torch.arange(steps + 1, dtype=torch.float64, device=lengths.device) / steps
    return (lengths.unsqueeze(1) * share).round().to(torch.int64)
