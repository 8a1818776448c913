"""Lipschitz check: how steep a smoothed model is between masks that differ in one feature, against
its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from assay.certificates.noise import Integers, Masks
from assay.certificates.radii import supersets
from assay.certificates.smoothed_model import SmoothedModel
from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Steepness:
    """The largest ratio |f(a) - f(a')| / |a - a'|_1 found, the pair that has it, and the constant
    it should keep to.
    """

    largest: float
    constant: float
    pair: tuple[tuple[int, ...], tuple[int, ...]]
    pairs: int
    exhaustive: bool

    @property
    def holds(self) -> bool:
        """Whether no pair broke the constant (up to the rounding of sums of whole numbers)."""
        return self.largest <= self.constant + 1e-9


@final
@dataclass(frozen=True)
class LipschitzCheck:
    """The largest change per flipped feature found over mask pairs, against a constant such as
    lambda, for any model.

    Where all n 2^(n-1) pairs of neighbours fit in `pairs` they are all tried, which is exhaustive
    for a fixed function: the way between any two masks is made of such steps. Otherwise random
    neighbours. The two ends are asked in two calls, so that a classifier that draws new noise for
    every call is found out. Cost: two evaluations per pair.

    >>> question = Question(lambda x: torch.stack([x.sum(1) / 4, 1 - x.sum(1) / 4], dim=1), torch.ones(1, 4))
    >>> LipschitzCheck(constant=0.25).check(question).holds
    True
    """

    constant: float
    pairs: int = 2048

    def __post_init__(self) -> None:
        if self.constant < 0 or self.pairs < 1:
            raise SettingError(
                expected="a constant from 0 on and pairs from 1 on",
                got=f"{self.constant} and {self.pairs}",
                advice="",
            )

    def check(
        self,
        asked: Question | Callable[[Tensor], Tensor],
        *,
        features: int | None = None,
        seed: int = 0,
    ) -> Steepness:
        """The check of a question's first input, or of a callable masks (m, features) -> (m,
        classes).
        """
        score, count = _scorer(asked, features)
        exhaustive = count <= 30 and count * 2 ** (count - 1) <= self.pairs
        first, flip = _all_neighbours(count) if exhaustive else self._random(count, seed)
        second = first.copy()
        second[np.arange(len(first)), flip] ^= True
        step = [
            score(torch.from_numpy(masks)).to("cpu", torch.float64) for masks in (first, second)
        ]
        change = (step[0] - step[1]).abs().amax(1)
        worst = int(change.argmax())
        pair = tuple(tuple(np.flatnonzero(masks[worst]).tolist()) for masks in (first, second))
        return Steepness(
            float(change[worst]), self.constant, (pair[0], pair[1]), len(first), exhaustive
        )

    def _random(self, count: int, seed: int) -> tuple[Masks, Integers]:
        draw = rng.shared(seed, "neighbouring masks")
        first = draw.random((self.pairs, count)) < draw.random((self.pairs, 1))
        return first, draw.integers(count, size=self.pairs)


def _scorer(
    asked: Question | Callable[[Tensor], Tensor], features: int | None
) -> tuple[Callable[[Tensor], Tensor], int]:
    if isinstance(asked, Question):
        one = asked.part(0, 1)
        return lambda masks: one.outputs(masks)[0], asked.partition.count
    count = asked.design.features if isinstance(asked, SmoothedModel) else features
    if count is None:
        raise InputError(
            "Expected the number of features of a callable on masks: check(callable, features=n)."
        )
    return asked, count


def _all_neighbours(count: int) -> tuple[Masks, Integers]:
    every = supersets(np.zeros(count, dtype=bool), 0, 2**count)
    row, flip = np.nonzero(~every)
    return every[row], flip
