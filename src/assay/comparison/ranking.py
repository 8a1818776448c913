"""Where methods stand by one metric, and which differences between them are real.

Scores of all methods are of the same inputs, so that differences are tested input by input
(sign-flip permutation tests), adjusted over all pairs (Holm 1979), and shown as letters: methods
that share one could not be told apart (the compact letter display of Piepho 2004). The chance to
be the best is a bootstrap over inputs. The statistics themselves are `assay.numerics.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from assay.answers.score import Direction, Score
from assay.errors import InputError
from assay.numerics import statistics
from assay.numerics.statistics import Floats, Paired


@final
@dataclass(frozen=True)
class Pair:
    """Two methods on the same inputs, the first minus the second.

    Settings:
        first: the label of one.
        second: the label of the other.
        facts: the paired difference with its interval and raw p value.
        adjusted: the p value after Holm over all pairs.
        real: whether that is significant.
    """

    first: str
    second: str
    facts: Paired
    adjusted: float
    real: bool


@final
@dataclass(frozen=True)
class Place:
    """One method by one metric.

    Settings:
        method: its label.
        mean: over the inputs that have a score.
        low: lower end of the interval of the mean.
        high: upper end of it.
        best: the chance to have the best mean, were the inputs drawn anew.
        letters: its groups of methods that could not be told apart.
        n: how many inputs have a score.
    """

    method: str
    mean: float
    low: float
    high: float
    best: float
    letters: str
    n: int

    @classmethod
    def without_score(cls, method: str) -> Place:
        """The place of a method that was refused."""
        return cls(method, math.nan, math.nan, math.nan, math.nan, "", 0)


@final
@dataclass(frozen=True)
class Ranking:
    """Where methods stand by one metric, best mean first.

    Settings:
        metric: its label.
        direction: which way is better.
        units: of the scores.
        places: the candidates, best mean first, those without a score last.
        references: reference points, which are no part of any choice.
        pairs: every two methods.
        versus_random: each method and the first reference (a random explanation), adjusted among
            themselves.
        level: the confidence level.
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
        # Places without a mean stand last, so that a first one without is the only kind.
        if not self.places or math.isnan(self.places[0].mean):
            raise InputError(
                expected=f"a method with a score by {self.metric}",
                got="none",
                advice="See the refusals of the comparison for the reasons.",
            )
        return self.places[0].method

    @property
    def arrow(self) -> str:
        """Which way is better, as one character."""
        return "↓" if self.direction == "lower" else "↑"

    @property
    def leaders(self) -> tuple[str, ...]:
        """The winner and every method that shares one of its letters."""
        if not self.places:
            return ()
        # A shared letter is no proof of equality: no difference was found, and no more is said.
        shared = set(self.places[0].letters)
        return tuple(place.method for place in self.places if shared & set(place.letters))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups of methods among which no difference was found, by letter."""
        letters = sorted({letter for place in self.places for letter in place.letters})
        return {letter: self._sharing(letter) for letter in letters}

    def _sharing(self, letter: str) -> tuple[str, ...]:
        return tuple(place.method for place in self.places if letter in place.letters)

    @property
    def not_better_than_random(self) -> tuple[str, ...]:
        """Methods that were not shown to be better than the random explanation."""
        # A difference that is real in the wrong direction is no excuse.
        sign = -1 if self.direction == "lower" else 1
        return tuple(
            pair.first
            for pair in self.versus_random
            if not (pair.real and sign * pair.facts.difference > 0)
        )

    def place(self, method: str) -> Place | None:
        """The place of a method or a reference, None where it has no score."""
        for place in (*self.places, *self.references):
            if place.method == method:
                return place
        return None


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
    # References take no part in tests and letters: they would cost all others power.
    methods = [name for name in scores if name not in references]
    direction = _direction(scores)
    table = _table(metric, scores, methods)
    pairs = _pairs(methods, statistics.every_pair(table, level, seed), level)
    return Ranking(
        metric=metric,
        direction=direction,
        units=next((score.units for score in scores.values()), ""),
        places=_places(methods, scores, table, pairs, direction, level, seed),
        references=tuple(
            _place(name, scores[name], level, math.nan, "") for name in references if name in scores
        ),
        pairs=pairs,
        versus_random=_versus_first(references, scores, methods, table, level, seed),
        level=level,
    )


def _places(
    methods: Sequence[str],
    scores: Mapping[str, Score],
    table: Floats,
    pairs: Sequence[Pair],
    direction: Direction,
    level: float,
    seed: int,
) -> tuple[Place, ...]:
    if not methods:
        return ()
    # Column 0: how often each method comes first when the inputs are drawn anew.
    chances = statistics.ranks(table, direction, seed)[:, 0]
    means = [scores[name].mean for name in methods]
    order = _best_first(means, direction)
    # Letters are dealt in the order of the means; a method without one has no letter.
    letters = statistics.letters(
        _differ(methods, pairs), [i for i in order if not math.isnan(means[i])]
    )
    return tuple(
        _place(methods[i], scores[methods[i]], level, float(chances[i]), letters[i]) for i in order
    )


def _best_first(means: Sequence[float], direction: Direction) -> list[int]:
    """The order of the means; NaN compares with nothing, and is put last."""
    sign = 1 if direction == "lower" else -1

    def key(i: int) -> float:
        return math.inf if math.isnan(means[i]) else sign * means[i]

    return sorted(range(len(means)), key=key)


def _differ(methods: Sequence[str], pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Which two methods really differ: (methods, methods), bool, symmetric."""
    # The diagonal stays False: a method does not differ from itself.
    differ = np.zeros((len(methods), len(methods)), dtype=bool)
    for pair in pairs:
        i = methods.index(pair.first)
        j = methods.index(pair.second)
        differ[i, j] = differ[j, i] = pair.real
    return differ


def _direction(scores: Mapping[str, Score]) -> Direction:
    return next((score.direction for score in scores.values()), "higher")


def _table(metric: str, scores: Mapping[str, Score], methods: Sequence[str]) -> Floats:
    """The values of the candidates: (n, methods)."""
    # Paired by position: scores carry no keys of their inputs.
    lengths = {len(score) for score in scores.values()}
    if len(lengths) > 1:
        raise InputError(
            expected=f"scores by {metric} of the same inputs",
            got=f"{sorted(lengths)} values",
            advice="Score all attributions on one question.",
        )
    if not methods:
        return np.zeros((max(lengths, default=0), 0))
    # NaN stays where an input has no score: the statistics leave it out pair by pair.
    return np.stack([scores[name].values.numpy() for name in methods], axis=1)


def _bounds(score: Score, level: float) -> tuple[float, float]:
    # A score knows its own 95 % interval, which is remembered there.
    if level == 0.95:
        return score.interval
    return statistics.interval(score.values.numpy(), level)


def _place(method: str, score: Score, level: float, best: float, letters: str) -> Place:
    low, high = _bounds(score, level)
    # The mean is over these alone, and a page says so.
    counted = len(score) - score.missing
    return Place(method, score.mean, low, high, best, letters, counted)


def _pairs(
    methods: Sequence[str], differences: Mapping[tuple[int, int], Paired], level: float
) -> tuple[Pair, ...]:
    # Over all pairs together: the more methods are compared, the more a difference has to show.
    adjusted = statistics.holm([facts.p for facts in differences.values()])
    return tuple(
        Pair(methods[i], methods[j], facts, float(p), bool(p <= 1 - level))
        for ((i, j), facts), p in zip(differences.items(), adjusted)
    )


def _versus_first(
    references: Sequence[str],
    scores: Mapping[str, Score],
    methods: Sequence[str],
    table: Floats,
    level: float,
    seed: int,
) -> tuple[Pair, ...]:
    """Every method against the first reference; empty where that has no score."""
    if not references or references[0] not in scores:
        return ()
    random = references[0]
    differences = table - scores[random].values.numpy()[:, None]
    facts = statistics.differences(differences, level, seed)
    # The reference is put behind the methods, as the second of every pair.
    last = len(methods)
    by_pair = {(i, last): paired for i, paired in enumerate(facts)}
    return _pairs([*methods, random], by_pair, level)
