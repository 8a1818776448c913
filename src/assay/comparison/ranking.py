"""Where methods stand by one metric: means with intervals, chances to be the best, and which
differences are real.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from assay.answers.score import Direction, Score
from assay.errors import InputError
from assay.numerics import statistics
from assay.numerics.statistics import Floats, Paired


@final
@dataclass(frozen=True)
class Pair:
    """Two methods on the same inputs, the first minus the second; `adjusted` is the p value after
    Holm over all.
    """

    first: str
    second: str
    facts: Paired
    adjusted: float
    real: bool


@final
@dataclass(frozen=True)
class Place:
    """One method by one metric: mean, 95 % interval, chance to be the best, and its groups of the
    indistinguishable.
    """

    method: str
    mean: float
    low: float
    high: float
    best: float
    letters: str
    n: int


@final
@dataclass(frozen=True)
class Ranking:
    """Where methods stand by one metric, best mean first; references stand apart and are no part of
    any choice.

    `pairs` holds every two methods, `against` each method and the first reference (a random
    explanation), adjusted among themselves.
    """

    metric: str
    direction: Direction
    units: str
    places: tuple[Place, ...]
    references: tuple[Place, ...]
    pairs: tuple[Pair, ...]
    versus_random: tuple[Pair, ...]
    level: float

    @property
    def winner(self) -> str:
        """The method with the best mean; `leaders` says whether others cannot be told from it."""
        if not self.places or math.isnan(self.places[0].mean):
            raise InputError(
                f"No method has a score by {self.metric}: see the refusals of the comparison for the reasons"
            )
        return self.places[0].method

    @property
    def leaders(self) -> tuple[str, ...]:
        """The winner and every method that shares one of its letters."""
        shared = set(self.places[0].letters) if self.places else set()
        return tuple(place.method for place in self.places if shared & set(place.letters))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups of methods among which no difference was found, by letter."""
        found = sorted({letter for place in self.places for letter in place.letters})
        return {
            letter: tuple(p.method for p in self.places if letter in p.letters) for letter in found
        }

    @property
    def not_better_than_random(self) -> tuple[str, ...]:
        """Methods that were not shown to be better than the random explanation."""
        sign = -1 if self.direction == "lower" else 1
        return tuple(
            pair.first
            for pair in self.versus_random
            if not (pair.real and sign * pair.facts.difference > 0)
        )

    def place(self, method: str) -> Place | None:
        """The place of a method or a reference, None where it has no score."""
        return next(
            (place for place in (*self.places, *self.references) if place.method == method), None
        )


def ranking(
    metric: str,
    scores: Mapping[str, Score],
    references: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
) -> Ranking:
    """Ranks the methods that have a score by this metric: (n,) values each, on the same inputs.

    Every two methods are compared input by input (`statistics.every_pair`), the p values are
    adjusted over these pairs (`statistics.holm`), and methods whose difference is not significant
    at 1 - level share a letter. No model is asked.
    """
    methods = [name for name in scores if name not in references]
    yardsticks = [name for name in references if name in scores]
    table = _table(metric, scores, methods)
    sign = 1 if _direction(scores) == "lower" else -1
    bounds = [_bounds(scores[name], level) for name in methods]
    chances = statistics.ranks(table, _direction(scores), seed)[:, 0] if methods else np.zeros(0)
    pairs = _pairs(methods, statistics.every_pair(table, level, seed), level)
    differ = np.zeros((len(methods), len(methods)), dtype=bool)
    for pair in pairs:
        i, j = methods.index(pair.first), methods.index(pair.second)
        differ[i, j] = differ[j, i] = pair.real
    means = [scores[name].mean for name in methods]
    order = sorted(
        range(len(methods)), key=lambda i: math.inf if math.isnan(means[i]) else sign * means[i]
    )
    shown = statistics.letters(differ, [i for i in order if not math.isnan(means[i])])
    places = [
        _place(methods[i], scores[methods[i]], bounds[i], float(chances[i]), shown[i])
        for i in order
    ]
    apart = [
        _place(name, scores[name], _bounds(scores[name], level), math.nan, "")
        for name in yardsticks
    ]
    random = references[0] if references and references[0] in scores else None
    versus_random = (
        () if random is None else _against(table, methods, scores[random], random, level, seed)
    )
    units = next((score.units for score in scores.values()), "")
    return Ranking(
        metric, _direction(scores), units, tuple(places), tuple(apart), pairs, versus_random, level
    )


def _direction(scores: Mapping[str, Score]) -> Direction:
    return next((score.direction for score in scores.values()), "higher")


def _table(metric: str, scores: Mapping[str, Score], methods: Sequence[str]) -> Floats:
    lengths = {len(score) for score in scores.values()}
    if len(lengths) > 1:
        raise InputError(
            f"Scores by {metric} must be of the same inputs, got {sorted(lengths)} values: score all on one question"
        )
    columns = [scores[name].values.numpy() for name in methods]
    return np.stack(columns, axis=1) if columns else np.zeros((max(lengths, default=0), 0))


def _bounds(score: Score, level: float) -> tuple[float, float]:
    return score.interval if level == 0.95 else statistics.interval(score.values.numpy(), level)


def _place(
    method: str, score: Score, bounds: tuple[float, float], best: float, letters: str
) -> Place:
    return Place(
        method, score.mean, bounds[0], bounds[1], best, letters, len(score) - score.missing
    )


def _pairs(
    methods: Sequence[str], found: Mapping[tuple[int, int], Paired], level: float
) -> tuple[Pair, ...]:
    adjusted = statistics.holm([facts.p for facts in found.values()])
    return tuple(
        Pair(methods[i], methods[j], facts, float(p), bool(p <= 1 - level))
        for ((i, j), facts), p in zip(found.items(), adjusted)
    )


def _against(
    table: Floats, methods: Sequence[str], reference: Score, name: str, level: float, seed: int
) -> tuple[Pair, ...]:
    found = statistics.differences(table - reference.values.numpy()[:, None], level, seed)
    return _pairs(
        [*methods, name], {(i, len(methods)): facts for i, facts in enumerate(found)}, level
    )
