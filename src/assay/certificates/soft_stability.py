"""Soft stability: how often a random superset of a selection keeps its class.

The probabilistic relaxation of hard stability (Jin, Xue, You, Goel and Wong 2025), for any model,
smoothed or not: exact by enumeration where a radius has few supersets, an interval by sampling
elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from assay.certificates.noise import Masks
from assay.certificates.radii import binomial_bounds
from assay.certificates.selections import selected
from assay.certificates.supersets import count_supersets, supersets
from assay.certificates.votes import class_votes
from assay.errors import SettingError
from assay.numerics import rng
from assay.question.question import Question
from assay.settings import Settings, argument, checked_seed


@final
@dataclass(frozen=True)
class StabilityRates:
    """How often a random superset keeps the class of the selection, for one input.

    One entry per radius. `rate` is exact where `exact` says so; elsewhere every [lower, upper]
    holds at once with probability `confidence`.
    """

    radii: tuple[int, ...]
    rate: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    exact: tuple[bool, ...]  # whether all supersets of a radius were asked
    confidence: float  # of all intervals at once, 1.0 where every rate is exact
    evaluations: int  # masks asked
    selection: tuple[int, ...]  # numbers of the selected features
    selected: int  # the class of the selection


@final
@dataclass(frozen=True)
class SoftStability(Settings):
    """The probability that a random superset within a radius keeps the class, for any model.

    tau_r = P(f(x * a) ~ f(x * phi)), a uniform over {a >= phi, |a - phi|_1 <= r} (Jin, Xue, You,
    Goel and Wong 2025, "Probabilistic stability guarantees for feature attributions"). Sampled by
    one set of orders shared by all radii and inputs; where a radius has no more supersets than
    samples, all of them are asked, and the rate is exact. Intervals by Clopper and Pearson (1934)
    or Hoeffding (1963), with a union bound over the sampled radii.

    Settings:
        radius: how many features are added at the most; a tuple asks a curve of them.
        confidence: with which all intervals of an input hold at once.
        samples: supersets for each radius; 738 is Hoeffding's number for an error of 0.05 at 0.95.
        bound: which interval, "clopper-pearson" (exact, never wider) or "hoeffding".

    Cost: at most `samples` rows per input and radius, fewer where radii share masks. Errors:
    TargetError for a model with a single output; ModelError for a model whose rows influence each
    other.

    >>> import torch
    >>> from assay import Question
    >>> question = Question(
    ...     lambda x: torch.stack([0.5 + 0 * x[:, 0], x[:, 3]], dim=1), torch.ones(1, 4)
    ... )
    >>> (found,) = SoftStability(radius=(1, 3)).certify(question, torch.arange(4) == 0)
    >>> found.rate, found.exact
    ((0.75, 0.5), (True, True))
    """

    radius: int | tuple[int, ...]
    confidence: float = 0.95
    samples: int = 738
    bound: Literal["clopper-pearson", "hoeffding"] = "clopper-pearson"

    def __post_init__(self) -> None:
        # True is an int to Python, and no radius to anybody.
        wrong = [
            radius
            for radius in self._radii
            if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0
        ]
        no_radii = wrong or not self._radii
        if no_radii or not 0 < self.confidence < 1 or self.samples < 1:
            raise SettingError(
                expected="radii from 0 on, 0 < confidence < 1 and at least one sample",
                got=(
                    f"radius={self.radius!r}, confidence={self.confidence}, samples={self.samples}"
                ),
                advice="Such as SoftStability(radius=(1, 2, 4)).",
            )
        if self.bound not in ("clopper-pearson", "hoeffding"):
            raise SettingError(
                expected="bound 'clopper-pearson' or 'hoeffding'",
                got=repr(self.bound),
                advice="Leave it out for 'clopper-pearson', the narrower of the two.",
            )

    @property
    def _radii(self) -> tuple[int, ...]:
        return self.radius if isinstance(self.radius, tuple) else (self.radius,)

    @staticmethod
    def samples_for(error: float, confidence: float) -> int:
        """The samples at which Hoeffding's bound is `error`.

        ceil(log(2 / (1 - confidence)) / (2 error^2)).

        >>> [SoftStability.samples_for(error, 1 - error) for error in (0.1, 0.05, 0.01)]
        [150, 738, 26492]
        """
        error = argument("samples_for", "error", error, float)
        confidence = argument("samples_for", "confidence", confidence, float)
        if not 0 < error < math.inf or not 0 < confidence < 1:
            raise SettingError(
                expected="an error above 0 and a confidence between 0 and 1",
                got=f"error={error} and confidence={confidence}",
                advice="Such as SoftStability.samples_for(0.05, 0.95).",
            )
        # Rounding must not turn a whole number into the next one.
        return math.ceil(math.log(2 / (1 - confidence)) / (2 * error**2) - 1e-6)

    def certify(
        self, question: Question, selection: Any, *, seed: int = 0
    ) -> tuple[StabilityRates, ...]:
        """The rates of each input's selection, masks (n, features) or (features,)."""
        seed = checked_seed(seed, "SoftStability")
        masks = selected(selection, question).numpy()
        draw = rng.shared(seed, "soft stability")
        # Drawn once for all inputs and radii: an input alone gets what it gets among others.
        level = draw.random(self.samples)
        order = draw.random((self.samples, question.partition.count))
        return tuple(
            self._rates(question.part(row, row + 1), mask, level, order)
            for row, mask in enumerate(masks)
        )

    def _rates(
        self,
        question: Question,
        mask: Masks,
        level: NDArray[np.float64],
        order: NDArray[np.float64],
    ) -> StabilityRates:
        """The rates of one input."""
        room = int((~mask).sum())
        # A radius with no more supersets than samples is listed instead of sampled.
        exact = tuple(count_supersets(room, radius) <= self.samples for radius in self._radii)
        by_radius = [
            supersets(mask, radius) if listed else drawn_supersets(mask, radius, level, order)
            for radius, listed in zip(self._radii, exact)
        ]
        # Radii share masks, and each mask is asked once. The selection stands first.
        masks = np.concatenate([mask[None], *by_radius])
        unique, inverse = np.unique(masks, axis=0, return_inverse=True)
        ballots = class_votes(question, unique)
        classes = ballots.choices[0][inverse.reshape(-1)]
        ends = np.cumsum([len(listed) for listed in by_radius])
        kept = np.split(classes[1:] == classes[0], ends[:-1])
        # A union bound: sampled radii share the permitted error.
        miss = (1 - self.confidence) / max(1, exact.count(False))
        intervals = [self._interval(hits, listed, miss) for hits, listed in zip(kept, exact)]
        return StabilityRates(
            radii=self._radii,
            rate=tuple(float(hits.mean()) for hits in kept),
            lower=tuple(lower for lower, _ in intervals),
            upper=tuple(upper for _, upper in intervals),
            exact=exact,
            confidence=1.0 if all(exact) else self.confidence,
            evaluations=len(unique),
            selection=tuple(np.flatnonzero(mask).tolist()),
            selected=int(classes[0]),
        )

    def _interval(self, kept: Masks, exact: bool, miss: float) -> tuple[float, float]:
        if exact:
            rate = float(kept.mean())
            return rate, rate
        return rate_bounds(int(kept.sum()), len(kept), miss, self.bound)


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
    """P(j features are added), j = 0..min(room, radius), for a uniform superset.

    C(room, j) / sum_i C(room, i).
    """
    ways = [math.comb(room, added) for added in range(min(room, radius) + 1)]
    return np.array([way / sum(ways) for way in ways])


def drawn_supersets(
    mask: Masks, radius: int, level: NDArray[np.float64], order: NDArray[np.float64]
) -> Masks:
    """Uniform supersets within a radius.

    `level` (samples,) gives sizes, by inversion; `order` (samples, features) the features.
    """
    chances = size_chances(int((~mask).sum()), radius)
    sizes = np.searchsorted(np.cumsum(chances), level, side="right")
    # Rounding can leave the sum of chances just below a level.
    sizes = np.minimum(sizes, len(chances) - 1)
    free = np.flatnonzero(~mask)
    # The features of the lowest ranks are a uniform subset of their size.
    rank = order[:, free].argsort(axis=1)
    masks = np.tile(mask, (len(level), 1))
    masks[:, free] = rank < sizes[:, None]
    return masks
