"""Which explanation to trust: every method by every metric on the same inputs.

The comparison is a blocked design: every method answers the same question, and every metric draws
the same perturbations for all answers (common random numbers), so that methods can be compared
input by input. What differs beyond chance is decided in `ranking`, by paired tests. With reference
points every method is also compared with its own credit in another order, and with none at all: a
method that is not better than these has explained nothing that this metric can see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, final

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Direction, Score
from assay.comparison import saved_comparison
from assay.comparison.ranking import ZERO, Place, Ranking, ranking, shuffled
from assay.errors import AssayError, InputError, KindError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.numerics import rng
from assay.question.question import Question
from assay.registry.settings import parse
from assay.removals import base as removals
from assay.settings import argument, checked_level, checked_seed, shown, with_defaults

if TYPE_CHECKING:
    from os import PathLike

    import pandas
    from rich.table import Table
    from rich.text import Text

MethodLike: TypeAlias = Method | Attribution | str

MetricLike: TypeAlias = Metric | str

# Relative to the largest score of a method: credit that is summed in another order rounds otherwise.
_ROUNDING = 1e-5

CAPTION = (
    "Methods that share a letter could not be told apart by paired tests (Holm over all pairs)."
)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
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

    `rankings` holds the statistics.
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

    # Once: the tests of all pairs are what takes time here.
    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Where the methods stand, by metric."""
        return {
            metric: ranking(
                metric,
                self.by(metric),
                self.references,
                self.level,
                self.seed,
                direction=self.directions.get(metric),
            )
            for metric in self.metrics
        }

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
        return {
            method: self.scores[method, metric]
            for method in self._labels
            if (method, metric) in self.scores
        }

    def score(self, method: str | Method, metric: str | Metric) -> Score:
        """One cell; a refused one raises its refusal."""
        # Labels need not be written out: "Infidelity" will do where one metric is of that class.
        row = _find(method, self._labels, "method")
        column = _find(metric, self.metrics, "metric")
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
        return self.rankings[_find(metric, self.metrics, "metric")].winner

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
                "p adjusted": pair.adjusted,
                "real": pair.real,
            }
            for metric, found in self.rankings.items()
            for pair in found.pairs
        ]
        return pandas.DataFrame(rows)

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
        table = Table(title=title, caption=CAPTION, title_justify="left")
        table.add_column("method")
        for metric in self.metrics:
            # Headers are read as markup, and a label may hold brackets.
            heading = f"{short(metric)} {self.rankings[metric].arrow}"
            table.add_column(escape(heading), justify="right")
        for method in self.methods:
            table.add_row(Text(short(method)), *self._cells(method))
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
        text = f"{place.mean:.3g} [{place.low:.3g}, {place.high:.3g}] {place.letters}".rstrip()
        # A reference may have a better mean, and yet stands outside the contest.
        best = bool(found.places) and place is found.places[0]
        return Text(text, style="bold") if best else Text(text)

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


def compare(
    question: Question,
    methods: Sequence[MethodLike] | Mapping[str, MethodLike],
    metrics: Sequence[MetricLike] | Mapping[str, MetricLike],
    seed: int = 0,
    *,
    references: bool = True,
    level: float = 0.95,
) -> Comparison:
    """Answers a question with each method and scores every answer with each metric.

    Every metric draws the same perturbations for all methods; one that asks the method again, such
    as `MaxSensitivity(radius=0.1)`, takes each in turn. A refusal is kept as a cell with its
    reason.

    Settings:
        question: what is asked.
        methods: instances, finished attributions, or text: settings such as
            "IntegratedGradients(steps=32)", or a name from elsewhere such as "SmoothGrad". A
            mapping gives each a name of yours, by which tables and pages call it.
        metrics: instances or text, or a mapping as of the methods.
        seed: decides every draw.
        references: adds reference points to test against: each method's own credit shuffled among
            the features of each input, and no credit at all. Metrics that do not see which feature
            has the credit are spared the first.
        level: the confidence level of intervals and tests.

    Cost: that of each method, and of each metric for all methods together. Errors: InputError
    where nothing is asked or no method can answer, or for a name that nothing here answers;
    KindError for what is no method or metric.

    >>> import torch
    >>> question = Question(torch.nn.Linear(3, 2), torch.randn(5, 3), target=0)
    >>> compare(question, ["IntegratedGradients"], ["Completeness"])
    Comparison(1 method by 1 metric on 5 inputs; best mean: IntegratedGradients by Completeness)
    """
    _check_question(question, "compare(question, methods, metrics)")
    askers = _named(methods, "methods", _method)
    judges: dict[str, Metric] = _named(metrics, "metrics", _metric)
    seed = checked_seed(seed, "compare")
    level = checked_level(level, "compare")
    references = argument("compare", "references", references, bool)
    if not askers or not judges:
        raise InputError(
            expected="at least one method and one metric",
            got=f"{len(askers)} and {len(judges)}",
            advice='Name some: compare(question, ["Gradient"], ["Infidelity"]).',
        )
    _check_names(askers)
    answers, unanswered = _answers(question, askers, seed)
    extra: dict[str, Attribution] = {}
    if references:
        extra = _references(question, answers, seed)
    shuffles = {shuffled(label) for label in answers}
    scores: dict[tuple[str, str], Score] = {}
    refusals: dict[tuple[str, str], str] = {}
    for metric, judge in judges.items():
        points = _visible(extra, judge, answers)
        by_method, unscored = _scored(question, judge, askers, answers | points, seed)
        by_method = _without_blind(by_method, answers, extra)
        # Of a shuffle there is nothing to say that its method's refusal does not say.
        unscored = {name: why for name, why in unscored.items() if name not in shuffles}
        scores |= {(method, metric): score for method, score in by_method.items()}
        # No answer, no score: its reason stands under every metric.
        reasons = unanswered | unscored
        refusals |= {(method, metric): reason for method, reason in reasons.items()}
    return Comparison(
        question=question,
        methods=tuple(askers),
        metrics=tuple(judges),
        references=tuple(extra),
        attributions=answers | extra,
        scores=scores,
        refusals=refusals,
        seed=seed,
        level=level,
        directions={metric: judge.direction for metric, judge in judges.items()},
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
    way = "(question, attributions, {metric: scores})"
    _check_question(question, way)
    seed = checked_seed(seed, "a comparison")
    level = checked_level(level, "a comparison")
    if not isinstance(attributions, Mapping):
        attributions = _labelled(_of(Attribution, _several(attributions, "attributions", way)))
    answers: dict[str, Attribution] = {str(label): each for label, each in attributions.items()}
    _of(Attribution, answers.values())
    if not isinstance(scores, Mapping):
        raise KindError(
            expected="scores by metric, as a dict",
            got=shown(scores),
            advice=f"Hand over {way}.",
        )
    # Scores carry no label of their own; their order says whose they are.
    cells: dict[tuple[str, str], Score] = {}
    for metric, row in scores.items():
        row = _of(Score, _several(row, f"scores by {metric}", way))
        if len(row) != len(answers):
            raise InputError(
                expected=f"{len(answers)} scores by {metric}, one per attribution",
                got=len(row),
                advice="`metric.each(question, attributions)` gives them in order.",
            )
        cells |= {(method, metric): score for method, score in zip(answers, row)}
    return Comparison(
        question=question,
        methods=tuple(answers),
        metrics=tuple(scores),
        references=(),
        attributions=answers,
        scores=cells,
        refusals={},
        seed=seed,
        level=level,
    )


# --- what was handed in


def _check_question(question: Any, way: str) -> None:
    if not isinstance(question, Question):
        raise KindError(
            expected="a Question",
            got=shown(question),
            advice=f"Build one, Question(model, inputs, target=...), and write {way}.",
        )


def _several(values: Any, what: str, way: str) -> Sequence[Any]:
    """A list of things; a text is one thing and no list, and an iterator is read once."""
    try:
        if not isinstance(values, str | bytes | Mapping):
            return list(values)
    except TypeError:  # a number, an array of a single one
        pass
    raise KindError(
        expected=f"a list of {what}",
        got=shown(values),
        advice=f"Write it with brackets: {way}.",
    )


def _of(kind: type, values: Iterable[Any]) -> Sequence[Any]:
    """The values, if all are of the kind."""
    listed = list(values)
    for value in listed:
        if not isinstance(value, kind):
            raise KindError(
                expected=f"a list of {kind.__name__}s",
                got=shown(value),
                advice=f"Ask for them: each of them is {_ASKED[kind]}.",
            )
    return listed


_ASKED: dict[type, str] = {Attribution: "method(question)", Score: "metric(question, answer)"}


def _named(values: Any, what: str, read: Any) -> dict[str, Any]:
    """Methods or metrics by the names that a mapping gives them, or by their settings.

    They are read before any model is asked: a misspelt metric is not to cost an hour.
    """
    if not isinstance(values, Mapping):
        way = 'compare(question, ["Gradient"], ["Infidelity"])'
        return _labelled([read(value) for value in _several(values, what, way)])
    for name in values:
        if not isinstance(name, str) or not name.strip():
            raise KindError(
                expected=f"texts as the names of {what}",
                got=shown(name),
                advice='Write {"smooth": Smoothed(Gradient())}, name first.',
            )
    return {name: read(value) for name, value in values.items()}


def _check_names(labels: Iterable[str]) -> None:
    """Refuses names that are those of reference points."""
    taken = {ZERO, *(shuffled(label) for label in labels)}
    for label in labels:
        if label in taken:
            raise InputError(
                expected="names of methods that are none of a reference point",
                got=repr(label),
                advice="Give it another name in the mapping.",
            )


# --- labels


def short_repr(value: object) -> str:
    """A repr with the settings that differ from their defaults; like the full one, it evaluates
    back, unless settings are data.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        # Data are told by their kind and shape: a table of rows is no name of a method.
        return " ".join(removals.short_repr(value).split())
    shown = []
    for setting in dataclasses.fields(value):
        content = getattr(value, setting.name)
        default = setting.default
        if setting.default_factory is not dataclasses.MISSING:
            default = setting.default_factory()
        # Compared by their reprs: settings may be arrays, whose == is no bool.
        if setting.init and setting.repr and repr(content) != repr(default):
            shown.append(f"{setting.name}={short_repr(content)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def short(label: str) -> str:
    """A label as people read it: empty brackets and the name of the one setting that every wrapper
    has left out.
    """
    # "Smoothed(Gradient)" is how people say it; the full label stays the key everywhere.
    return label.replace("()", "").replace("method=", "")


def _labelled(values: Sequence[Any]) -> dict[str, Any]:
    """The values by their labels, those that would repeat one numbered."""
    by_label: dict[str, Any] = {}
    for value in values:
        # Labels are code where they can be: the page shows them as the way to do it again.
        stem = _method_of(value) if isinstance(value, Attribution) else short_repr(value)
        label = stem
        count = 1
        while label in by_label:
            count += 1
            label = f"{stem} #{count}"
        by_label[label] = value
    return by_label


def _method_of(answer: Attribution) -> str:
    """The method of an answer as briefly as if it had been handed over itself."""
    try:
        return short_repr(parse(answer.method, Method))
    # Made by hand, of a class that is not known here, or with data that a text does not hold.
    except AssayError:
        return answer.method


def _find(wanted: object, labels: Sequence[str], noun: str) -> str:
    """The label of an instance, a label, or the name of a class that only one label starts with."""
    # The whole label first: it may also be the start of another one.
    if not isinstance(wanted, str) and not dataclasses.is_dataclass(wanted):
        wanted = shown(wanted)
    label = wanted if isinstance(wanted, str) else short_repr(wanted)
    if label in labels:
        return label
    matches = [known for known in labels if known.partition("(")[0] == label]
    if len(matches) != 1:
        raise InputError(
            expected=f"one {noun} of {', '.join(labels)}",
            got=f"{label!r}, which fits {len(matches)} of them",
            advice="Give a label as it stands there, or the instance itself.",
        )
    return matches[0]


# --- methods and metrics from what was handed in


def _method(value: MethodLike) -> Method | Attribution:
    if isinstance(value, str):
        return parse(value, Method)
    # A class with its defaults, as its bare name would be.
    if isinstance(value, type) and issubclass(value, Method):
        return with_defaults(value)
    if not isinstance(value, Method | Attribution):
        raise KindError(
            expected="a method, its name or an attribution",
            got=f"{type(value).__name__}: {shown(value)}",
            advice='Hand over an instance such as Gradient(), or its name "Gradient".',
        )
    return value


def _metric(value: MetricLike) -> Metric:
    if isinstance(value, str):
        return parse(value, Metric)
    if isinstance(value, type) and issubclass(value, Metric):
        return with_defaults(value)
    if not isinstance(value, Metric):
        raise KindError(
            expected="a metric or its name",
            got=f"{type(value).__name__}: {shown(value)}",
            advice='Hand over an instance such as Infidelity(), or its name "Infidelity".',
        )
    return value


# --- cells


def _answers(
    question: Question, askers: Mapping[str, Method | Attribution], seed: int
) -> tuple[dict[str, Attribution], dict[str, str]]:
    """The answers by label, and the reasons of methods that have none."""
    answers: dict[str, Attribution] = {}
    unanswered: dict[str, str] = {}
    for label, asker in askers.items():
        if isinstance(asker, Attribution):
            answers[label] = asker
            continue
        # A refusal is a result; any other exception is a fault, and ends the comparison.
        try:
            answers[label] = asker(question, seed=seed)
        except AssayError as reason:
            unanswered[label] = str(reason)
    if not answers:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in unanswered.items())
        raise InputError(
            expected="at least one method that can answer",
            got=f"refusals alone. {reasons}",
            advice="`assay methods` says what each method needs of a model.",
        )
    return answers, unanswered


def _references(
    question: Question, answers: Mapping[str, Attribution], seed: int
) -> dict[str, Attribution]:
    """No credit at all, and each answer with its credit in another order."""
    # By its label, so that nothing depends on who is listed first.
    first = answers[min(answers)]
    references = {ZERO: _point(first, ZERO, torch.zeros_like(first.values))}
    streams = rng.streams(seed, question.keys, "a random explanation")
    # The order of uniform draws is a uniform permutation, one for each input by its own stream and
    # the same for all methods: their unit and size are their own.
    draws = streams.uniform((0, 1), first.values.shape[1], torch.float64)[:, 0]
    draws = draws.to(first.values.device)
    order = draws.argsort(dim=1)
    own = first.own_features()
    # What an input does not have (a word, a region) is shuffled no credit either.
    if own is not None:
        drawn = draws.masked_fill(~own, torch.inf).argsort(dim=1)
        order = drawn.scatter(1, (~own).to(torch.uint8).argsort(dim=1, stable=True), drawn)
    for label, answer in answers.items():
        name = shuffled(label)
        references[name] = _point(answer, name, answer.values.gather(1, order))
    return references


def _visible(
    references: Mapping[str, Attribution], judge: Metric, answers: Mapping[str, Attribution]
) -> dict[str, Attribution]:
    """The reference points that a metric can tell from the answers."""
    shuffles = {shuffled(label) for label in answers}
    return {
        name: point
        for name, point in references.items()
        if name not in shuffles or not judge.order_blind
    }


def _without_blind(
    scores: dict[str, Score],
    answers: Mapping[str, Attribution],
    references: Mapping[str, Attribution],
) -> dict[str, Score]:
    """The scores, without those of shuffled credit where the metric gave them all the same.

    A metric need not say that it is blind to the order: where every method's shuffled credit, other
    than its own, has the method's own score on every input, it has shown so.
    """
    seen = []
    for label, answer in answers.items():
        name = shuffled(label)
        if name not in scores or label not in scores:
            continue
        # Credit that is the same everywhere is not changed by shuffling, and says nothing.
        if not torch.equal(references[name].values, answer.values):
            seen.append(_alike(scores[label], scores[name]))
    if not seen or not all(seen):
        return scores
    shuffles = {shuffled(label) for label in answers}
    return {label: score for label, score in scores.items() if label not in shuffles}


def _alike(one: Score, other: Score) -> bool:
    """Whether two scores are the same on every input, up to rounding."""
    size = torch.cat([one.values, other.values]).nan_to_num(0.0).abs().max()
    tolerance = float(_ROUNDING * size)
    return torch.allclose(one.values, other.values, rtol=0, atol=tolerance, equal_nan=True)


def _point(answer: Attribution, name: str, values: torch.Tensor) -> Attribution:
    """A reference point made of an answer, without the diagnostics that are not its own."""
    return dataclasses.replace(
        answer,
        values=values,
        gap=None,
        standard_error=None,
        facts={},
        provenance={**answer.provenance, "method": name},
    )


def _scored(
    question: Question,
    judge: Metric,
    askers: Mapping[str, Method | Attribution],
    answers: Mapping[str, Attribution],
    seed: int,
) -> tuple[dict[str, Score], dict[str, str]]:
    """The scores of one metric by label, and the reasons of answers that have none."""
    if judge.asks_again:
        return _scored_by_asking(question, judge, askers, answers, seed)
    try:
        # All at once: they then share the metric's draws and model evaluations.
        scores = judge.each(question, list(answers.values()), seed=seed)
    # One answer that does not fit refuses all of them.
    except AssayError:
        return _scored_one_by_one(question, judge, answers, seed)
    return dict(zip(answers, scores, strict=True)), {}


def _scored_one_by_one(
    question: Question, judge: Metric, answers: Mapping[str, Attribution], seed: int
) -> tuple[dict[str, Score], dict[str, str]]:
    """The same scores, to learn which of the answers is refused."""
    scores: dict[str, Score] = {}
    unscored: dict[str, str] = {}
    kinds = sorted({answer.kind for answer in answers.values()})
    for label, answer in answers.items():
        forms = [answer]
        # Nothing is nothing in every unit: it is scored in the first that the metric takes.
        if label == ZERO:
            forms = [dataclasses.replace(answer, kind=kind) for kind in kinds]
        for form in forms:
            try:
                scores[label] = judge(question, form, seed=seed)
                break
            except AssayError as reason:
                unscored[label] = str(reason)
    refused = {label: reason for label, reason in unscored.items() if label not in scores}
    return scores, refused


def _scored_by_asking(
    question: Question,
    judge: Metric,
    askers: Mapping[str, Method | Attribution],
    answers: Mapping[str, Attribution],
    seed: int,
) -> tuple[dict[str, Score], dict[str, str]]:
    """The scores of a metric that asks the method anew: each takes its own method."""
    scores: dict[str, Score] = {}
    unscored: dict[str, str] = {}
    for label, answer in answers.items():
        # References have no asker at all.
        asker = askers.get(label)
        if not isinstance(asker, Method):
            unscored[label] = (
                "This metric asks the method again, and an attribution alone has no method to ask."
            )
            continue
        # The seed is the same for all: neighbours of an input are drawn alike.
        try:
            scores[label] = judge.for_method(asker)(question, answer, seed=seed)
        except AssayError as reason:
            unscored[label] = str(reason)
    return scores, unscored
