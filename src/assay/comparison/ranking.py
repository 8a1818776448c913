"""Where methods stand by one metric, and which differences between them are significant.

Scores of all methods are of the same inputs, so that differences are tested input by input
(sign-flip permutation tests), adjusted over all pairs (Holm 1979), and shown as letters: methods
that share one could not be told apart (the compact letter display of Piepho 2004). The chance to
be the best is a bootstrap over inputs. The statistics themselves are `assay.numerics.statistics`.

Two reference points say whether a score is worth anything: each method's own credit, shuffled among
the features of each input, and no credit at all. Nothing here depends on the order in which methods
are listed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from assay.answers.named import Named
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
        real: whether the difference is significant: the adjusted p value is at most 1 - level, and
            the interval leaves zero out. The second guards against skewed differences, of which
            the first finds too many; fewer than 8 inputs have no interval, and no difference.
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
        common: over the inputs on which every candidate has one; the order of places is by it.
        low: lower end of the interval of the mean; NaN where fewer than 8 inputs have a score.
        high: upper end of it.
        best: the chance to have the best mean, were the inputs drawn anew.
        letters: its groups of methods that could not be told apart.
        n: how many inputs have a score.
        shuffled: the mean of its credit shuffled among the features, NaN where not asked.
    """

    method: str
    mean: float
    common: float
    low: float
    high: float
    best: float
    letters: str
    n: int
    shuffled: float = math.nan

    @property
    def no_interval(self) -> str:
        """Why the mean has no interval, and what gives it one; empty where it has one."""
        if self.n < statistics.FEWEST:
            return statistics.TOO_FEW
        return ""

    @classmethod
    def without_score(cls, method: str) -> Place:
        """The place of a method that was refused."""
        return cls(method, math.nan, math.nan, math.nan, math.nan, math.nan, "", 0)


@final
@dataclass(frozen=True)
class Ranking:
    """Where methods stand by one metric, best mean first.

    Settings:
        metric: its label.
        direction: which way is better.
        units: of the scores.
        places: the candidates, best mean over common inputs first, those without a score last.
        references: reference points, which are no part of any choice.
        pairs: every two methods.
        versus_shuffled: each method and its own credit shuffled, adjusted among themselves.
        versus_zero: each method and no credit at all, adjusted among themselves.
        level: the confidence level.
        n: how many inputs there are.
        common: on how many of them every candidate has a score.
    """

    metric: str
    direction: Direction
    units: str
    places: tuple[Place, ...]
    references: tuple[Place, ...]
    pairs: tuple[Pair, ...]
    versus_shuffled: tuple[Pair, ...]
    versus_zero: tuple[Pair, ...]
    level: float
    n: int
    common: int

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
        if self.direction == "lower":
            return "↓"
        return "↑"

    @property
    def leaders(self) -> tuple[str, ...]:
        """The winner and every method that was not shown to be worse than it."""
        if not self.places:
            return ()
        # No proof of equality: no difference in the winner's favour was found, no more is said.
        beaten = {pair.second for pair in self._of_winner if self._better(pair)}
        return tuple(place.method for place in self.places if place.method not in beaten)

    @property
    def beaten_by(self) -> tuple[str, ...]:
        """Methods that are significantly better than the winner where both have a score."""
        return tuple(pair.second for pair in self._of_winner if self._better(_turned(pair)))

    @property
    def _of_winner(self) -> tuple[Pair, ...]:
        """The pairs of the winner, with it as the first."""
        if not self.places:
            return ()
        winner = self.places[0].method
        # Pairs are in the order of labels: a winner may stand second, and is turned to the front.
        own = [pair for pair in self.pairs if winner in (pair.first, pair.second)]
        return tuple(pair if pair.first == winner else _turned(pair) for pair in own)

    def _better(self, pair: Pair) -> bool:
        """Whether the first of a pair is significantly better."""
        sign = -1 if self.direction == "lower" else 1
        return pair.real and sign * pair.facts.difference > 0

    def first_better(self, pair: Pair) -> float:
        """The share of inputs on which the first of a pair is the better one, ties counted half."""
        larger = pair.facts.wins
        if self.direction == "lower":
            return 1 - larger
        return larger

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups of methods among which no difference was found, by letter."""
        letters = sorted({letter for place in self.places for letter in place.letters})
        return Named((letter, self._sharing(letter)) for letter in letters)

    def _sharing(self, letter: str) -> tuple[str, ...]:
        return tuple(place.method for place in self.places if letter in place.letters)

    @property
    def not_better_than_shuffled(self) -> tuple[str, ...]:
        """Methods that were not shown to be better than their own credit shuffled."""
        # A difference that is significant in the wrong direction is no excuse.
        return tuple(pair.first for pair in self.versus_shuffled if not self._better(pair))

    @property
    def not_better_than_zero(self) -> tuple[str, ...]:
        """Methods that were not shown to be better than no credit at all."""
        return tuple(pair.first for pair in self.versus_zero if not self._better(pair))

    def fewest_inputs(self, tests: int) -> int:
        """The fewest inputs on which one of so many differences could be significant.

        A sign-flip test of n inputs has no p value below 2^(1 - n), and Holm's adjustment
        multiplies the smallest by the number of tests; below 8 there is no interval.
        """
        # A power of two that is met exactly must not be rounded up for its logarithm's rounding.
        by_signs = math.ceil(1 + math.log2(max(tests, 1) / (1 - self.level)) - 1e-9)
        return max(by_signs, statistics.FEWEST)

    @property
    def no_interval(self) -> str:
        """Why a mean or a difference has no interval, and what gives it one; empty where all have
        theirs.
        """
        # Where nothing is counted, no mean is shown that could have one.
        counted = [place.n for place in (*self.places, *self.references) if place.n]
        counted += [pair.facts.n for pair in self.pairs]
        if counted and min(counted) < statistics.FEWEST:
            return statistics.TOO_FEW
        return ""

    def place(self, method: str) -> Place | None:
        """The place of a method or a reference, None where it has no score."""
        for place in (*self.places, *self.references):
            if place.method == method:
                return place
        return None


def _turned(pair: Pair) -> Pair:
    """The same pair, the second first."""
    facts = pair.facts
    # The ends of the interval change places with their sign; p values are two-sided, and stay.
    turned = replace(
        facts,
        difference=-facts.difference,
        low=-facts.high,
        high=-facts.low,
        effect=-facts.effect,
        wins=1 - facts.wins,
    )
    return replace(pair, first=pair.second, second=pair.first, facts=turned)


def shuffled(method: str) -> str:
    """The label of a method's credit, shuffled among the features of each input."""
    return f"Shuffled({method})"


ZERO = "Zero"  # the label of no credit at all


def ranking(
    metric: str,
    scores: Mapping[str, Score],
    references: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
    *,
    direction: Direction | None = None,
) -> Ranking:
    """Ranks the methods that have a score by this metric: (n,) values each, on the same inputs.

    Every two methods are compared input by input (`statistics.every_pair`), the p values are
    adjusted over these pairs (`statistics.holm`), and methods whose difference is not significant
    at 1 - level share a letter. References are found by their labels, `shuffled(method)` and
    `ZERO`. No model is asked.
    """
    # References take no part in tests and letters: they would cost all others power. In the order
    # of their labels, so that no answer depends on who was listed first.
    methods = sorted(name for name in scores if name not in references)
    direction = direction or _direction(scores)
    table = _table(metric, scores, methods)
    pairs = _pairs(methods, statistics.every_pair(table, level, seed), level)
    common = _common(table)
    points = {name: scores[name] for name in references if name in scores}
    shuffles = {
        name: (shuffled(name), points[shuffled(name)])
        for name in methods
        if shuffled(name) in points
    }
    # What is made of one method stands beside it, and not among what is of no one method.
    own = {label for label, _ in shuffles.values()}
    zeros = {name: (ZERO, points[ZERO]) for name in methods if ZERO in points}
    return Ranking(
        metric=metric,
        direction=direction,
        units=next((score.units for score in scores.values()), ""),
        places=_places(methods, scores, table, pairs, direction, level, seed, shuffles),
        references=tuple(
            _place(name, score, level, math.nan, "", math.nan)
            for name, score in points.items()
            if name not in own
        ),
        pairs=pairs,
        versus_shuffled=_versus(methods, table, shuffles, level, seed),
        versus_zero=_versus(methods, table, zeros, level, seed),
        level=level,
        n=len(table),
        common=int(common.sum()),
    )


def _common(table: Floats) -> NDArray[np.bool_]:
    """The inputs on which every candidate that has scores at all has one: (n,)."""
    valid = ~np.isnan(table)
    return np.asarray(valid[:, valid.any(axis=0)].all(axis=1), dtype=bool)


def _places(
    methods: Sequence[str],
    scores: Mapping[str, Score],
    table: Floats,
    pairs: Sequence[Pair],
    direction: Direction,
    level: float,
    seed: int,
    shuffles: Mapping[str, tuple[str, Score]],
) -> tuple[Place, ...]:
    if not methods:
        return ()
    # Column 0: how often each method comes first when the inputs are drawn anew.
    chances = statistics.ranks(table, direction, seed)[:, 0]
    # A mean over easy inputs is no win over a mean over all: the order is that of common inputs.
    common = table[_common(table)]
    means = common.mean(axis=0).tolist() if len(common) else [scores[name].mean for name in methods]
    order = _best_first(means, direction)
    # Letters are dealt in the order of the means; a method without one has no letter.
    letters = statistics.letters(
        _differ(methods, pairs), [i for i in order if not math.isnan(means[i])]
    )
    places = []
    for i in order:
        name = methods[i]
        place = _place(name, scores[name], level, float(chances[i]), letters[i], means[i])
        if name in shuffles:
            place = replace(place, shuffled=shuffles[name][1].mean)
        places.append(place)
    return tuple(places)


def _best_first(means: Sequence[float], direction: Direction) -> list[int]:
    """The order of the means; NaN compares with nothing, and is put last."""
    sign = 1 if direction == "lower" else -1

    def key(i: int) -> float:
        if math.isnan(means[i]):
            return math.inf
        return sign * means[i]

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
    """What the scores say; a metric that refused everybody has to be asked itself."""
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


def _place(
    method: str, score: Score, level: float, best: float, letters: str, common: float
) -> Place:
    # A score remembers its own 95 % interval.
    low, high = score.interval if level == 0.95 else score.interval_at(level)
    # The mean is over these alone, and a page says so.
    counted = len(score) - score.missing
    return Place(method, score.mean, common, low, high, best, letters, counted)


def _pairs(
    methods: Sequence[str], differences: Mapping[tuple[int, int], Paired], level: float
) -> tuple[Pair, ...]:
    # Over all pairs together: the more methods are compared, the more a difference has to show.
    adjusted = statistics.holm([facts.p for facts in differences.values()])
    return tuple(
        Pair(methods[i], methods[j], facts, float(p), _significant(facts, float(p), level))
        for ((i, j), facts), p in zip(differences.items(), adjusted)
    )


def _significant(facts: Paired, adjusted: float, level: float) -> bool:
    """Whether both the adjusted p value and the interval say so."""
    # 1 - 0.95 is a little above 0.05: a p value at the border counts.
    return adjusted <= 1 - level + 1e-12 and (facts.low > 0 or facts.high < 0)


def _versus(
    methods: Sequence[str],
    table: Floats,
    references: Mapping[str, tuple[str, Score]],
    level: float,
    seed: int,
) -> tuple[Pair, ...]:
    """Every method that has one against its reference point, adjusted among themselves.

    `references` gives each method's label of that point and its score.
    """
    # A method whose reference was refused has no test, and costs the others none.
    columns = [i for i, name in enumerate(methods) if name in references]
    if not columns:
        return ()
    own = [references[methods[i]] for i in columns]
    points = np.stack([score.values.numpy() for _, score in own], axis=1)
    # Each against its own reference alone: a shuffle of other credit has another size and unit.
    facts = statistics.differences(table[:, columns] - points, level, seed)
    # The reference points are put behind the methods, as the second of every pair.
    labels = [methods[i] for i in columns] + [label for label, _ in own]
    by_pair = {(i, len(columns) + i): paired for i, paired in enumerate(facts)}
    return _pairs(labels, by_pair, level)
