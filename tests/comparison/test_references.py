"""Reference points: the same for everybody, and none where a metric cannot see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.answers.attribution import Attribution
from assay.answers.score import Direction, Score
from assay.comparison.candidates import short_repr
from assay.comparison.comparing import compare
from assay.comparison.ranking import ranking
from assay.comparison.scoring import reference_answers, visible, without_blind
from assay.errors import InputError, KindError
from assay.metrics.base import Metric, Reading
from assay.pages.report_page import _verdict
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Largest(Metric):
    """The largest credit: blind to which feature has it, and it does not say so."""

    direction: ClassVar[Direction] = "higher"

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        return [Reading(each.values.amax(1)) for each in attributions]


@final
@dataclass(frozen=True)
class Norm(Metric):
    """The size of the credit; it refuses slopes."""

    direction: ClassVar[Direction] = "higher"

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if any(each.kind == "slope" for each in attributions):
            raise InputError(expected="contributions", got="slopes", advice="Multiply them.")

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        return [Reading(each.values.norm(dim=1)) for each in attributions]


def pictures(n: int = 16) -> Question:
    torch.manual_seed(4)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)
    )
    return Question(net, torch.rand(n, 1, 8, 8), features=assay.Pixels(), target=0)


def test_zero_is_scored_whoever_is_listed_first() -> None:
    methods = [assay.IntegratedGradients(), assay.Occlusion(window=4)]
    tables = [compare(pictures(), order, ["Infidelity"]) for order in (methods, methods[::-1])]
    found = [table.rankings["Infidelity()"] for table in tables]
    for ranked, table in zip(found, tables):
        assert ("Zero", "Infidelity()") not in table.refusals
        assert [place.method for place in ranked.references] == ["Zero"]
        assert [pair.first for pair in ranked.versus_zero] == ["IntegratedGradients()"]
    assert found[0].references == found[1].references
    assert found[0].places == found[1].places


def test_who_is_not_better_than_saying_nothing_is_named() -> None:
    # The slope of a cube times the input is three times what the input adds.
    x = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, size=(12, 3)))
    cubes = Question(lambda rows: (rows**3).sum(1), x)
    found = compare(cubes, ["InputXGradient", "ExactShapley"], ["Infidelity"])
    ranked = found.rankings["Infidelity()"]
    assert ranked.not_better_than_zero == ("InputXGradient()",)


@pytest.mark.parametrize("metric", [assay.Infidelity(assay.GaussianNoise(0.1)), Norm()])
def test_zero_is_scored_where_one_unit_alone_is(metric: Metric) -> None:
    """Slopes, and contributions where the first of the answers is a slope."""
    methods = [assay.IntegratedGradients(), assay.Gradient()]
    table = compare(pictures(), methods, [metric])
    assert len([cell for cell in table.refusals if cell[0] in table.methods]) == 1
    ranked = table.rankings[table.metrics[0]]
    assert [place.method for place in ranked.references] == ["Zero"]
    # Its unit does not depend on who is listed first either.
    turned = compare(pictures(), methods[::-1], [metric])
    assert turned.attributions["Zero"].kind == table.attributions["Zero"].kind


@pytest.mark.parametrize("metric", [Largest(), assay.Infidelity(assay.DifferenceToBaseline())])
def test_a_metric_that_is_blind_to_shuffling_is_not_held_against_anybody(metric: Metric) -> None:
    methods = [assay.InputXGradient(), assay.IntegratedGradients(steps=4)]
    found = compare(pictures(), methods, [metric]).rankings[short_repr(metric)]
    assert found.versus_shuffled == ()
    assert "shuffled" not in _verdict(found)


def test_blindness_takes_every_method_and_leaves_zero() -> None:
    asked = pictures(4)
    answers = {name: assay.InputXGradient()(asked) for name in ("a", "b")}
    points = reference_answers(asked, answers, 0)
    same, other = (Score("Gap", torch.full((4,), value), "lower") for value in (1.0, 2.0))
    blind = dict.fromkeys((*answers, *points), same)
    assert set(without_blind(blind, answers, points)) == {"a", "b", "Zero"}
    # One method whose credit the metric saw in another order is enough to keep all of them.
    seen = blind | {"Shuffled(b)": other}
    assert without_blind(seen, answers, points) == seen
    # A metric that says so itself is not asked about any shuffle.
    assert set(visible(points, assay.Gini(), answers)) == {"Zero"}
    assert visible(points, assay.Infidelity(), answers) == points


def test_credit_that_is_the_same_everywhere_is_held_against_a_method() -> None:
    flat = assay.Absolute(assay.Gradient())
    asked = Question(lambda x: x.sum(1), np.ones((8, 3)), removal=assay.Baseline(0.0))
    answer = assay.ExactShapley()(asked)
    found = compare(asked, {"flat": answer}, ["Infidelity"]).rankings["Infidelity()"]
    assert found.not_better_than_shuffled == ("flat",)
    assert short_repr(flat) == "Absolute(method=Gradient())"


def test_references_are_the_default() -> None:
    assert compare(pictures(2), ["Gradient"], ["Completeness"]).references[0] == "Zero"
    alone = compare(pictures(2), ["Gradient"], ["Completeness"], references=False)
    assert alone.references == ()


def test_methods_and_metrics_have_names_of_ones_own() -> None:
    table = compare(
        pictures(4),
        {"slope": "Gradient", "path": assay.IntegratedGradients(steps=4)},
        {"gap": "Completeness"},
    )
    assert (table.methods, table.metrics) == (("slope", "path"), ("gap",))
    assert table.attributions["path"].method.startswith("IntegratedGradients(steps=4")
    assert table.references == ("Zero", "Shuffled(slope)", "Shuffled(path)")
    assert table.score("path", "gap").mean >= 0
    assert table.winner("gap") == "path"
    with pytest.raises(InputError, match="reference point"):
        compare(pictures(2), {"Zero": "Gradient"}, ["Completeness"])
    with pytest.raises(KindError, match="names of methods"):
        compare(pictures(2), {3: "Gradient"}, ["Completeness"])  # type: ignore[dict-item]


def test_a_method_that_holds_a_table_is_named_shortly() -> None:
    rows = pd.DataFrame({"age": [20.0, 30, 40, 50], "job": ["a", "b", "a", "b"]})
    said = short_repr(assay.Lime(assay.Quartiles(rows)))
    assert "<DataFrame of shape (4, 2)>" in said
    assert "age" not in said
    assert short_repr(assay.Lime(assay.Quartiles(np.zeros((3, 2))))).count("ndarray") == 1


def test_a_saved_answer_is_named_as_its_method_is() -> None:
    asked = pictures(2)
    answer = assay.IntegratedGradients(steps=4)(asked)
    assert compare(asked, [answer], ["Completeness"]).methods == ("IntegratedGradients(steps=4)",)


def test_a_verdict_counts_the_inputs_of_its_own_tests() -> None:
    """C has two scores, so that all three share two inputs; A and B share four hundred."""
    generator = np.random.default_rng(0)
    a, b, c = generator.normal(0, 0.1, (3, 400))
    a[:2] -= 2
    a[2:] += 1
    c[2:] = np.nan
    scores = {
        name: Score("Gap", torch.from_numpy(column), "lower")
        for name, column in {"A": a, "B": b, "C": c}.items()
    }
    said = _verdict(ranking("Gap", scores))
    assert "no difference can be shown" not in said
    assert "B did better where both have a score" in said
