"""Whether the winner stays the winner when a metric's own settings change.

A metric's substrate, patch or radius is a choice of whoever measures. A verdict that turns with it
is a verdict about the choice: the share of settings under which it holds says how far to trust it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from assay.answers.attribution import Attribution
from assay.comparison.candidates import short, short_repr
from assay.comparison.ranking import ranking
from assay.comparison.scoring import scored
from assay.errors import AssayError, InputError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.metrics.curves.shared_curves import sharing_curves
from assay.metrics.sensitivity.shared_changes import sharing_changes
from assay.question.question import Question

if TYPE_CHECKING:
    import pandas


@final
@dataclass(frozen=True)
class Trial:
    """What a metric says under one of its settings.

    Settings:
        metric: the metric with these settings.
        winner: the method with the best mean; empty where it refused.
        leaders: the winner and all methods that were not shown to be worse.
        chance: the chance that the first winner has the best mean, were the inputs drawn anew.
        refusal: why there is no answer, or nothing.
    """

    metric: str
    winner: str
    leaders: tuple[str, ...]
    chance: float
    refusal: str = ""


@final
@dataclass(frozen=True)
class Persistence:
    """Whether a winner stays the winner when a metric's settings change.

    Settings:
        winner: the winner under the metric's own settings.
        trials: what was said under each of the others.
    """

    winner: str
    trials: tuple[Trial, ...]

    @property
    def answered(self) -> tuple[Trial, ...]:
        """The trials that have a winner."""
        return tuple(trial for trial in self.trials if trial.winner)

    @property
    def share(self) -> float:
        """The share of settings under which the winner has the best mean."""
        return sum(trial.winner == self.winner for trial in self.answered) / len(self.answered)

    @property
    def share_not_beaten(self) -> float:
        """The share of settings under which no method was shown to be better."""
        return sum(self.winner in trial.leaders for trial in self.answered) / len(self.answered)

    @property
    def chance(self) -> float:
        """The mean chance to have the best mean, over settings and inputs drawn anew."""
        return sum(trial.chance for trial in self.answered) / len(self.answered)

    def to_pandas(self) -> pandas.DataFrame:
        """One row per setting."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(trial) for trial in self.trials])

    def __repr__(self) -> str:
        count = len(self.answered)
        best = round(self.share * count)
        return (
            f"Persistence({short(self.winner)} has the best mean under {best} of {count} settings, "
            f"chance {self.chance:.2f})"
        )


def persistence(
    question: Question,
    metric: Metric,
    askers: Mapping[str, Method | Attribution],
    answers: Mapping[str, Attribution],
    settings: Mapping[str, Any],
    level: float,
    seed: int,
) -> Persistence:
    """Scores finished answers again under other settings of a metric, one setting changed at a time.

    No method is asked again, but by a metric that asks them itself.
    """
    variants = _variants(metric, settings)
    # Settings that leave an order of features as it is ask the same masks.
    with sharing_curves(), sharing_changes():
        # Scored again with the others, from one seed: what differs is the setting and no draw.
        own = _trial(question, metric, askers, answers, "", level, seed)
        if not own.winner:
            raise InputError(
                expected=f"a winner by {short_repr(metric)}",
                got=own.refusal,
                advice="A metric that scores no method has no winner whose fate could be followed.",
            )
        trials = tuple(
            _trial(question, variant, askers, answers, own.winner, level, seed)
            for variant in variants
        )
    if not any(trial.winner for trial in trials):
        raise InputError(
            expected="a setting under which the metric answers",
            got=trials[0].refusal,
            advice="Name settings that suit this question.",
        )
    return Persistence(own.winner, trials)


def _variants(metric: Metric, settings: Mapping[str, Any]) -> list[Metric]:
    """The metric with each of these values in turn."""
    variants = []
    for name, values in settings.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise InputError(
                expected=f"a list of values of {name}",
                got=repr(values),
                advice=f"Write {{{name!r}: [...]}}, each value a setting of {type(metric).__name__}.",
            )
        own = _settings_of(metric)
        # A value that the class does not take is refused by the class.
        variants += [type(metric)(**{**own, name: value}) for value in values]
    if not variants:
        raise InputError(
            expected="settings of the metric, at least one value",
            got="none",
            advice='Write comparison.persistence(Infidelity(), {"draws": [50, 200]}).',
        )
    return variants


def _settings_of(metric: Metric) -> dict[str, Any]:
    """A metric's own settings by name."""
    own: Any = metric  # every metric is a dataclass, which its base is not
    return {each.name: getattr(metric, each.name) for each in dataclasses.fields(own) if each.init}


def _trial(
    question: Question,
    metric: Metric,
    askers: Mapping[str, Method | Attribution],
    answers: Mapping[str, Attribution],
    winner: str,
    level: float,
    seed: int,
) -> Trial:
    label = short_repr(metric)
    try:
        scores, refusals = scored(question, metric, askers, answers, seed)
    except AssayError as reason:
        return Trial(label, "", (), 0.0, str(reason))
    if not scores:
        return Trial(label, "", (), 0.0, next(iter(refusals.values()), "nothing was scored"))
    # Without references: they take no part in who wins.
    found = ranking(label, scores, (), level, seed, direction=metric.direction)
    # The chance of the first winner, under settings by which another may win.
    place = found.place(winner or found.winner)
    return Trial(label, found.winner, found.leaders, 0.0 if place is None else place.best)
