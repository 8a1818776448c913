"""Whether the features with the most credit hang together, against as many at random.

The number of connected components of a selected mask says little by itself: above the percolation
threshold (a density of some .59 with 4 neighbours, .41 with 8; Stauffer and Aharony 1994) pixels at random
hang together as well. It is compared with masks of the same size, and of small size alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from assay.answers.attribution import Attribution
from assay.answers.score import Direction
from assay.errors import InputError, SettingError
from assay.metrics.base import Metric, Reading
from assay.metrics.curves.orderings import Order, tie_breaker
from assay.numerics import rng
from assay.question.question import Question

_DENSEST = 0.2  # of the places: beyond it masks at random hang together by themselves
_AXES = 3  # of a map: time, or height and width, and depth


@final
@dataclass(frozen=True)
class Connectedness(Metric):
    """In how many pieces the features with the most credit lie, relative to as many at random.

    the components of the top `share` / the mean components of random masks of the same size

    Settings:
        share: of the features, the size of the mask, rounded, at least one; at most 0.2, beyond
            which random masks hang together too.
        neighbours: "sides" joins features that share a side (4 in an image), "corners" also those
            that share a corner (8).
        draws: random masks of each input, and as many orders of features with equal credit.

    Details, each (n,): `components`; `random`, their mean at random; `largest`, the share of the mask in
    its largest component; `effective`, 1 / sum_c p_c^2, p_c the share of component c. 1 is what random
    and constant explanations have in expectation, less is more connected; a negated one is judged
    by where it points. It does not see whether the place is right.

    Units: ratio. Lower is better. Cost: none. Errors: SettingError for a share outside (0, 0.2],
    InputError for features that do not lie on a map.

    >>> import torch, assay
    >>> x = torch.zeros(1, 10, 10)
    >>> x[:, 2:6, 3:6] = 1.0
    >>> question = assay.Question(lambda x: x.flatten(1).sum(1), x)
    >>> score = Connectedness(share=0.12)(question, assay.InputXGradient()(question))
    >>> score.details["components"].tolist(), score.mean < 0.3
    ([1.0], True)
    """

    share: float = 0.1
    neighbours: Literal["sides", "corners"] = "sides"
    draws: int = 20
    direction: ClassVar[Direction] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    units: ClassVar[str] = "ratio"
    cost: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        if not 0 < self.share <= _DENSEST:
            raise SettingError(
                expected=f"a share of the features from 0 to {_DENSEST} for Connectedness",
                got=self.share,
                advice="Larger masks hang together by chance; 0.1 is the default.",
            )
        if self.draws < 2:
            raise SettingError(
                expected="at least 2 random masks for Connectedness",
                got=self.draws,
                advice="A standard error needs two; 20 is the default.",
            )

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        shape = question.partition.shape
        if not 1 <= len(shape) <= _AXES or (question.partition.identity and len(shape) == _AXES):
            raise InputError(
                expected="features on a map of places for Connectedness",
                got=f"a feature map of shape {shape}",
                advice="Ask about Pixels(), or Patches(8): channels are no places.",
            )

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        existing = question.existing_features()
        # Of the features that each input has: padding would make its mask too large.
        size = (self.share * existing.sum(1)).round().clamp_min(1).to(torch.int64)
        streams = rng.streams(seed, question.keys, "connectedness")
        features = question.partition.count
        shape = question.partition.shape
        # Draws are the same for all attributions.
        # Even ways alone: an odd one is the way before it turned round, and no draw of its own.
        breakers = [tie_breaker(streams, 2 * draw, features) for draw in range(self.draws)]
        # A random mask is the first of a constant map, whose ties are broken by chance.
        flat = torch.zeros_like(breakers[0])
        at_random = torch.stack(
            [self._measures(_first(flat, existing, size, way), shape)[0] for way in breakers], 1
        )
        expected = at_random.mean(1)
        # Of a ratio to a mean: the relative error of the mean.
        relative = at_random.std(1) / self.draws**0.5 / expected
        readings = []
        for attribution in attributions:
            credit = attribution.values.to(torch.float64)
            order = Order(credit, existing)
            tied = order.cut_ties(size.unsqueeze(1))[:, 0]
            # Without a cut tie every way gives the same mask: one is enough.
            ways = breakers if bool(tied.any()) else breakers[:1]
            each = torch.stack(
                [self._measures(_first(credit, existing, size, way), shape) for way in ways], 2
            )
            # Where no tie is cut the first mask is the mask.
            mean = torch.where(tied, each.mean(2), each[:, :, 0])
            ratio = mean[0] / expected
            error = ratio * relative
            if len(ways) > 1:
                # Where ties are cut the mask itself is drawn, which adds an error of its own.
                spread = each[0].std(1) / self.draws**0.5 / expected
                error = torch.where(tied, (error.square() + spread.square()).sqrt(), error)
            details = {
                "components": mean[0],
                "random": expected,
                "largest": mean[1],
                "effective": mean[2],
            }
            readings.append(Reading(ratio, error, details))
        return readings

    def _measures(self, masks: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Components, the largest one's share, and their effective number: (3, n)."""
        from scipy import ndimage

        # SciPy asks along how many axes one step may go: one for sides, all of them for corners.
        corners = len(shape) if self.neighbours == "corners" else 1
        structure: Any = ndimage.generate_binary_structure(len(shape), corners)
        rows = []
        # SciPy labels one map at a time; a batch axis would join the inputs' masks.
        for mask in masks.reshape(-1, *shape).cpu().numpy():
            labels, _ = ndimage.label(mask, structure)
            # Label 0 is what lies outside of the mask.
            sizes = np.bincount(labels.ravel())[1:]
            shares = sizes / sizes.sum()
            rows.append((len(sizes), shares.max(), 1 / np.square(shares).sum()))
        return torch.tensor(rows, dtype=torch.float64, device=masks.device).T


def _first(credit: Tensor, existing: Tensor, size: Tensor, breaker: Tensor) -> Tensor:
    """The masks (n, features) of the features with the most credit, `size` (n,) of each input."""
    return Order(credit, existing).places(breaker) < size.unsqueeze(1)
