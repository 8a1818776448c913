"""How stable a selection is for any model: exactly by enumeration, in probability by sampling, at
most by attack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from assay.certificates.noise import Masks
from assay.certificates.radii import binomial_bounds
from assay.certificates.selections import selected
from assay.certificates.votes import _classes
from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.question.question import Question


@final
@dataclass(frozen=True)
class StabilityRates:
    """How often a random superset keeps the class of the selection, one entry per radius, for one
    input.

    `rate` is exact where `exact` says so; elsewhere every [lower, upper] holds at once with
    probability `confidence`.
    """

    radii: tuple[int, ...]
    rate: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    exact: tuple[bool, ...]
    confidence: float
    evaluations: int
    selection: tuple[int, ...]
    selected: int


@final
@dataclass(frozen=True)
class SoftStability:
    """The probability that a random superset within a radius keeps the class, for any model,
    smoothed or not.

    tau_r = P(f(x * a) ~ f(x * phi)), a uniform over {a >= phi, |a - phi|_1 <= r} (Jin, Xue, You,
    Goel and Wong 2025, "Probabilistic stability guarantees for feature attributions"). A sample of
    `samples` supersets per radius, by one set of orders shared by all radii and inputs; where a
    radius has no more supersets than that, all of them, and the rate is exact. Intervals by Clopper
    and Pearson (1934) or Hoeffding (1963), with a union bound over the sampled radii.

    Cost: at most `samples` rows per input and radius, fewer where radii share masks.

    >>> import torch
    >>> from assay import Question
    >>> question = Question(lambda x: torch.stack([0.5 + 0 * x[:, 0], x[:, 3]], dim=1), torch.ones(1, 4))
    >>> (found,) = SoftStability(radius=(1, 3)).certify(question, torch.arange(4) == 0)
    >>> found.rate, found.exact
    ((0.75, 0.5), (True, True))
    """

    radius: int | tuple[int, ...]
    confidence: float = 0.95
    samples: int = 738
    bound: Literal["clopper-pearson", "hoeffding"] = "clopper-pearson"

    def __post_init__(self) -> None:
        wrong = [r for r in self._asked if isinstance(r, bool) or not isinstance(r, int) or r < 0]
        if wrong or not self._asked or not 0 < self.confidence < 1 or self.samples < 1:
            raise SettingError(
                expected="radii from 0 on, 0 < confidence < 1 and at least one sample",
                got=(
                    f"radius={self.radius!r}, confidence={self.confidence}, samples={self.samples}"
                ),
                advice="",
            )
        if self.bound not in ("clopper-pearson", "hoeffding"):
            raise SettingError(
                expected="bound 'clopper-pearson' or 'hoeffding'",
                got=repr(self.bound),
                advice="",
            )

    @property
    def _asked(self) -> tuple[int, ...]:
        return self.radius if isinstance(self.radius, tuple) else (self.radius,)

    @staticmethod
    def samples_for(error: float, confidence: float) -> int:
        """The samples at which Hoeffding's bound is `error`: ceil(log(2 / (1 - confidence)) / (2
        error^2)).

        >>> [SoftStability.samples_for(error, 1 - error) for error in (0.1, 0.05, 0.01)]
        [150, 738, 26492]
        """
        return math.ceil(math.log(2 / (1 - confidence)) / (2 * error**2) - 1e-6)

    def certify(
        self, question: Question, selection: Any, *, seed: int = 0
    ) -> tuple[StabilityRates, ...]:
        """The rates of each input's selection, masks (n, features) or (features,)."""
        masks = selected(selection, question).numpy()
        draw = rng.shared(seed, "soft stability")
        level, order = (
            draw.random(self.samples),
            draw.random((self.samples, question.partition.count)),
        )
        question.part(0, 1).fix_target()
        return tuple(
            self._one(question.part(row, row + 1), mask, level, order)
            for row, mask in enumerate(masks)
        )

    def _one(
        self,
        question: Question,
        mask: Masks,
        level: NDArray[np.float64],
        order: NDArray[np.float64],
    ) -> StabilityRates:
        room = int((~mask).sum())
        small = [_count(room, radius) <= self.samples for radius in self._asked]
        drawn = [
            _within(mask, radius) if few else drawn_supersets(mask, radius, level, order)
            for radius, few in zip(self._asked, small)
        ]
        every = np.concatenate([mask[None], *drawn])
        unique, inverse = np.unique(every, axis=0, return_inverse=True)
        classes = _classes(question, unique)[0][inverse.reshape(-1)]
        kept = np.split(classes == classes[0], np.cumsum([1, *map(len, drawn)])[:-1])[1:]
        miss = (1 - self.confidence) / max(1, len(small) - sum(small))
        bounds = [
            (float(k.mean()),) * 2 if few else rate_bounds(int(k.sum()), len(k), miss, self.bound)
            for k, few in zip(kept, small)
        ]
        return StabilityRates(
            radii=self._asked,
            rate=tuple(float(k.mean()) for k in kept),
            lower=tuple(low for low, _ in bounds),
            upper=tuple(high for _, high in bounds),
            exact=tuple(small),
            confidence=1.0 if all(small) else self.confidence,
            evaluations=len(unique),
            selection=tuple(np.flatnonzero(mask).tolist()),
            selected=int(classes[0]),
        )


def rate_bounds(
    hits: int, trials: int, miss: float, bound: str = "clopper-pearson"
) -> tuple[float, float]:
    """A two-sided interval of a rate that misses it with probability at most `miss`."""
    if bound == "hoeffding":
        width = math.sqrt(math.log(2 / miss) / (2 * trials))
        return max(0.0, hits / trials - width), min(1.0, hits / trials + width)
    lower, upper = binomial_bounds(np.array([hits]), trials, miss / 2)
    return float(lower[0]), float(upper[0])


def size_chances(room: int, radius: int) -> NDArray[np.float64]:
    """P(j features are added), j = 0..min(room, radius), for a uniform superset: C(room, j) / sum_i
    C(room, i).
    """
    ways = [math.comb(room, j) for j in range(min(room, radius) + 1)]
    return np.array([way / sum(ways) for way in ways])


def drawn_supersets(
    mask: Masks, radius: int, level: NDArray[np.float64], order: NDArray[np.float64]
) -> Masks:
    """Uniform supersets within a radius: `level` (samples,) gives sizes, `order` (samples,
    features) features.
    """
    chances = size_chances(int((~mask).sum()), radius)
    sizes = np.minimum(np.searchsorted(np.cumsum(chances), level, side="right"), len(chances) - 1)
    free = np.flatnonzero(~mask)
    rank = order[:, free].argsort(axis=1)
    made = np.tile(mask, (len(level), 1))
    made[:, free] = rank < sizes[:, None]
    return made


def _count(room: int, radius: int) -> int:
    return sum(math.comb(room, j) for j in range(min(room, radius) + 1))


def _within(mask: Masks, radius: int) -> Masks:
    """All supersets within a radius."""
    free = np.flatnonzero(~mask)
    chosen = [
        which
        for size in range(min(len(free), radius) + 1)
        for which in combinations(free.tolist(), size)
    ]
    made = np.tile(mask, (len(chosen), 1))
    for row, which in enumerate(chosen):
        made[row, list(which)] = True
    return made
