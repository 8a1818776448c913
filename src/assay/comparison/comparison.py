"""Which explanation to trust: every method by every metric on the same inputs.

The comparison is a blocked design: every method answers the same question, and every metric draws
the same perturbations for all answers (common random numbers), so that methods can be compared
input by input. What differs beyond chance is decided in `ranking`, by paired tests.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from assay.answers.attribution import Attribution
from assay.answers.score import Direction, Score
from assay.answers.shown import Shown
from assay.comparison import evidence, saved_comparison
from assay.comparison.candidates import (
    ByCell,
    ByLabel,
    matching_label,
    method_of,
    metric_from,
    short,
)
from assay.comparison.evidence import Agreement
from assay.comparison.persistence import Persistence, persistence
from assay.comparison.ranking import Pair, Place, Ranking, ranking, shuffled
from assay.comparison.reach import Reach, findings
from assay.errors import AssayError, InputError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.numerics.statistics import bracket
from assay.question.question import Question
from assay.registry.settings import parse

if TYPE_CHECKING:
    from os import PathLike

    import pandas
    from rich.table import Table
    from rich.text import Text


CAPTION = (
    "Methods that share a letter could not be told apart by paired tests (Holm over all pairs)."
)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Methods by metrics: attributions, scores, and the refusals of cells that have none.

    Settings:
        question: what was asked.
        methods: the candidates, by label.
        metrics: the metrics, by label.
        references: reference points by label, `Zero` and `Shuffled(method)` for each method; they
            take no part in the choice of a winner.
        attributions: answers by label, those of the references among them.
        scores: by (method, metric).
        refusals: reasons by (method, metric); a method that could not answer at all has its
            refusal under every metric.
        seed: the seed of answers, scores and resampling.
        level: the confidence level of the intervals and tests.
        directions: which way is better, by metric, also where a metric refused everybody.

    `rankings` holds the statistics. All of these are asked for by labels, and take what `score` and
    `winner` take: "Infidelity" where one metric is of that class, or the instance.
    """

    question: Question
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    references: tuple[str, ...]
    attributions: Mapping[str, Attribution]
    scores: Mapping[tuple[str, str], Score]
    refusals: Mapping[tuple[str, str], str]
    seed: int = 0
    level: float = 0.95
    directions: Mapping[str, Direction] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributions", ByLabel(self.attributions))
        object.__setattr__(self, "scores", ByCell(self.scores))
        object.__setattr__(self, "refusals", ByCell(self.refusals))
        object.__setattr__(self, "directions", ByLabel(self.directions))

    # Once: the tests of all pairs are what takes time here.
    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Where the methods stand, by metric."""
        return ByLabel(
            (
                metric,
                ranking(
                    metric,
                    self.by(metric),
                    self.references,
                    self.level,
                    self.seed,
                    direction=self.directions.get(metric),
                ),
            )
            for metric in self.metrics
        )

    @property
    def listed(self) -> tuple[str, ...]:
        """The rows of a table: the methods, and the reference points that are of no one method."""
        shuffles = {shuffled(method) for method in self.methods}
        return (*self.methods, *(name for name in self.references if name not in shuffles))

    @property
    def _labels(self) -> tuple[str, ...]:
        return (*self.methods, *self.references)

    def by(self, metric: str) -> dict[str, Score]:
        """The scores of one metric, by method."""
        metric = matching_label(metric, self.metrics, "metric")
        return ByLabel(
            (method, self.scores[method, metric])
            for method in self._labels
            if (method, metric) in self.scores
        )

    def score(self, method: str | Method, metric: str | Metric) -> Score:
        """One cell; a refused one raises its refusal."""
        # Labels need not be written out: "Infidelity" will do where one metric is of that class.
        row = matching_label(method, self._labels, "method")
        column = matching_label(metric, self.metrics, "metric")
        if (row, column) not in self.scores:
            raise InputError(
                expected=f"a score of {row} by {column}",
                got=f"its refusal: {self.refusals.get((row, column), 'it is not asked for')}",
                advice="`comparison.refusals` holds every reason; ask another cell.",
            )
        return self.scores[row, column]

    def winner(self, metric: str | Metric) -> str:
        """The label of the method with the best mean by one metric.

        `rankings[...].leaders` has its equals.
        """
        return self.rankings[matching_label(metric, self.metrics, "metric")].winner

    def to_pandas(self) -> pandas.DataFrame:
        """One row per method and metric: mean, interval, chance to be the best, letters, inputs
        counted, refusal.
        """
        import pandas

        rows = [self._row(method, metric) for metric in self.metrics for method in self.listed]
        return pandas.DataFrame(rows).set_index(["metric", "method"])

    def _row(self, method: str, metric: str) -> dict[str, Any]:
        found = self.rankings[metric]
        # A refused cell has its row too, so that every table has the same shape.
        place = found.place(method) or Place.without_score(method)
        return {
            "metric": metric,
            "better": found.direction,
            **dataclasses.asdict(place),
            "refusal": self.refusals.get((method, metric), ""),
        }

    def differences(self) -> pandas.DataFrame:
        """One row per pair of methods and metric: difference (first minus second), interval, raw
        and adjusted p value, effect, and on which share of the inputs the first is better.
        """
        import pandas

        rows = [
            {
                "metric": metric,
                "first": pair.first,
                "second": pair.second,
                **_facts(pair),
                "first better": found.first_better(pair),
                "p adjusted": pair.adjusted,
                "real": pair.real,
            }
            for metric, found in self.rankings.items()
            for pair in found.pairs
        ]
        return pandas.DataFrame(rows)

    @cached_property
    def agreement(self) -> Agreement:
        """Whether the metrics put the methods in the same order: Kendall's W of their means, and of
        one input with an interval.
        """
        return evidence.agreement(self.rankings, self.scores, self.level, self.seed)

    def inputs_needed(self, power: float = 0.8) -> pandas.DataFrame:
        """One row per pair of methods and metric: the inputs on which a difference as large as the
        one seen would be found with the chance `power`, by a paired t test at Holm's first level.
        """
        import pandas

        found = evidence.needs(self.rankings, power)
        return pandas.DataFrame([dataclasses.asdict(need) for need in found])

    def sampling(self) -> pandas.DataFrame:
        """One row per score: what the metric's own draws add to the error of its mean, whether that
        is at most a tenth (`enough`), and by which factor the draws would have to grow for it.
        """
        import pandas

        found = evidence.sampling(self.scores)
        return pandas.DataFrame([dataclasses.asdict(each) for each in found])

    def skills(self) -> pandas.DataFrame:
        """One row per method and metric whose optimum is known: 0 for the method's own credit
        shuffled, 1 for the best that any credit could have, with an interval over inputs.

        Cost: that of each metric's `optimum`.
        """
        import pandas

        return pandas.DataFrame([dataclasses.asdict(each) for each in self._skills()])

    def _skills(self) -> tuple[evidence.Skill, ...]:
        optima = {}
        for metric in self.metrics:
            judge = self._judge(metric)
            # An optimum that its own settings do not determine is none that is known.
            try:
                best = None if judge is None else judge.optimum(self.question, self.seed)
            except AssayError:
                continue
            if best is not None:
                optima[metric] = best.cpu().numpy()
        return evidence.skills(self.scores, self.methods, optima, self.level)

    def reach(
        self, power: float = 0.8, settings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Reach:
        """How far the comparison reaches, in words, as a frame and as JSON: the agreement of the
        metrics, whether their draws are enough, the inputs that differences need, the skills, and
        whether winners outlive other settings of their metrics.

        Settings:
            power: the chance to find a difference of which the inputs needed are told.
            settings: by metric, the values that `persistence` tries; nothing is asked without them.

        Cost: that of `skills` and of `persistence`. Errors: those of `persistence`.
        """
        persistences = {
            matching_label(metric, self.metrics, "metric"): self.persistence(metric, values)
            for metric, values in (settings or {}).items()
        }
        return findings(
            self.agreement,
            evidence.sampling(self.scores),
            evidence.needs(self.rankings, power),
            self._skills(),
            persistences,
            power,
        )

    def _judge(self, metric: str) -> Metric | None:
        """A metric by its label, read back from what its scores say of it."""
        # A label may be a name of the user's own: the settings stand in the provenance of scores.
        texts = {score.provenance.get("metric", metric) for score in self.by(metric).values()}
        try:
            if texts:
                return parse(str(min(texts)), Metric)
            return None
        # One that is known here by no name.
        except AssayError:
            return None

    def persistence(self, metric: str | Metric, settings: Mapping[str, Any]) -> Persistence:
        """Whether the winner by one metric stays the winner when that metric's settings change.

        Every setting is a list of values, changed one at a time: `comparison.persistence(
        Infidelity(), {"draws": [50, 200], "perturbation": [Squares(), Coordinates()]})`. The finished
        answers are scored again; methods are asked again by metrics that do so themselves alone.

        Cost: that of the metric for each value. Errors: InputError where the metric scores no
        method, or where a value is none of its settings.
        """
        judge = metric_from(metric)
        answers = {
            name: self.attributions[name] for name in self.methods if name in self.attributions
        }
        askers = {name: self._asker(name) for name in answers}
        return persistence(self.question, judge, askers, answers, settings, self.level, self.seed)

    def _asker(self, method: str) -> Method | Attribution:
        """A method by its answer; the answer itself where it is known by no name."""
        answer = self.attributions[method]
        try:
            # Read back from its settings, so that a metric that asks again can ask it.
            return parse(method_of(answer), Method)
        except AssayError:
            return answer

    def save(self, folder: str | PathLike[str]) -> None:
        """Writes a folder: every answer and score as a file of its own, and what is where."""
        saved_comparison.save(self, folder)

    @classmethod
    def load(cls, folder: str | PathLike[str], question: Question) -> Comparison:
        """Reads what `save` wrote about this question; the model itself is not kept in the folder.

        Errors: InputError for a folder that is missing, damaged or about another question.
        """
        return saved_comparison.load(folder, question, cls)

    def table(self) -> Table:
        """The means with their intervals and letters, for a terminal; the best of each metric in
        bold.
        """
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        interval = f"{100 * self.level:g} % interval"
        title = f"mean [{interval}] groups; ↓ lower is better, ↑ higher is better"
        # Said once below the table, where a cell has no interval.
        reasons = {found.no_interval for found in self.rankings.values()} - {""}
        caption = " ".join([CAPTION, *(f"{reason[0].upper()}{reason[1:]}." for reason in reasons)])
        table = Table(title=title, caption=caption, title_justify="left")
        table.add_column("method")
        for metric in self.metrics:
            # Headers are read as markup, and a label may hold brackets.
            heading = f"{short(metric)} {self.rankings[metric].arrow}"
            table.add_column(escape(heading), justify="right")
        for method in self.methods:
            table.add_row(Text(short(method)), *self._cells(method))
        # Reference points of no one method stand below a line, outside the contest.
        points = self.listed[len(self.methods) :]
        if points:
            table.add_section()
        for reference in points:
            table.add_row(Text(short(reference), style="italic"), *self._cells(reference))
        return table

    def _cells(self, method: str) -> list[Text]:
        return [self._cell(method, metric) for metric in self.metrics]

    def _cell(self, method: str, metric: str) -> Text:
        from rich.text import Text

        found = self.rankings[metric]
        place = found.place(method)
        if place is None:
            return Text("refused", style="dim")
        if math.isnan(place.mean):
            return Text("no score", style="dim")
        interval = bracket(place.low, place.high, "{:.3g}".format)
        text = f"{place.mean:.3g}{interval} {place.letters}".rstrip()
        # A reference may have a better mean, and yet stands outside the contest.
        best = bool(found.places) and place is found.places[0]
        if best:
            return Text(text, style="bold")
        return Text(text)

    def __rich__(self) -> Table:
        return self.table()

    def __repr__(self) -> str:
        counts = (
            (len(self.methods), "method"),
            (len(self.metrics), "metric"),
            (self.question.n, "input"),
        )
        methods, metrics, inputs = (f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
        size = f"{methods} by {metrics} on {inputs}"
        # The best mean alone: whether it is really the best is told by the tables.
        wins = [
            f"{short(found.winner)} by {short(metric)}"
            for metric, found in self.rankings.items()
            if found.places
        ]
        return f"Comparison({size}; best mean: {', '.join(wins) or 'none'})"


def _facts(pair: Pair) -> dict[str, float]:
    """The paired difference, without the share of inputs on which the first is the larger: where
    lower is better, that reads as its opposite.
    """
    facts = dataclasses.asdict(pair.facts)
    del facts["wins"]
    return facts
