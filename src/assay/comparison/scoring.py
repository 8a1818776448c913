"""Answers and scores of all candidates, and of the reference points beside them.

With reference points every method is also compared with its own credit in another order, and with
none at all: a method that is not better than these has explained nothing that a metric can see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from assay.answers.attribution import Attribution
from assay.answers.score import Score
from assay.comparison.ranking import ZERO, shuffled
from assay.errors import AssayError, InputError
from assay.methods.base import Method
from assay.metrics.base import Metric
from assay.numerics import rng
from assay.question.question import Question

# Relative to the largest score of a method: credit that is summed in another order rounds otherwise.
_ROUNDING = 1e-5


def answers_of(
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


def reference_answers(
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
        # The credit itself in another order: sum, size and signs stay those of the method.
        references[name] = _point(answer, name, answer.values.gather(1, order))
    return references


def visible(
    references: Mapping[str, Attribution], judge: Metric, answers: Mapping[str, Attribution]
) -> dict[str, Attribution]:
    """The reference points that a metric can tell from the answers."""
    shuffles = {shuffled(label) for label in answers}
    return {
        name: point
        for name, point in references.items()
        if name not in shuffles or not judge.order_blind
    }


def without_blind(
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
    # Zero stays: that nothing was credited is seen without an order, too.
    shuffles = {shuffled(label) for label in answers}
    return {label: score for label, score in scores.items() if label not in shuffles}


def _alike(one: Score, other: Score) -> bool:
    """Whether two scores are the same on every input, up to rounding."""
    # NaN has no size; inputs on which neither has a score are alike.
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


def scored(
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
