"""How stable a selection is for any model: exactly by enumeration, in probability by sampling, at most by attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay import engine, rng
from assay.certificates import Certificate, Evidence, Votes, cast_votes
from assay.errors import InputError
from assay.question import Question
from assay.radii import Integers, Masks, Side, binomial_bounds, supersets
from assay.smoothing import LipschitzCheck, Steepness, selected

_BLOCK = 1024  # masks asked at once


@final
@dataclass(frozen=True)
class HardStability:
    """The true radii of a selection, by asking the model about every superset.

    Incremental: the largest r such that all a >= phi with |a - phi|_1 <= r have the class of phi; decremental: the same
    for all a >= phi with |1 - a|_1 <= r (Xue, Alur and Wong 2023). Cost: 2^(unselected features) rows per input.
    Errors: InputError above `limit` rows.

    >>> question = Question(lambda x: torch.stack([1 + 0 * x[:, 0], x[:, 1] + x[:, 2]], dim=1), torch.ones(1, 3))
    >>> (proof,) = HardStability().certify(question, torch.tensor([True, False, False]))
    >>> proof.incremental, proof.consistent
    (1, False)
    """

    limit: int = 1 << 16

    def certify(self, question: Question, selection: Any) -> tuple[Certificate, ...]:
        """One exact certificate per input, for masks (n, features) or (features,)."""
        masks = selected(selection, question).numpy()
        most = int((~masks).sum(axis=1).max())
        if 2**most > self.limit:
            raise InputError(
                f"Expected at most {self.limit} supersets to enumerate, got 2^{most} of {most} unselected features. "
                "Use MultiplicativeSmoothing for a bound, SoftStability for a probability, or a larger limit."
            )
        question.part(0, 1).settle()
        return tuple(self._one(question.part(row, row + 1), mask) for row, mask in enumerate(masks))

    def _one(self, question: Question, mask: Masks) -> Certificate:
        classes, count = _classes(question, supersets(mask, 0, 2 ** int((~mask).sum())))
        return Certificate(
            features=len(mask),
            selection=tuple(np.flatnonzero(mask).tolist()),
            classes=count,
            bound="enumeration",
            at_selection=_as_votes(classes),
            settings=repr(self),
            model=question.model.name,
            key=int(question.keys[0]),
            evidence=Evidence.of(question),
        )


def _classes(question: Question, masks: Masks) -> tuple[Integers, int]:
    """The class (m,) of the first input of a question under each mask, and the number of classes."""
    ballots = cast_votes(question, torch.from_numpy(masks)[None], scale=1, tolerance=0.0)
    return ballots.draws[0], ballots.classes


def _as_votes(classes: Integers) -> Votes:
    return Votes(tuple(classes.tolist()))


@final
@dataclass(frozen=True)
class StabilityRates:
    """How often a random superset keeps the class of the selection, one entry per radius, for one input.

    `rate` is exact where `exact` says so; elsewhere every [lower, upper] holds at once with probability `confidence`.
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
    """The probability that a random superset within a radius keeps the class, for any model, smoothed or not.

    tau_r = P(f(x * a) ~ f(x * phi)), a uniform over {a >= phi, |a - phi|_1 <= r} (Jin, Xue, You, Goel and Wong 2025,
    "Probabilistic stability guarantees for feature attributions"). A sample of `samples` supersets per radius, by one
    set of orders shared by all radii and inputs; where a radius has no more supersets than that, all of them, and the
    rate is exact. Intervals by Clopper and Pearson (1934) or Hoeffding (1963), with a union bound over the sampled
    radii.

    Cost: at most `samples` rows per input and radius, fewer where radii share masks.

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
            raise InputError(
                "Expected radii from 0 on, 0 < confidence < 1 and at least one sample, got "
                f"radius={self.radius!r}, confidence={self.confidence}, samples={self.samples}."
            )
        if self.bound not in ("clopper-pearson", "hoeffding"):
            raise InputError(f"Expected bound 'clopper-pearson' or 'hoeffding', got {self.bound!r}.")

    @property
    def _asked(self) -> tuple[int, ...]:
        return self.radius if isinstance(self.radius, tuple) else (self.radius,)

    @staticmethod
    def samples_for(error: float, confidence: float) -> int:
        """The samples at which Hoeffding's bound is `error`: ceil(log(2 / (1 - confidence)) / (2 error^2)).

        >>> [SoftStability.samples_for(error, 1 - error) for error in (0.1, 0.05, 0.01)]
        [150, 738, 26492]
        """
        return math.ceil(math.log(2 / (1 - confidence)) / (2 * error**2) - 1e-6)

    def certify(self, question: Question, selection: Any, *, seed: int = 0) -> tuple[StabilityRates, ...]:
        """The rates of each input's selection, masks (n, features) or (features,)."""
        masks = selected(selection, question).numpy()
        draw = rng.shared(seed, "soft stability")
        level, order = draw.random(self.samples), draw.random((self.samples, question.partition.count))
        question.part(0, 1).settle()
        return tuple(self._one(question.part(row, row + 1), mask, level, order) for row, mask in enumerate(masks))

    def _one(
        self, question: Question, mask: Masks, level: NDArray[np.float64], order: NDArray[np.float64]
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


def rate_bounds(hits: int, trials: int, miss: float, bound: str = "clopper-pearson") -> tuple[float, float]:
    """A two-sided interval of a rate that misses it with probability at most `miss`."""
    if bound == "hoeffding":
        width = math.sqrt(math.log(2 / miss) / (2 * trials))
        return max(0.0, hits / trials - width), min(1.0, hits / trials + width)
    lower, upper = binomial_bounds(np.array([hits]), trials, miss / 2)
    return float(lower[0]), float(upper[0])


def size_chances(room: int, radius: int) -> NDArray[np.float64]:
    """P(j features are added), j = 0..min(room, radius), for a uniform superset: C(room, j) / sum_i C(room, i)."""
    ways = [math.comb(room, j) for j in range(min(room, radius) + 1)]
    return np.array([way / sum(ways) for way in ways])


def drawn_supersets(mask: Masks, radius: int, level: NDArray[np.float64], order: NDArray[np.float64]) -> Masks:
    """Uniform supersets within a radius: `level` (samples,) gives sizes, `order` (samples, features) features."""
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
    chosen = [which for size in range(min(len(free), radius) + 1) for which in combinations(free.tolist(), size)]
    made = np.tile(mask, (len(chosen), 1))
    for row, which in enumerate(chosen):
        made[row, list(which)] = True
    return made


@final
@dataclass(frozen=True)
class Counterexample:
    """The smallest change found that flips the class: adding (or removing) the features `flipped` gives class `other`.

    `size` is None where nothing was found. `radius` bounds the true radius from above: size - 1, or all the rest.
    """

    side: Side
    size: int | None
    flipped: tuple[int, ...]
    selected: int
    other: int | None
    room: int
    evaluations: int

    @property
    def radius(self) -> int:
        """No radius above this one is true; -1 where the whole itself has another class than the selection."""
        return self.room if self.size is None else self.size - 1


@final
@dataclass(frozen=True)
class Attack:
    """The smallest addition (or removal) found that flips the class: greedy by margin, random orders, then pruned.

    An upper bound beside the lower bound of a certificate. `restarts` random orders, their prefixes tried from short to
    long; `reach` limits the greedy search to so many steps.
    Cost: at most reach * m rows for the greedy part and restarts * m for the random one, m the unselected features.

    >>> question = Question(lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5))
    >>> (found,) = Attack().search(question, torch.arange(5) == 0)
    >>> found.size, found.flipped, found.radius
    (2, (1, 3), 1)
    """

    side: Side = "incremental"
    restarts: int = 16
    reach: int | None = None

    def __post_init__(self) -> None:
        if self.side not in ("incremental", "decremental") or self.restarts < 0 or (self.reach or 0) < 0:
            raise InputError(
                "Expected side 'incremental' or 'decremental' and counts from 0 on, got "
                f"side={self.side!r}, restarts={self.restarts}, reach={self.reach}."
            )

    def search(self, question: Question, selection: Any, *, seed: int = 0) -> tuple[Counterexample, ...]:
        """One counterexample, or none found, per input."""
        masks = selected(selection, question).numpy()
        order = rng.shared(seed, "attack orders").random((self.restarts, question.partition.count))
        question.part(0, 1).settle()
        return tuple(self._one(question.part(row, row + 1), mask, order) for row, mask in enumerate(masks))

    def _one(self, question: Question, mask: Masks, order: NDArray[np.float64]) -> Counterexample:
        free = np.flatnonzero(~mask)
        start = mask if self.side == "incremental" else np.ones_like(mask)
        with engine.tally() as spent:
            before = int(_classes(question, mask[None])[0][0])
            asked = _Flips(question, start, before)
            found = asked.first([()]) or self._greedy(asked, free)
            ranked = free[order[:, free].argsort(axis=1)].tolist()
            most = len(free) if found is None else len(found[0]) - 1
            found = asked.first([tuple(line[:size]) for size in range(1, most + 1) for line in ranked]) or found
            while found and (less := asked.first([tuple(set(found[0]) - {one}) for one in found[0]])):
                found = less
        flipped, other = found or ((), None)
        size = None if found is None else len(flipped)
        return Counterexample(self.side, size, tuple(sorted(flipped)), before, other, len(free), spent.forwards)

    def _greedy(self, asked: _Flips, free: Integers) -> tuple[tuple[int, ...], int] | None:
        """Flips one feature after the other, each time the one that leaves the smallest margin."""
        flipped: tuple[int, ...] = ()
        for _ in range(len(free) if self.reach is None else min(self.reach, len(free))):
            tries = [(*flipped, one) for one in free.tolist() if one not in flipped]
            margins, classes = asked.ask(tries)
            if (hit := np.flatnonzero(classes != asked.before)).size:
                return tries[hit[0]], int(classes[hit[0]])
            flipped = tries[int(margins.argmin())]
        return None


@final
@dataclass(frozen=True, eq=False)
class _Flips:
    """A start mask of one input, asked again with some features flipped; `before` is the class that should stay."""

    question: Question
    start: Masks
    before: int

    def ask(self, flips: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.float64], Integers]:
        """The margin of the class and the class found, (len(flips),) each."""
        masks = np.tile(self.start, (len(flips), 1))
        for row, flipped in enumerate(flips):
            masks[row, list(flipped)] ^= True
        outputs = self.question.outputs(torch.from_numpy(masks)).to("cpu", torch.float64)[0].numpy()
        rivals = np.delete(outputs, self.before, axis=1).max(axis=1)
        return outputs[:, self.before] - rivals, outputs.argmax(axis=1)

    def first(self, flips: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], int] | None:
        """The first of some changes that flips the class, and the class it gives."""
        for start in range(0, len(flips), _BLOCK):
            block = flips[start : start + _BLOCK]
            classes = self.ask(block)[1]
            if (hit := np.flatnonzero(classes != self.before)).size:
                return block[hit[0]], int(classes[hit[0]])
        return None


__all__ = [
    "Attack",
    "Counterexample",
    "HardStability",
    "LipschitzCheck",
    "SoftStability",
    "StabilityRates",
    "Steepness",
]
