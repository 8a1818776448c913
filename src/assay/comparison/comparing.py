"""Makes a comparison: of methods that are asked, or of scores that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.comparison.candidates import (
    MethodLike,
    MetricLike,
    as_sequence,
    check_names,
    labelled,
    method_from,
    metric_from,
    named,
    of_kind,
)
from assay.comparison.comparison import Comparison
from assay.comparison.ranking import shuffled
from assay.comparison.scoring import answers_of, reference_answers, scored, visible, without_blind
from assay.errors import InputError, KindError
from assay.metrics.base import Metric
from assay.metrics.curves.shared_curves import sharing_curves
from assay.metrics.sensitivity.shared_changes import sharing_changes
from assay.question.question import Question
from assay.settings import argument, checked_level, checked_seed, shown


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
    askers = named(methods, "methods", method_from)
    judges: dict[str, Metric] = named(metrics, "metrics", metric_from)
    seed = checked_seed(seed, "compare")
    level = checked_level(level, "compare")
    references = argument("compare", "references", references, bool)
    if not askers or not judges:
        raise InputError(
            expected="at least one method and one metric",
            got=f"{len(askers)} and {len(judges)}",
            advice='Name some: compare(question, ["Gradient"], ["Infidelity"]).',
        )
    check_names(askers)
    # All methods answer before any metric is asked: every metric judges the same answers.
    answers, unanswered = answers_of(question, askers, seed)
    extra: dict[str, Attribution] = {}
    if references:
        extra = reference_answers(question, answers, seed)
    shuffles = {shuffled(label) for label in answers}
    scores: dict[tuple[str, str], Score] = {}
    refusals: dict[tuple[str, str], str] = {}
    # Masks and neighbours that several metrics show the model are shown it once.
    with sharing_curves(), sharing_changes():
        for metric, judge in judges.items():
            # Reference points that a metric cannot see would cost evaluations and say nothing.
            points = visible(extra, judge, answers)
            by_method, unscored = scored(question, judge, askers, answers | points, seed)
            by_method = without_blind(by_method, answers, extra)
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
        attributions = labelled(
            of_kind(Attribution, as_sequence(attributions, "attributions", way))
        )
    answers: dict[str, Attribution] = {str(label): each for label, each in attributions.items()}
    of_kind(Attribution, answers.values())
    if not isinstance(scores, Mapping):
        raise KindError(
            expected="scores by metric, as a dict",
            got=shown(scores),
            advice=f"Hand over {way}.",
        )
    # Scores carry no label of their own; their order says whose they are.
    cells: dict[tuple[str, str], Score] = {}
    for metric, row in scores.items():
        row = of_kind(Score, as_sequence(row, f"scores by {metric}", way))
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


def _check_question(question: Any, way: str) -> None:
    if not isinstance(question, Question):
        raise KindError(
            expected="a Question",
            got=shown(question),
            advice=f"Build one, Question(model, inputs, target=...), and write {way}.",
        )
