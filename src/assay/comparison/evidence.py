"""How far a comparison reaches: what more inputs, more draws and other metrics would say.

- `agreement`: whether the metrics put the methods in the same order (Kendall's W)
- `inputs_needed`: how many inputs would tell two methods apart
- `sampling`: whether the metrics' own draws are precise enough beside the differences of inputs
- `skills`: each method between its own shuffled credit (0) and the best that the metric allows (1)

No model is asked: all of it is read off the scores of a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from assay.answers.score import Score
from assay.comparison.ranking import Ranking, shuffled
from assay.numerics import statistics
from assay.numerics.concordance import kendall_w, mean_concordance
from assay.numerics.power import inputs_needed as fewest
from assay.numerics.statistics import FEWEST, Floats

ENOUGH = 0.1
"""The part of a mean's standard error that a metric's own draws may cause."""


@final
@dataclass(frozen=True)
class Agreement:
    """Whether the metrics put the methods in the same order.

    Settings:
        w: Kendall's W of the means, from 0 (no agreement) to 1 (one order); NaN where there are
            fewer than two metrics or two methods that all of them scored. It has no interval: the
            order of true means jumps where two of them cross, and near there no interval holds.
        per_input: the mean over inputs of Kendall's W of each input alone; NaN as `w`, and where no
            input has all scores.
        low: the lower end of the interval of `per_input`; NaN of fewer than 8 inputs.
        high: the upper end.
        inputs: on how many inputs there is a W.
        methods: the methods that every one of these metrics scored.
        metrics: the metrics that scored at least two methods.
        level: the confidence level.
    """

    w: float
    per_input: float
    low: float
    high: float
    inputs: int
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    level: float

    @property
    def no_interval(self) -> str:
        """Why a figure has no interval, and what gives it one; empty where it has one."""
        if math.isnan(self.w) or self.inputs >= FEWEST:
            return ""
        return statistics.TOO_FEW

    def __repr__(self) -> str:
        size = f"{len(self.metrics)} metrics, {len(self.methods)} methods"
        if math.isnan(self.w):
            return f"Agreement(no figure: {size} in common)"
        figures = f"W {self.w:.2f} of the means"
        if not math.isnan(self.per_input):
            interval = statistics.bracket(self.low, self.high, "{:.2f}".format)
            figures += f", {self.per_input:.2f}{interval} of one input"
        reason = f"; {self.no_interval}" if self.no_interval else ""
        return f"Agreement({figures}, {size}{reason})"


def agreement(
    rankings: Mapping[str, Ranking],
    scores: Mapping[tuple[str, str], Score],
    level: float,
    seed: int,
) -> Agreement:
    """Kendall's W of the metrics about the methods that all of them scored: of their means, and the
    mean of that of each input, with its interval (`concordance.mean_concordance`).
    """
    # A metric that scored one method alone puts nothing in order.
    metrics = [name for name, found in rankings.items() if len(_scored(found)) > 1]
    # W needs a rank from every metric: whom one of them refused is left out of all.
    judged = [_scored(rankings[name]) for name in metrics]
    methods = sorted(set.intersection(*judged)) if judged else []
    if len(metrics) < 2 or len(methods) < 2:
        nothing = math.nan
        return Agreement(
            nothing, nothing, nothing, nothing, 0, tuple(methods), tuple(metrics), level
        )
    tables = []
    for metric in metrics:
        # Larger is better in every table, so that all are ranked alike.
        sign = -1 if rankings[metric].direction == "lower" else 1
        columns = [sign * scores[method, metric].values.numpy() for method in methods]
        tables.append(np.stack(columns, axis=1))
    # By each metric over the inputs that it scored: a metric's gaps are no other's.
    means = np.stack([np.nanmean(table, axis=0) for table in tables])
    # Of one input alone, only where every metric scored every method.
    one = mean_concordance(np.stack(tables, axis=1), level, seed)
    return Agreement(
        w=kendall_w(means),
        per_input=one.w,
        low=one.low,
        high=one.high,
        inputs=one.n,
        methods=tuple(methods),
        metrics=tuple(metrics),
        level=level,
    )


def _scored(found: Ranking) -> set[str]:
    """The methods that have a score."""
    return {place.method for place in found.places if not math.isnan(place.mean)}


@final
@dataclass(frozen=True)
class Need:
    """How many inputs would tell two methods apart by one metric.

    Settings:
        metric: the metric's label.
        first: the label of one method.
        second: the label of the other.
        inputs: how many both have a score on.
        effect: the mean difference in units of its standard deviation between inputs.
        needed: inputs on which it would be found with the chance `power`; infinite where the means
            are equal.
        real: whether it is significant already.
    """

    metric: str
    first: str
    second: str
    inputs: int
    effect: float
    needed: float
    real: bool


def needs(rankings: Mapping[str, Ranking], power: float) -> tuple[Need, ...]:
    """What every pair of methods would need, were the difference as large as it was seen.

    The level of the one test is that of Holm's first step, (1 - level) / pairs. It is a plan and no
    finding: the effect is an estimate, and a small one is uncertain by far more than its size.
    """
    found = []
    for metric, ranking in rankings.items():
        # The strictest step of Holm: a plan for it is enough for every other.
        level = 1 - (1 - ranking.level) / max(len(ranking.pairs), 1)
        for pair in ranking.pairs:
            # Below the fewest inputs no difference is called one, however large it is.
            needed = max(fewest(pair.facts.effect, level, power), FEWEST)
            found.append(
                Need(
                    metric=metric,
                    first=pair.first,
                    second=pair.second,
                    inputs=pair.facts.n,
                    effect=pair.facts.effect,
                    needed=needed,
                    real=pair.real,
                )
            )
    return tuple(found)


@final
@dataclass(frozen=True)
class Sampling:
    """What a metric's own draws add to the uncertainty of one mean.

    Settings:
        metric: the metric's label.
        method: the method's label.
        error: the standard error of the mean over inputs, which holds both sources.
        noise: the part of it that the metric's draws cause; 0 where nothing is drawn.
        share: `noise / error`.
        enough: whether the share is at most a tenth.
        factor: by how much the draws would have to grow for that, at least 1.
    """

    metric: str
    method: str
    error: float
    noise: float
    share: float
    enough: bool
    factor: float


def sampling(scores: Mapping[tuple[str, str], Score]) -> tuple[Sampling, ...]:
    """The two sources of error of every mean, apart."""
    rows = []
    for (method, metric), score in scores.items():
        values = score.values.numpy()
        # Inputs without a score are no part of the mean, and so none of its error.
        values = values[~np.isnan(values)]
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        noise = score.noise
        # Equal scores have no error: a share of 0 where nothing is drawn, else an unknown one.
        share = noise / error if error > 0 else (0.0 if noise == 0 else math.nan)
        # Noise falls with the root of the draws.
        factor = max((share / ENOUGH) ** 2, 1.0)
        rows.append(Sampling(metric, method, error, noise, share, share <= ENOUGH, factor))
    return tuple(rows)


@final
@dataclass(frozen=True)
class Skill:
    """Where a method stands between its own shuffled credit and the best that a metric allows.

    Settings:
        metric: the metric's label.
        method: the method's label.
        skill: (random - mean) / (random - best): 0 as its shuffled credit, 1 as the optimum, below
            0 worse than shuffled.
        low: the lower end of its interval over inputs; NaN of fewer than 8, and where the room
            between chance and the best may be none.
        high: the upper end.
        random: the mean of the shuffled credit.
        best: the mean of the optimum.
        n: how many inputs have all three scores.
    """

    metric: str
    method: str
    skill: float
    low: float
    high: float
    random: float
    best: float
    n: int


def skills(
    scores: Mapping[tuple[str, str], Score],
    methods: Sequence[str],
    optima: Mapping[str, Floats],
    level: float,
) -> tuple[Skill, ...]:
    """The skill of every method by every metric whose optimum is known.

    Settings:
        scores: by (method, metric), those of the shuffled credit among them.
        methods: the candidates.
        optima: by metric, the best value that any credit could have on each input, (n,).
        level: the level of the intervals over inputs.
    """
    rows = []
    for metric, best in optima.items():
        for method in methods:
            own = scores.get((method, metric))
            random = scores.get((shuffled(method), metric))
            if own is None or random is None:
                continue
            table = np.stack([own.values.numpy(), random.values.numpy(), best], axis=1)
            # The three means are of the same inputs.
            table = table[~np.isnan(table).any(axis=1)]
            if len(table):
                rows.append(_skill(metric, method, table, level))
    return tuple(rows)


def _skill(metric: str, method: str, table: Floats, level: float) -> Skill:
    own, random, best = table.mean(axis=0)
    ratio = float(_ratio(own, random, best))
    low = high = math.nan
    if len(table) >= FEWEST and not math.isnan(ratio):
        low, high = _fieller(table[:, 1] - table[:, 0], table[:, 1] - table[:, 2], level)
    return Skill(metric, method, ratio, low, high, float(random), float(best), len(table))


def _fieller(gained: Floats, room: Floats, level: float) -> tuple[float, float]:
    """The interval of mean(gained) / mean(room): every ratio s of which Student's test does not find
    that gained - s room has another mean than 0 (Fieller 1954). NaN where the room may be none.

    Percentiles of resampled ratios hold the truth too seldom of ten inputs.
    """
    from scipy.special import stdtrit

    n = len(gained)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) ** 2 / n
    spread = np.cov(gained, room)
    # (mean gained - s mean room)^2 <= t^2 / n var(gained - s room), a square in s.
    square = room.mean() ** 2 - reach * spread[1, 1]
    middle = gained.mean() * room.mean() - reach * spread[0, 1]
    rest = gained.mean() ** 2 - reach * spread[0, 0]
    if square <= 0:
        return math.nan, math.nan
    # Never below 0 but for rounding: the ratio of the means is itself among them.
    half = math.sqrt(max(middle**2 - square * rest, 0.0))
    return float((middle - half) / square), float((middle + half) / square)


def _ratio(own: Floats, random: Floats, best: Floats) -> Floats:
    """The skill; NaN where even the best is as good as shuffled credit."""
    room = np.asarray(random - best)
    # The inner choice keeps a division by 0 from warning; the outer one leaves NaN there.
    return np.where(room != 0, (random - own) / np.where(room != 0, room, 1.0), np.nan)
