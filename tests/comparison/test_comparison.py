"""Comparisons: paired by construction, refusals kept as cells, references apart, statistics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pytest
import torch
from rich.console import Console

import assay
from assay.answers.attribution import Attribution, Kind
from assay.answers.score import Direction, Score
from assay.comparison.comparison import compare, from_scores, short, short_repr
from assay.comparison.ranking import ranking
from assay.errors import InputError, KindError
from assay.methods.base import Method
from assay.methods.gradients import Gradient, InputXGradient
from assay.methods.paths import IntegratedGradients
from assay.methods.wrappers import Absolute, Smoothed
from assay.metrics.base import Metric, Reading
from assay.metrics.faithfulness.completeness import Completeness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.numerics import statistics
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Constant(Method):
    """The same credit for every feature."""

    level: float = 1.0
    kind: ClassVar[Kind] = Kind.CONTRIBUTION

    def values(self, question: Question, seed: int) -> torch.Tensor:
        return torch.full((question.n, question.partition.count), self.level)


@final
@dataclass(frozen=True)
class Sum(Metric):
    """The sum of the credit; it refuses slopes."""

    direction: ClassVar[Direction] = "higher"

    def check(self, question: Question, attributions: Sequence[Attribution]) -> None:
        if any(each.kind == "slope" for each in attributions):
            raise InputError(
                expected="contributions", got="slopes", advice="Multiply them by the input."
            )

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        return [Reading(each.values.sum(1)) for each in attributions]


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def question(n: int = 12) -> Question:
    return Question(net(), torch.randn(n, 4, generator=torch.Generator().manual_seed(1)), target=0)


def score(values: Sequence[float], direction: Direction = "lower") -> Score:
    return Score("Gap", torch.tensor(values, dtype=torch.float64), direction)


def test_every_cell_is_the_metric_alone() -> None:
    asked = question()
    methods = [Smoothed(Gradient(), noise=0.3, draws=2), IntegratedGradients(steps=4)]
    metrics = [Infidelity(draws=8), MaxSensitivity(draws=3)]
    found = compare(asked, methods, metrics, seed=5)
    assert found.methods == (
        "Smoothed(method=Gradient(), noise=0.3, draws=2)",
        "IntegratedGradients(steps=4)",
    )
    assert found.metrics == ("Infidelity(draws=8)", "MaxSensitivity(draws=3)")
    for method in methods:
        answer = method(asked, seed=5)
        torch.testing.assert_close(
            found.attributions[short_repr(method)].values, answer.values, rtol=0, atol=0
        )
        for metric in metrics:
            alone = metric.for_method(method)(asked, answer, seed=5)
            torch.testing.assert_close(
                found.score(method, metric).values, alone.values, rtol=1e-10, atol=1e-12
            )
    assert found.refusals == {}


def test_each_method_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    plain = Constant.values
    monkeypatch.setattr(
        Constant, "values", lambda self, asked, seed: calls.append(1) or plain(self, asked, seed)
    )
    compare(question(), [Constant()], [Sum(), Completeness()])
    assert len(calls) == 1


def test_a_refusal_is_a_cell_with_its_reason() -> None:
    found = compare(
        question(), [Gradient(), Constant(2.0), InputXGradient()], [Sum(), Completeness()]
    )
    assert found.refusals == {
        ("Gradient()", "Sum()"): "Expected contributions, got slopes. Multiply them by the input."
    }
    assert found.score("Constant(level=2.0)", "Sum").values.tolist() == [8.0] * 12
    assert found.winner("Sum") == "Constant(level=2.0)"
    with pytest.raises(InputError, match="got slopes"):
        found.score("Gradient", "Sum")
    frame = found.to_pandas()
    assert frame.loc[("Sum()", "Gradient()"), "refusal"].startswith("Expected contributions")
    assert math.isnan(frame.loc[("Sum()", "Gradient()"), "mean"])
    assert frame.loc[("Sum()", "Constant(level=2.0)"), "mean"] == 8.0


def test_a_method_that_cannot_answer_is_refused_under_every_metric() -> None:
    asked = Question(lambda rows: rows.sum(1, keepdims=True), np.ones((4, 3)))
    found = compare(asked, [Gradient(), Constant()], [Sum(), Completeness()])
    assert set(found.refusals) == {("Gradient()", "Sum()"), ("Gradient()", "Completeness()")}
    assert list(found.attributions) == ["Constant()"]
    with pytest.raises(InputError, match="refusals alone"):
        compare(asked, [Gradient()], [Sum()])


def test_references_stand_apart() -> None:
    asked = question()
    found = compare(
        asked,
        [IntegratedGradients(steps=4), Gradient()],
        [Completeness(), MaxSensitivity(draws=2)],
        references=True,
    )
    first = found.attributions["IntegratedGradients(steps=4)"].values
    names = ("Random", "Negated(IntegratedGradients(steps=4))", "Zero")
    assert found.references == names
    shuffled, negated, zero = (found.attributions[name].values for name in names)
    torch.testing.assert_close(
        shuffled.sort(dim=1).values, first.sort(dim=1).values, rtol=0, atol=0
    )
    assert not torch.equal(shuffled, first)
    assert torch.equal(negated, -first)
    assert zero.abs().sum() == 0
    place = found.rankings["Completeness()"]
    assert [each.method for each in place.references] == list(names)
    assert {each.method for each in place.places} == {"IntegratedGradients(steps=4)", "Gradient()"}
    assert len(place.pairs) == 1
    assert all(
        ("asks the method again" in found.refusals[name, "MaxSensitivity(draws=2)"])
        for name in names
    )
    assert found.rankings["MaxSensitivity(draws=2)"].versus_random == ()


def test_a_random_reference_does_not_depend_on_the_neighbours() -> None:
    many, one = question(12), question(12).part(3, 4)
    random = [
        compare(q, [InputXGradient()], [Sum()], references=True).attributions["Random"].values
        for q in (many, one)
    ]
    assert torch.equal(random[0][3:4], random[1])


def test_names_attributions_and_duplicates() -> None:
    asked = question()
    answer = InputXGradient()(asked)
    found = compare(asked, ["InputXGradient", InputXGradient(), answer], ["Completeness"])
    assert found.methods == ("InputXGradient()", "InputXGradient() #2", "InputXGradient() #3")
    values = [found.scores[method, "Completeness()"].values for method in found.methods]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    doubled = dataclasses.replace(found, methods=("A(x=1)", "A(x=2)", "A(x=3)"))
    with pytest.raises(InputError, match="fits 3 of them"):
        doubled.score("A", "Completeness")


@pytest.mark.parametrize(
    ("methods", "metrics", "error", "words"),
    [
        ([], ["Completeness"], InputError, "at least one"),
        (["Nothing"], ["Completeness"], InputError, "Known: .*Gradient"),
        (["Gradient"], ["Nothing"], InputError, "Known: .*Infidelity"),
        ([3], ["Completeness"], KindError, "a method, its name or an attribution"),
        (["Gradient"], [Gradient()], KindError, "a metric or its name"),
        (["Absolute"], ["Completeness"], InputError, "settings for Absolute"),
    ],
)
def test_refusals_of_the_call(
    methods: list, metrics: list, error: type[Exception], words: str
) -> None:  # type: ignore[type-arg]
    with pytest.raises(error, match=words):
        compare(question(3), methods, metrics)


def test_a_short_repr_shows_what_differs_and_evaluates_back() -> None:
    method = Smoothed(IntegratedGradients(steps=8), noise=0.25, draws=4)
    said = short_repr(method)
    assert eval(said, vars(assay)) == method
    assert "rule" not in said
    assert short_repr(Gradient()) == "Gradient()"
    assert short(short_repr(Absolute(Gradient()))) == "Absolute(Gradient)"


def test_a_ranking_by_definition() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=30)
    columns = {
        "a": base,
        "b": base + 0.01 * generator.normal(size=30),
        "c": base + 1 + 0.1 * generator.normal(size=30),
    }
    scores = {name: score(column) for name, column in columns.items()}
    found = ranking("Gap", scores)
    assert found.winner == min(columns, key=lambda name: columns[name].mean())
    assert set(found.leaders) == {"a", "b"}
    assert found.places[-1].method == "c"
    assert found.groups == {"a": tuple(place.method for place in found.places[:2]), "b": ("c",)}
    raw = [
        statistics.paired(columns[x], columns[y]) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    assert [pair.facts.p for pair in found.pairs] == [facts.p for facts in raw]
    assert [pair.adjusted for pair in found.pairs] == statistics.holm(
        [facts.p for facts in raw]
    ).tolist()
    assert [pair.real for pair in found.pairs] == [False, True, True]
    chances = statistics.ranks(np.stack(list(columns.values()), axis=1), "lower")[:, 0]
    assert [found.place(name).best for name in columns] == pytest.approx(
        chances.tolist(), abs=1e-12
    )  # type: ignore[union-attr]
    assert (found.places[0].low, found.places[0].high) == scores[found.winner].interval


def test_higher_can_be_better() -> None:
    found = ranking(
        "Gap", {"a": score([1.0, 2, 3] * 5, "higher"), "b": score([2.0, 3, 4] * 5, "higher")}
    )
    assert [place.method for place in found.places] == ["b", "a"]
    assert found.places[0].best == 1.0


def test_who_is_no_better_than_random() -> None:
    base = np.random.default_rng(1).normal(size=20)
    scores = {
        "good": score(base - 1),
        "same": score(base),
        "bad": score(base + 1),
        "Random": score(base),
        "Zero": score(base + 2),
    }
    found = ranking("Gap", scores, ["Random", "Zero"])
    assert found.not_better_than_random == ("same", "bad")
    assert [place.method for place in found.references] == ["Random", "Zero"]
    assert (
        ranking(
            "Gap", {k: v for k, v in scores.items() if k != "Random"}, ["Random", "Zero"]
        ).versus_random
        == ()
    )


def test_missing_scores_do_not_win() -> None:
    found = ranking(
        "Gap", {"none": score([math.nan] * 6), "some": score([1.0, 2, math.nan, 2, 1, 3])}
    )
    assert found.winner == "some"
    assert [(place.method, place.n, place.letters) for place in found.places] == [
        ("some", 5, "a"),
        ("none", 0, ""),
    ]
    with pytest.raises(InputError, match="a method with a score by Gap"):
        _ = ranking("Gap", {"none": score([math.nan] * 6)}).winner
    with pytest.raises(InputError, match="same inputs"):
        ranking("Gap", {"a": score([1.0]), "b": score([1.0, 2.0])})


def test_from_scores_takes_what_was_done_by_hand() -> None:
    asked = question()
    answers = [Gradient()(asked), InputXGradient()(asked)]
    found = from_scores(asked, answers, {"gap": Completeness().each(asked, answers)})
    assert found.winner("gap") in found.methods
    assert found.methods == ("Gradient()", "InputXGradient()")
    with pytest.raises(InputError, match="one per attribution"):
        from_scores(asked, answers, {"gap": Completeness().each(asked, answers)[:1]})


def test_tables_for_people() -> None:
    found = compare(question(), [Gradient(), Constant()], [Sum(), Completeness()], references=True)
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found)
    said = console.export_text()
    assert "Completeness ↓" in said
    assert "Sum ↑" in said
    assert "refused" in said
    assert "Negated(Gradient)" in said
    frame = found.differences()
    assert list(frame["metric"]) == ["Completeness()"]
    assert frame["p adjusted"][0] >= frame["p"][0]
    assert "2 methods by 2 metrics on 12 inputs" in repr(found)
