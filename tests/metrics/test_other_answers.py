"""Metrics score answers to their own question, and to no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import assay
from assay.errors import InputError
from toys import randn, tanh_net

NET = tanh_net()
X = randn(4, 4)
QUESTION = assay.Question(NET, X, target=1)
METHOD = assay.IntegratedGradients(8)
METRICS = [assay.Infidelity(draws=8), assay.MaxSensitivity(METHOD, draws=2)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "other",
    [
        assay.Question(NET, X.flip(0), target=1),
        assay.Question(NET, X + 1, target=1),
        assay.Question(NET, X, target=0),
        assay.Question(NET, X, target=1, removal=assay.Baseline(1.0)),
        assay.Question(tanh_net(1), X, target=1),
    ],
    ids=["order", "inputs", "target", "removal", "model"],
)
def test_an_answer_to_another_question_is_refused(metric: Any, other: assay.Question) -> None:
    with pytest.raises(InputError, match="an answer to this question"):
        metric(QUESTION, METHOD(other))


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_question_in_other_words_is_accepted(metric: Any) -> None:
    predicted = assay.Question(NET, X)
    fixed = assay.Question(NET, X, target=NET(X).argmax(1))
    answer = METHOD(predicted)
    assert metric(fixed, answer).values.tolist() == metric(predicted, answer).values.tolist()
    part = metric(predicted.part(1, 3), answer.rows(slice(1, 3)))
    assert part.values.shape == (2,)
    by_hand = replace(METHOD(assay.Question(NET, X + 1, target=1)), provenance={})
    assert metric(QUESTION, by_hand).values.shape == (4,)


def test_the_answer_of_another_method_has_no_sensitivity() -> None:
    metric = assay.MaxSensitivity(assay.Gradient(), draws=2)
    with pytest.raises(
        InputError, match=r"an answer of Gradient\(.*got one of IntegratedGradients"
    ):
        metric(QUESTION, METHOD(QUESTION))
    assert torch.isfinite(metric(QUESTION, assay.Gradient()(QUESTION)).values).all()


def test_weights_are_not_added_up() -> None:
    asked = assay.Question(lambda x: x.prod(1), torch.rand(3, 4))
    magnitudes = assay.Absolute(assay.ExactShapley())(asked)
    for metric in (assay.Completeness(), assay.Infidelity()):
        with pytest.raises(assay.errors.InputError, match="weights without a unit"):
            metric(asked, magnitudes)
    # With a free factor they can be compared.
    assert len(assay.Infidelity(scaled=True)(asked, magnitudes)) == 3
