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
from assay.comparison import ranking as ranking_module
from assay.comparison.candidates import short, short_repr
from assay.comparison.comparing import compare, from_scores
from assay.comparison.ranking import ranking
from assay.errors import InputError, KindError
from assay.methods.base import Method
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import IntegratedGradients
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
    found = compare(asked, methods, metrics, seed=5, references=False)
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
    found = compare(asked, [Gradient(), Constant()], [Sum(), Completeness()], references=False)
    assert set(found.refusals) == {("Gradient()", "Sum()"), ("Gradient()", "Completeness()")}
    assert list(found.attributions) == ["Constant()"]
    with pytest.raises(InputError, match="refusals alone"):
        compare(asked, [Gradient()], [Sum()])


def test_references_stand_apart() -> None:
    asked = question()
    found = compare(
        asked,
        [IntegratedGradients(steps=4), InputXGradient()],
        [Infidelity(draws=8), Completeness(), MaxSensitivity(draws=2)],
        references=True,
    )
    methods = ("IntegratedGradients(steps=4)", "InputXGradient()")
    assert found.references == ("Zero", *(f"Shuffled({method})" for method in methods))
    assert found.attributions["Zero"].values.abs().sum() == 0
    for method in methods:
        own = found.attributions[method].values
        shuffled = found.attributions[f"Shuffled({method})"].values
        assert torch.equal(shuffled.sort(dim=1).values, own.sort(dim=1).values)
        assert not torch.equal(shuffled, own)
    ranked = found.rankings["Infidelity(draws=8)"]
    assert [place.method for place in ranked.references] == ["Zero"]
    assert {place.method for place in ranked.places} == set(methods)
    assert {(pair.first, pair.second) for pair in ranked.versus_shuffled} == {
        (method, f"Shuffled({method})") for method in methods
    }
    assert {pair.second for pair in ranked.versus_zero} == {"Zero"}
    # Shuffling keeps the sum: completeness is not held against anybody.
    assert found.rankings["Completeness()"].versus_shuffled == ()
    assert len(found.rankings["Completeness()"].versus_zero) == 2
    assert list(found.refusals) == [("Zero", "MaxSensitivity(draws=2)")]
    assert "asks the method again" in found.refusals["Zero", "MaxSensitivity(draws=2)"]
    assert found.rankings["MaxSensitivity(draws=2)"].versus_zero == ()


def test_shuffled_credit_does_not_depend_on_the_neighbours() -> None:
    many, one = question(12), question(12).part(3, 4)
    shuffled = [
        compare(q, [InputXGradient()], [Sum()], references=True)
        .attributions["Shuffled(InputXGradient())"]
        .values
        for q in (many, one)
    ]
    assert torch.equal(shuffled[0][3:4], shuffled[1])


def test_no_verdict_depends_on_who_is_listed_first() -> None:
    torch.manual_seed(4)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)
    )
    asked = assay.Question(net, torch.rand(16, 1, 8, 8), features=assay.Pixels(), target=0)
    methods = [
        assay.IntegratedGradients(),
        assay.Absolute(assay.Occlusion()),
        assay.Occlusion(),
    ]
    metric = assay.Infidelity(scaled=True)
    tables = [
        compare(asked, order, [metric], references=True).rankings.popitem()[1]
        for order in (methods, methods[::-1], [methods[1], methods[2], methods[0]])
    ]
    for found in tables[1:]:
        assert found.places == tables[0].places
        assert found.pairs == tables[0].pairs
        assert found.not_better_than_shuffled == tables[0].not_better_than_shuffled
        assert found.not_better_than_zero == tables[0].not_better_than_zero


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
    # By hand as well: the smallest counts three times, the next twice, none below a smaller one.
    ordered = sorted((facts.p, k) for k, facts in enumerate(raw))
    least = 0.0
    for place, (p, k) in enumerate(ordered):
        least = max(least, min(1.0, (3 - place) * p))
        assert found.pairs[k].adjusted == pytest.approx(least)
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


def test_who_is_no_better_than_shuffled_or_zero() -> None:
    base = np.random.default_rng(1).normal(size=20)
    methods = {"good": score(base - 1), "same": score(base), "bad": score(base + 1)}
    points = {f"Shuffled({name})": score(base) for name in methods} | {"Zero": score(base + 2)}
    found = ranking("Gap", methods | points, list(points))
    assert found.not_better_than_shuffled == ("bad", "same")
    assert found.not_better_than_zero == ()
    assert [place.method for place in found.references] == ["Zero"]
    assert found.places[0].shuffled == pytest.approx(base.mean())
    # Each against its own shuffle, and not against that of whoever is listed first.
    own = {"Shuffled(good)": score(base - 2), "Shuffled(bad)": score(base + 2)}
    assert ranking("Gap", methods | own, list(own)).not_better_than_shuffled == ("good",)
    alone = ranking("Gap", methods, list(points))
    assert (alone.versus_shuffled, alone.versus_zero) == ((), ())


def test_a_mean_over_easy_inputs_does_not_win() -> None:
    """A has no score on the twenty hard inputs, and is worse wherever it has one."""
    generator = np.random.default_rng(0)
    easy, hard = generator.normal(1, 0.2, 20), generator.normal(5, 0.2, 20)
    a = np.concatenate([easy + 0.5, np.full(20, math.nan)])
    b = np.concatenate([easy, hard]) + generator.normal(0, 0.05, 40)
    found = ranking("Gap", {"A": score(a), "B": score(b)})
    assert found.places[-1].mean < found.places[0].mean
    assert (found.winner, found.leaders, found.beaten_by) == ("B", ("B",), ())
    assert (found.common, found.n) == (20, 40)


def test_a_difference_counts_with_its_sign() -> None:
    """Few common inputs order the means; many others say that the second is better."""
    generator = np.random.default_rng(0)
    a, b, c = generator.normal(0, 0.1, (3, 400))
    a[:2] -= 2
    a[2:] += 1
    c[2:] = math.nan
    found = ranking("Gap", {"A": score(a), "B": score(b), "C": score(c)})
    assert (found.winner, found.common) == ("A", 2)
    assert found.beaten_by == ("B",)
    assert "B" in found.leaders


def test_a_refused_metric_keeps_its_direction() -> None:
    asked = question()
    found = compare(asked, [Constant()], [Infidelity(assay.GaussianNoise(0.1)), Completeness()])
    assert ("Constant()", found.metrics[0]) in found.refusals
    assert found.rankings[found.metrics[0]].direction == "lower"
    assert set(found.to_pandas()["better"]) == {"lower"}


def test_rounding_is_no_difference() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(6, 1)
    asked = assay.Question(linear, 10 * torch.randn(20, 6))
    complete = [assay.ExactShapley(), assay.IntegratedGradients(), assay.SamplingShapley(4)]
    found = compare(asked, complete, [Completeness(), Infidelity()])
    for ranked in found.rankings.values():
        assert [place.mean for place in ranked.places] == [0.0, 0.0, 0.0]
        assert not any(pair.real for pair in ranked.pairs)


def test_the_level_is_that_of_every_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    half = ranking("Gap", {"a": score(values)}, level=0.5).places[0]
    whole = ranking("Gap", {"a": score(values)}).places[0]
    assert whole.low < half.low < half.high < whole.high
    rate = Score("Hits", torch.ones(10), "higher", units="rate")
    place = ranking("Hits", {"a": rate}, level=0.9).places[0]
    assert (place.low, place.high) == statistics.wilson(10, 10, 0.9)
    assert place.low == pytest.approx(0.787, abs=1e-3)


def test_how_many_inputs_a_difference_takes() -> None:
    two = ranking("Gap", {"a": score([1.0] * 4), "b": score([2.0] * 4)})
    # By their signs 6 could be enough; below 8 there is no interval.
    assert two.fewest_inputs(1) == 8
    assert two.fewest_inputs(190) == 13
    assert not two.pairs[0].real


def test_fewer_than_8_inputs_give_no_interval_anywhere() -> None:
    """Means, paired differences, agreement, skills and their words; and no verdict without one."""
    inputs = torch.tensor([[1.0, 2.0, 0.5], [0.5, 1.0, 2.0], [2.0, 0.5, 1.0]]).repeat(8, 1)
    inputs = inputs * torch.linspace(0.9, 1.1, 24)[:, None]
    metrics = [Infidelity(), Completeness()]
    methods = [InputXGradient(), IntegratedGradients(steps=4)]
    for n in (7, 24):
        question = Question(lambda x: (x[:, 0] * x[:, 1] + x[:, 2]) ** 2, inputs[:n])
        found = compare(question, methods, metrics)
        few = n < 8
        ranked = found.rankings.values()
        places = [place for each in ranked for place in (*each.places, *each.references)]
        assert all(math.isnan(place.low) == few for place in places)
        assert all(math.isnan(pair.facts.low) == few for each in ranked for pair in each.pairs)
        assert any(pair.facts.p < 0.05 for each in ranked for pair in each.pairs)
        assert any(pair.real for each in ranked for pair in each.pairs) is not few
        assert math.isnan(found.agreement.low) == few
        skills = found.skills()
        assert len(skills) == 2
        assert bool(skills["low"].isna().all()) == few
        assert bool((found.inputs_needed()["needed"] >= 8).all())
        why = "fewer than 8 inputs give no interval: ask about 8 or more"
        assert {each.no_interval for each in ranked} == ({why} if few else {""})
        assert {place.no_interval for place in places} == ({why} if few else {""})
        for row in found.reach().about("skill").rows:
            assert (why[1:] in row.words) == few
        words = " ".join(found.reach().words)
        assert (why[1:] in words) == (why in repr(found.agreement)) == few
        console = Console(width=200)
        with console.capture() as shown:
            console.print(found.table())
        text = " ".join(shown.get().split())
        assert (why[1:] in text) == few
        assert "nan" not in text + words + repr(found.agreement)


def test_the_fewest_inputs_of_a_mean_or_a_difference_are_counted() -> None:
    """Ten scores each, of which two methods share five; nine, and a reference that has seven."""
    why = "fewer than 8 inputs give no interval: ask about 8 or more"
    values = np.random.default_rng(0).normal(size=15)
    first, second = values.copy(), values + 1
    first[10:] = math.nan
    second[:5] = math.nan
    assert ranking("Gap", {"a": score(first)}).no_interval == ""
    assert ranking("Gap", {"a": score(first), "b": score(second)}).no_interval == why
    zero = values[:9].copy()
    zero[7:] = math.nan
    found = ranking("Gap", {"a": score(values[:9]), "Zero": score(zero)}, ["Zero"])
    assert found.no_interval == why
    # Where there is no mean at all, none lacks an interval.
    assert ranking("Gap", {"a": score([math.nan] * 9)}).no_interval == ""


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
    assert "Zero" in said
    assert "Shuffled" not in said
    frame = found.differences()
    assert list(frame["metric"]) == ["Completeness()"]
    assert frame["p adjusted"][0] >= frame["p"][0]
    assert "2 methods by 2 metrics on 12 inputs" in repr(found)


def test_a_difference_counts_where_the_interval_says_so_too() -> None:
    facts = statistics.paired(np.arange(1.0, 9.0), np.zeros(8))
    assert facts.low > 0
    assert ranking_module._significant(facts, 0.05, 0.95)
    assert not ranking_module._significant(facts, 0.06, 0.95)
    # 1 - 0.9 is a little below 0.1.
    assert ranking_module._significant(facts, 0.1, 0.9)
    around_zero = dataclasses.replace(facts, low=-1.0, high=2.0)
    assert not ranking_module._significant(around_zero, 0.001, 0.95)


def test_the_name_of_a_comparison_counts_in_words() -> None:
    question = assay.Question(torch.nn.Linear(3, 2), torch.randn(1, 3), target=0)
    one = repr(assay.compare(question, ["Gradient"], ["Infidelity"]))
    assert one.startswith("Comparison(1 method by 1 metric on 1 input; best mean: ")


@pytest.mark.parametrize(
    ("metric", "method"),
    [
        (Infidelity(), IntegratedGradients(steps=2)),
        (Infidelity(scaled=True), InputXGradient()),
        (Completeness(), InputXGradient()),
        (MaxSensitivity(radius=0.5), InputXGradient()),
    ],
    ids=repr,
)
def test_the_interval_of_a_distance_does_not_reach_below_zero(
    metric: Metric, method: Method
) -> None:
    # One input on which the method fails beside inputs on which it nearly does not.
    good = torch.tensor([[0.01, 0.02], [0.02, 0.01], [0.01, 0.01]]).repeat(3, 1)
    inputs = torch.cat([good, torch.tensor([[3.0, 2.0]])])
    question = Question(lambda x: (x[:, 0] * x[:, 1]) ** 2, inputs)
    found = compare(question, [method], [metric], references=False)
    place = next(iter(found.rankings.values())).places[0]
    assert place.mean > 0
    assert place.low >= 0
    score = next(iter(found.scores.values()))
    assert score.bounds == (0.0, math.inf)


def test_the_share_of_inputs_on_which_the_first_is_better_knows_the_direction() -> None:
    question = Question(lambda x: x.sum(1), torch.ones(4, 2))
    good = Score("Gap", torch.tensor([1.0, 2.0, 3.0, 9.0]), "lower")
    bad = Score("Gap", torch.tensor([2.0, 3.0, 4.0, 5.0]), "lower")
    answers = [Gradient()(question), InputXGradient()(question)]
    for direction, share in (("lower", 0.75), ("higher", 0.25)):
        pair = [dataclasses.replace(one, direction=direction) for one in (good, bad)]
        frame = from_scores(question, answers, {"Gap": pair}).differences()
        assert frame.loc[0, "first"] == "Gradient()"
        assert frame.loc[0, "first better"] == share
        assert "wins" not in frame
