"""Which explanation to trust: every method by every metric on the same inputs, with intervals and
paired tests.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.comparison.ranking import Place, Ranking, ranking
from assay.errors import AssayError, InputError, KindError
from assay.methods import METHODS
from assay.methods.base import Method
from assay.metrics import METRICS
from assay.metrics.base import Metric
from assay.numerics import rng
from assay.question.question import Question

if TYPE_CHECKING:
    import pandas
    from rich.table import Table

Made = TypeVar("Made")

MethodLike: TypeAlias = Method | Attribution | str

MetricLike: TypeAlias = Metric | str


@final
@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Methods by metrics: `attributions` by label, `scores` by (method, metric), and `refusals`
    where a cell has none.

    A method that could not answer at all has its refusal under every metric. `references` are
    reference points, not candidates: they take no part in the choice of a winner. `rankings` hold
    the statistics.
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

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Where the methods stand, by metric."""
        return {
            metric: ranking(metric, self.by(metric), self.references, self.level, self.seed)
            for metric in self.metrics
        }

    def by(self, metric: str) -> dict[str, Score]:
        """The scores of one metric, by method."""
        rows = (*self.methods, *self.references)
        return {
            method: self.scores[method, metric]
            for method in rows
            if (method, metric) in self.scores
        }

    def score(self, method: str | Method, metric: str | Metric) -> Score:
        """One cell; a refused one raises its refusal."""
        row = _find(method, (*self.methods, *self.references), "method")
        column = _find(metric, self.metrics, "metric")
        if (row, column) not in self.scores:
            raise InputError(f"{row} has no score by {column}: {self.refusals[row, column]}")
        return self.scores[row, column]

    def winner(self, metric: str | Metric) -> str:
        """The label of the method with the best mean by one metric; `rankings[...].leaders` has
        its equals.
        """
        return self.rankings[_find(metric, self.metrics, "metric")].winner

    def to_pandas(self) -> pandas.DataFrame:
        """One row per method and metric: mean, interval, chance to be the best, letters, inputs
        counted, refusal.
        """
        import pandas

        rows: list[dict[str, Any]] = []
        for metric in self.metrics:
            for method in (*self.methods, *self.references):
                place = self.rankings[metric].place(method) or Place(
                    method, math.nan, math.nan, math.nan, math.nan, "", 0
                )
                cell = {
                    "metric": metric,
                    "better": self.rankings[metric].direction,
                } | dataclasses.asdict(place)
                rows.append(cell | {"refusal": self.refusals.get((method, metric), "")})
        return pandas.DataFrame(rows).set_index(["metric", "method"])

    def differences(self) -> pandas.DataFrame:
        """One row per pair of methods and metric: difference, interval, raw and adjusted p value,
        effect, wins.
        """
        import pandas

        rows = [
            {
                "metric": metric,
                "first": pair.first,
                "second": pair.second,
                **dataclasses.asdict(pair.facts),
            }
            | {"p adjusted": pair.adjusted, "real": pair.real}
            for metric, found in self.rankings.items()
            for pair in found.pairs
        ]
        return pandas.DataFrame(rows)

    def table(self) -> Table:
        """The means with their intervals and letters, for a terminal; the best of each metric in
        bold.
        """
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title="mean [95 % interval] groups; ↓ lower is better, ↑ higher is better",
            caption=CAPTION,
            title_justify="left",
        )
        table.add_column("method")
        for metric in self.metrics:
            arrow = "↓" if self.rankings[metric].direction == "lower" else "↑"
            table.add_column(escape(f"{short(metric)} {arrow}"), justify="right")
        for method in (*self.methods, *self.references):
            if method == next(iter(self.references), None):
                table.add_section()
            cells = [self._cell(method, metric) for metric in self.metrics]
            table.add_row(
                Text(short(method), style="italic" if method in self.references else ""), *cells
            )
        return table

    def _cell(self, method: str, metric: str) -> Any:
        from rich.text import Text

        found = self.rankings[metric]
        place = found.place(method)
        if place is None:
            return Text("refused", style="dim")
        best = bool(found.places) and place is found.places[0]
        text = f"{place.mean:.3g} [{place.low:.3g}, {place.high:.3g}] {place.letters}".rstrip()
        return Text(text, style="bold" if best else "")

    def __rich__(self) -> Table:
        return self.table()

    def __repr__(self) -> str:
        size = f"{len(self.methods)} methods by {len(self.metrics)} metrics on {self.question.n} inputs"
        won = [
            f"{short(found.winner)} by {short(metric)}"
            for metric, found in self.rankings.items()
            if found.places
        ]
        return f"Comparison({size}; best: {', '.join(won) if won else 'none'})"


CAPTION = (
    "Methods that share a letter could not be told apart by paired tests (Holm over all pairs)."
)


def compare(
    question: Question,
    methods: Sequence[MethodLike],
    metrics: Sequence[MetricLike],
    seed: int = 0,
    *,
    references: bool = False,
    level: float = 0.95,
) -> Comparison:
    """Answers a question with each method once and scores every answer with each metric, paired by
    construction.

    Methods are instances, names or finished attributions; metrics are instances or names. Every
    metric draws the same perturbations for all methods; one that asks the method again, such as
    `MaxSensitivity(radius=0.1)`, takes each in turn. `references` adds a random explanation (the
    first answer with its features shuffled), the first answer negated, and zero. A refusal is kept
    as a cell with its reason. Cost: that of each method, and of each metric for all methods
    together.

    >>> import torch
    >>> question = Question(torch.nn.Linear(3, 2), torch.randn(5, 3), target=0)
    >>> compare(question, ["IntegratedGradients"], ["Completeness"])
    Comparison(1 methods by 1 metrics on 5 inputs; best: IntegratedGradients by Completeness)
    """
    if not methods or not metrics:
        raise InputError(
            expected="at least one method and one metric",
            got=f"{len(methods)} and {len(metrics)}",
            advice="",
        )
    askers = _labelled([_method(each) for each in methods])
    judges: dict[str, Metric] = _labelled([_metric(each) for each in metrics])
    answers, refused = _answers(question, askers, seed)
    extra = _references(question, *next(iter(answers.items())), seed) if references else {}
    scores: dict[tuple[str, str], Score] = {}
    refusals: dict[tuple[str, str], str] = {}
    for metric, judge in judges.items():
        found, failed = _scored(question, judge, askers, answers | extra, seed)
        scores |= {(method, metric): score for method, score in found.items()}
        refusals |= {(method, metric): reason for method, reason in (refused | failed).items()}
    return Comparison(
        question,
        tuple(askers),
        tuple(judges),
        tuple(extra),
        answers | extra,
        scores,
        refusals,
        seed,
        level,
    )


def from_scores(
    question: Question,
    attributions: Sequence[Attribution] | Mapping[str, Attribution],
    scores: Mapping[str, Sequence[Score]],
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """A comparison of what was answered and scored by hand: for each metric, one score per
    attribution, in order.
    """
    named = (
        dict(attributions)
        if isinstance(attributions, Mapping)
        else _labelled(list(attributions), lambda a: a.method)
    )
    cells: dict[tuple[str, str], Score] = {}
    for metric, row in scores.items():
        if len(row) != len(named):
            raise InputError(
                expected=f"{len(named)} scores by {metric}, one per attribution",
                got=len(row),
                advice="",
            )
        cells |= {(method, metric): score for method, score in zip(named, row)}
    return Comparison(question, tuple(named), tuple(scores), (), named, cells, {}, seed, level)


def short_repr(value: object) -> str:
    """A repr with the settings that differ from their defaults; like the full one, it evaluates
    back.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return " ".join(repr(value).split())
    shown = []
    for setting in dataclasses.fields(value):
        content = getattr(value, setting.name)
        default = (
            setting.default
            if setting.default_factory is dataclasses.MISSING
            else setting.default_factory()
        )
        if setting.init and setting.repr and repr(content) != repr(default):
            shown.append(f"{setting.name}={short_repr(content)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def short(label: str) -> str:
    """A label as people read it: empty brackets and the name of the one setting that every wrapper
    has left out.
    """
    return label.replace("()", "").replace("method=", "")


def _labelled(values: Sequence[Any], name: Callable[[Any], str] | None = None) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for value in values:
        said = (
            name(value)
            if name
            else value.method
            if isinstance(value, Attribution)
            else short_repr(value)
        )
        label, count = said, 1
        while label in named:
            count += 1
            label = f"{said} #{count}"
        named[label] = value
    return named


def _method(given: MethodLike) -> Method | Attribution:
    if isinstance(given, str):
        if given not in METHODS:
            raise InputError(
                expected="the name of a method",
                got=repr(given),
                advice=f"Known: {', '.join(METHODS)}.",
            )
        return _made(METHODS[given])
    if not isinstance(given, Method | Attribution):
        raise KindError(
            expected="a method, its name or an attribution",
            got=f"{type(given).__name__}: {given!r}",
            advice="",
        )
    return given


def _metric(given: MetricLike) -> Metric:
    if isinstance(given, str):
        if given not in METRICS:
            raise InputError(
                expected="the name of a metric",
                got=repr(given),
                advice=f"Known: {', '.join(METRICS)}.",
            )
        return _made(METRICS[given])
    if not isinstance(given, Metric):
        raise KindError(
            expected="a metric or its name",
            got=f"{type(given).__name__}: {given!r}",
            advice="",
        )
    return given


def _made(kind: type[Made]) -> Made:
    try:
        return kind()
    except TypeError as problem:
        raise InputError(
            f"Expected settings for {kind.__name__}, which a name alone does not give: {problem}."
        ) from problem


def _answers(
    question: Question, askers: Mapping[str, Method | Attribution], seed: int
) -> tuple[dict[str, Attribution], dict[str, str]]:
    answers: dict[str, Attribution] = {}
    refused: dict[str, str] = {}
    for label, asker in askers.items():
        try:
            answers[label] = asker(question, seed=seed) if isinstance(asker, Method) else asker
        except AssayError as reason:
            refused[label] = str(reason)
    if not answers:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in refused.items())
        raise InputError(
            f"Expected at least one method that can answer, got refusals alone. {reasons}"
        )
    return answers, refused


def _references(
    question: Question, label: str, answer: Attribution, seed: int
) -> dict[str, Attribution]:
    streams = rng.streams(seed, question.keys, "a random explanation")
    order = (
        streams.uniform((0, 1), answer.values.shape[1], torch.float64)[:, 0]
        .argsort(dim=1)
        .to(answer.values.device)
    )
    made = {
        "Random": answer.values.gather(1, order),
        f"Negated({label})": -answer.values,
        "Zero": torch.zeros_like(answer.values),
    }
    return {
        name: dataclasses.replace(
            answer,
            values=values,
            gap=None,
            standard_error=None,
            facts={},
            provenance={**answer.provenance, "method": name},
        )
        for name, values in made.items()
    }


def _scored(
    question: Question,
    judge: Metric,
    askers: Mapping[str, Method | Attribution],
    answers: Mapping[str, Attribution],
    seed: int,
) -> tuple[dict[str, Score], dict[str, str]]:
    """The scores of one metric: all answers at once, or one by one where that is refused, to learn
    which of them is.
    """
    if not judge.asks_again:
        try:
            return dict(
                zip(answers, judge.each(question, list(answers.values()), seed=seed), strict=True)
            ), {}
        except AssayError:
            pass
    scores: dict[str, Score] = {}
    failed: dict[str, str] = {}
    for label, answer in answers.items():
        asker = askers.get(label)
        if judge.asks_again and not isinstance(asker, Method):
            failed[label] = (
                "This metric asks the method again, and an attribution alone has no method to ask."
            )
            continue
        try:
            scores[label] = (judge.for_method(asker) if isinstance(asker, Method) else judge)(
                question, answer, seed=seed
            )
        except AssayError as reason:
            failed[label] = str(reason)
    return scores, failed


def _find(given: object, labels: Sequence[str], noun: str) -> str:
    """The label of an instance, a label, or the name of a class that only one label starts with."""
    said = given if isinstance(given, str) else short_repr(given)
    if said in labels:
        return said
    close = [label for label in labels if label.partition("(")[0] == said]
    if len(close) != 1:
        raise InputError(
            expected=f"one {noun} of {', '.join(labels)}",
            got=f"{said!r}, which fits {len(close)} of them",
            advice="",
        )
    return close[0]
