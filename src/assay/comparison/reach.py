"""What a comparison says of its own reach, in rows of one form: words, frame, JSON and page read them.

Every row is one finding about a metric, a method or a pair of them: a figure, its interval where it has
one, and a sentence that says it. What was not reached is said as plainly as what was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, final

from assay.comparison.candidates import short
from assay.comparison.evidence import ENOUGH, Agreement, Need, Sampling, Skill
from assay.comparison.persistence import Persistence
from assay.numerics.statistics import FEWEST, TOO_FEW, bracket

if TYPE_CHECKING:
    import pandas

About: TypeAlias = Literal["agreement", "sampling", "inputs needed", "skill", "persistence"]


@final
@dataclass(frozen=True)
class Finding:
    """One row.

    Settings:
        about: what it says: whether metrics agree, whether draws are enough, how many inputs a
            difference needs, where a method stands between chance and the optimum, or whether a
            winner outlives other settings.
        metric: the metric's label; empty where it is about all of them.
        method: the method's label; empty where it is about no one.
        other: that of the second of a pair.
        figure: Kendall's W of one input, the share of the error that draws cause, the inputs needed,
            the skill, or the share of settings; NaN where there is none.
        low: the lower end of its interval; NaN where there is none.
        high: the upper end.
        reached: whether what one would wish for holds; None where there is nothing to wish for.
        words: the same in a sentence.
    """

    about: About
    metric: str
    method: str
    other: str
    figure: float
    low: float
    high: float
    reached: bool | None
    words: str


@final
@dataclass(frozen=True, repr=False)
class Reach:
    """How far a comparison reaches: its findings in rows.

    Settings:
        rows: one for each finding.
    """

    rows: tuple[Finding, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """A sentence for each finding."""
        return tuple(row.words for row in self.rows)

    def about(self, what: About) -> Reach:
        """The findings of one kind."""
        return Reach(tuple(row for row in self.rows if row.about == what))

    def to_pandas(self) -> pandas.DataFrame:
        """One row per finding."""
        import pandas

        columns = list(Finding.__dataclass_fields__)
        return pandas.DataFrame([asdict(row) for row in self.rows], columns=columns)

    def to_json(self) -> str:
        """A list of objects, one per finding; what is no finite number is null, and its words say why."""
        rows = [{name: _finite(value) for name, value in asdict(row).items()} for row in self.rows]
        return json.dumps(rows, ensure_ascii=False)

    def __repr__(self) -> str:
        return "\n".join(self.words) or "Reach(no finding)"


def findings(
    agreement: Agreement,
    sampling: Sequence[Sampling],
    needs: Sequence[Need],
    skills: Sequence[Skill],
    persistences: Mapping[str, Persistence],
    power: float,
) -> Reach:
    """All of these as rows, each with its sentence."""
    rows = [_agreement(agreement)]
    rows += [_sampling(each) for each in sampling]
    rows += [_need(each, power) for each in needs]
    rows += [_skill(each) for each in skills]
    rows += [_persistence(metric, found) for metric, found in persistences.items()]
    return Reach(tuple(rows))


def _sentence(words: str) -> str:
    """Words as a sentence behind another one."""
    if not words:
        return ""
    return f" {words[0].upper()}{words[1:]}."


def _agreement(found: Agreement) -> Finding:
    methods, metrics = len(found.methods), len(found.metrics)
    if math.isnan(found.w):
        words = (
            "Whether the metrics agree cannot be said: it takes two of them, and two methods that "
            f"all of them scored; here are {metrics} and {methods}."
        )
    else:
        interval = bracket(found.low, found.high, "{:.2f}".format)
        words = (
            f"By their means {metrics} metrics put {methods} methods in one order to the degree "
            f"W = {found.w:.2f} (Kendall; 1 is one order, 0 none)"
        )
        if math.isnan(found.per_input):
            words += "; no input has a score by all of them for every method."
        else:
            words += f", and on one input to {found.per_input:.2f}{interval}."
        words += _sentence(found.no_interval)
    return Finding("agreement", "", "", "", found.per_input, found.low, found.high, None, words)


def _sampling(found: Sampling) -> Finding:
    mean = f"the mean of {short(found.method)} by {short(found.metric)}"
    if math.isnan(found.share):
        words = f"What the metric's draws add to the error of {mean} is not known."
    elif found.noise == 0:
        words = f"Nothing is drawn for {mean}."
    elif found.enough:
        words = f"Draws cause {100 * found.share:.1f} % of the error of {mean}: at most a tenth, enough."
    else:
        words = (
            f"Draws cause {100 * found.share:.0f} % of the error of {mean}: a tenth of it is not "
            f"reached, which takes {found.factor:.1f} times as many."
        )
    # NaN is no share that is small enough, and none that is too large.
    reached = None if math.isnan(found.share) else found.share <= ENOUGH
    return Finding(
        "sampling", found.metric, found.method, "", found.share, math.nan, math.nan, reached, words
    )


def _need(found: Need, power: float) -> Finding:
    pair = f"{short(found.first)} and {short(found.second)} by {short(found.metric)}"
    chance = f"{100 * power:g} %"
    if found.real:
        words = f"{pair[0].upper()}{pair[1:]} are told apart on {found.inputs} inputs."
    elif math.isnan(found.needed):
        words = f"How many inputs would tell apart {pair} cannot be said."
    elif math.isinf(found.needed):
        words = f"No number of inputs would tell apart {pair}: their means are equal."
    else:
        words = (
            f"{pair[0].upper()}{pair[1:]} are not told apart on {found.inputs} inputs; a difference "
            f"as large as this one would be found on {found.needed:,.0f} with a chance of {chance}."
        )
    return Finding(
        "inputs needed",
        found.metric,
        found.first,
        found.second,
        found.needed,
        math.nan,
        math.nan,
        found.real,
        words,
    )


def _skill(found: Skill) -> Finding:
    who = f"{short(found.method)} by {short(found.metric)}"
    if math.isnan(found.skill):
        words = f"{who} has no skill: the best credit is no better than a shuffled one."
    else:
        interval = bracket(found.low, found.high, "{:.2f}".format)
        words = (
            f"The skill of {who} is {found.skill:.2f}{interval}, between its shuffled credit, 0, and "
            "the best that any credit could have, 1."
        )
        words += _sentence(TOO_FEW if found.n < FEWEST else "")
    # Better than its own credit in another order, beyond the chance of inputs.
    better = None if math.isnan(found.low) else found.low > 0
    return Finding(
        "skill",
        found.metric,
        found.method,
        "",
        found.skill,
        found.low,
        found.high,
        better,
        words,
    )


def _persistence(metric: str, found: Persistence) -> Finding:
    count = len(found.answered)
    words = (
        f"{short(found.winner)} has the best mean by {short(metric)} under "
        f"{round(found.share * count)} of {count} other settings, and is not shown to be worse under "
        f"{round(found.share_not_beaten * count)}. Were the inputs drawn anew, too, its chance to have the "
        f"best mean would be {found.chance:.2f} on average."
    )
    kept = found.share_not_beaten == 1
    return Finding(
        "persistence", metric, found.winner, "", found.share, math.nan, math.nan, kept, words
    )


def _finite(value: object) -> object:
    """The value; None for a number that JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
