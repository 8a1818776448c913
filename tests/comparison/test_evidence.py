"""What a comparison says of its own reach: agreement, needed inputs, sampling, skill, settings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import assay
from assay.answers.attribution import Attribution
from assay.answers.score import Direction, Score
from assay.comparison.comparing import compare, from_scores
from assay.comparison.comparison import Comparison
from assay.comparison.evidence import Agreement, skills
from assay.comparison.persistence import Persistence, Trial
from assay.comparison.ranking import shuffled
from assay.comparison.reach import findings
from assay.errors import AssayError, InputError
from assay.methods.gradients.gradient import Gradient, InputXGradient
from assay.methods.gradients.paths import IntegratedGradients
from assay.methods.optimal.optimal import Optimal
from assay.metrics.base import Metric, Reading
from assay.metrics.complexity.mass import Compactness
from assay.metrics.faithfulness.infidelity import Infidelity
from assay.metrics.sensitivity.max_sensitivity import MaxSensitivity
from assay.numerics.concordance import kendall_w, mean_concordance
from assay.numerics.power import inputs_needed
from assay.numerics.statistics import TOO_FEW, interval
from assay.pages.soundness import persists, trust
from assay.perturbations import Coordinates, GaussianNoise, Squares, SubsetToBaseline
from assay.question.question import Question


def question(n: int = 12) -> Question:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    x = torch.randn(n, 6, dtype=torch.float64)
    return Question(net, x, target=0, removal=assay.Baseline(0.0))


def scored(
    tables: dict[str, np.ndarray], directions: dict[str, Direction], level: float = 0.95
) -> Comparison:
    """A comparison of scores (n, methods) by hand."""
    asked = question(len(next(iter(tables.values()))))
    count = next(iter(tables.values())).shape[1]
    answer = Gradient()(asked)
    scores = {
        metric: [Score(metric, torch.tensor(column), directions[metric]) for column in table.T]
        for metric, table in tables.items()
    }
    answers = {f"m{k}": answer for k in range(count)}
    return from_scores(asked, answers, scores, level=level)


def test_metrics_that_order_alike_agree_whatever_way_is_better() -> None:
    rng = np.random.default_rng(0)
    table = np.arange(4.0) + 0.1 * rng.normal(size=(30, 4))
    comparison = scored({"up": table, "down": -table}, {"up": "higher", "down": "lower"})
    assert comparison.agreement.w == comparison.agreement.per_input == 1.0
    # An input that was not seen might be ranked otherwise.
    assert 0.97 < comparison.agreement.low < comparison.agreement.high == 1.0
    assert comparison.agreement.methods == ("m0", "m1", "m2", "m3")
    turned = scored({"up": table, "down": table}, {"up": "higher", "down": "lower"})
    assert turned.agreement.w == turned.agreement.per_input == 0.0
    said = "Agreement(W 0.00 of the means, 0.00 [0.00, 0.01] of one input, 2 metrics, 4 methods)"
    assert repr(turned.agreement) == said


def test_agreement_is_that_of_the_means_and_that_of_inputs_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    tables = {name: rng.normal(np.linspace(0, 0.4, 5), size=(40, 5)) for name in "abc"}
    # An input that one metric has no score of has no W of its own.
    tables["b"][3, 2] = math.nan
    agreement = scored(tables, dict.fromkeys("abc", "higher")).agreement
    means = np.stack([np.nanmean(table, axis=0) for table in tables.values()])
    assert agreement.w == pytest.approx(kendall_w(means), abs=1e-12)
    inputs = [row for row in range(40) if row != 3]
    alone = [kendall_w(np.stack([table[row] for table in tables.values()])) for row in inputs]
    assert agreement.inputs == 39
    assert agreement.per_input == pytest.approx(np.mean(alone), abs=1e-12)
    assert (agreement.low, agreement.high) == pytest.approx(interval(alone), abs=1e-12)


def test_an_agreement_of_few_inputs_has_no_interval_and_says_so() -> None:
    rng = np.random.default_rng(0)
    comparison = scored(
        {name: rng.normal(size=(7, 3)) for name in "ab"}, dict.fromkeys("ab", "lower")
    )
    assert math.isnan(comparison.agreement.low)
    assert TOO_FEW in repr(comparison.agreement)
    (row,) = comparison.reach().about("agreement").rows
    assert math.isnan(row.low)
    assert row.words.endswith("ask about 8 or more.")
    # The page has the figures alone: it tells the reason beside each metric.
    said = trust(comparison, (), skills=False).agreement
    assert "of one input" in said
    assert "[" not in said
    enough = {name: rng.normal(size=(8, 3)) for name in "ab"}
    assert "[" in trust(scored(enough, dict.fromkeys("ab", "lower")), (), skills=False).agreement


def test_metrics_that_share_no_input_have_a_w_of_their_means_alone() -> None:
    rng = np.random.default_rng(0)
    tables = {name: rng.normal(size=(20, 3)) for name in "ab"}
    tables["a"][:10] = math.nan
    tables["b"][10:] = math.nan
    comparison = scored(tables, dict.fromkeys("ab", "lower"))
    assert not math.isnan(comparison.agreement.w)
    assert math.isnan(comparison.agreement.per_input)
    (row,) = comparison.reach().about("agreement").rows
    assert "no input has a score by all of them" in row.words
    assert "nan" not in row.words
    assert "nan" not in repr(comparison.agreement)


def test_metrics_judge_the_methods_that_all_of_them_scored() -> None:
    rng = np.random.default_rng(3)
    tables = {name: rng.normal(np.linspace(0, 0.6, 4), size=(20, 4)) for name in "abc"}
    # One method was refused by one metric; a metric that scored one method puts nothing in order.
    tables["b"][:, 3] = math.nan
    tables["c"][:, 1:] = math.nan
    agreement = scored(tables, dict.fromkeys("abc", "higher"), level=0.8).agreement
    assert agreement.methods == ("m0", "m1", "m2")
    assert agreement.metrics == ("a", "b")
    judged = np.stack([tables[name][:, :3] for name in "ab"], axis=1)
    assert agreement.w == pytest.approx(kendall_w(judged.mean(axis=0)), abs=1e-12)
    expected = mean_concordance(judged, 0.8)
    assert (agreement.per_input, agreement.low, agreement.high) == pytest.approx(
        (expected.w, expected.low, expected.high), abs=1e-12
    )


def test_one_metric_agrees_with_nobody() -> None:
    agreement = scored(
        {"a": np.random.default_rng(0).normal(size=(9, 3))}, {"a": "lower"}
    ).agreement
    assert math.isnan(agreement.w)
    assert "no figure" in repr(agreement)


def test_the_inputs_that_a_pair_needs_come_from_its_own_effect() -> None:
    rng = np.random.default_rng(2)
    table = np.stack([rng.normal(size=20), rng.normal(size=20) + 0.5, np.zeros(20)], axis=1)
    comparison = scored({"a": table}, {"a": "higher"})
    frame = comparison.inputs_needed(power=0.9)
    assert len(frame) == 3
    for row in frame.itertuples():
        difference = table[:, int(row.first[1])] - table[:, int(row.second[1])]
        effect = difference.mean() / difference.std(ddof=1)
        assert row.effect == pytest.approx(effect, rel=1e-10)
        assert row.needed == inputs_needed(effect, 1 - 0.05 / 3, 0.9)


def test_sampling_says_by_how_much_draws_would_have_to_grow() -> None:
    values = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    asked = question(4)
    score = Score("a", values, "lower", error=torch.full((4,), 0.5))
    exact = Score("b", values, "lower")
    comparison = from_scores(asked, [Gradient()(asked)], {"a": [score], "b": [exact]})
    drawn, whole = comparison.sampling().to_dict("records")
    error = values.std() / 2
    share = (0.5 / 2) / float(error)
    assert drawn["share"] == pytest.approx(share, rel=1e-12)
    assert not drawn["enough"]
    assert drawn["factor"] == pytest.approx((share / 0.1) ** 2, rel=1e-12)
    assert whole["noise"] == 0
    assert whole["enough"]
    assert whole["factor"] == 1


def test_draws_beside_equal_scores_are_not_known_to_be_enough() -> None:
    """Equal scores have no error to be a tenth of; scores that are missing have no part."""
    asked = question(9)
    equal = torch.full((9,), 2.0, dtype=torch.float64)
    apart = torch.tensor([0.0, 1.0, 2.0, 3.0] * 2 + [math.nan], dtype=torch.float64)
    error = torch.full((9,), 0.5, dtype=torch.float64)
    scores = {
        "equal": [Score("equal", equal, "lower", error=error)],
        "apart": [Score("apart", apart, "lower", error=error)],
    }
    comparison = from_scores(asked, [Gradient()(asked)], scores)
    unknown, known = comparison.sampling().to_dict("records")
    assert math.isnan(unknown["share"])
    assert not unknown["enough"]
    assert known["noise"] == pytest.approx(0.5 / math.sqrt(8), rel=1e-12)
    assert known["error"] == pytest.approx(float(apart[:8].std()) / math.sqrt(8), rel=1e-12)
    first, second = comparison.reach().about("sampling").rows
    assert first.words == (
        "What the metric's draws add to the error of the mean of Gradient by equal is not known."
    )
    assert (first.reached, second.reached) == (None, False)


@final
@dataclass(frozen=True)
class FirstCredit(Metric):
    """The credit of the first feature."""

    direction: ClassVar[Direction] = "higher"

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        return [Reading(each.values[:, 0].to(torch.float64)) for each in attributions]


def test_skill_is_0_for_shuffled_credit_and_1_for_the_optimum() -> None:
    asked = question(10)
    comparison = compare(asked, {"slope": Gradient()}, {"first": FirstCredit()})
    best = {"first": np.full(10, 2.0)}
    [row] = skills(comparison.scores, comparison.methods, best, level=0.95)
    own = comparison.scores["slope", "first"].mean
    random = comparison.scores[shuffled("slope"), "first"].mean
    assert row.skill == pytest.approx((random - own) / (random - 2.0), rel=1e-12)
    assert row.low <= row.skill <= row.high
    assert row.best == 2.0


@pytest.mark.parametrize("n", [7, 8])
def test_the_eighth_input_gives_a_skill_its_interval(n: int) -> None:
    scores = {
        (name, "Gap"): Score("Gap", torch.linspace(mean, mean + 0.2, n), "lower")
        for name, mean in (("method", 0.4), (shuffled("method"), 1.0))
    }
    (found,) = skills(scores, ["method"], {"Gap": np.zeros(n)}, level=0.95)
    assert [math.isnan(end) for end in (found.low, found.high)] == [n < 8] * 2


def test_of_one_common_input_nobody_can_say_how_many_it_takes() -> None:
    table = np.array([[1.0, 2.0], [1.0, math.nan], [math.nan, 2.0]])
    comparison = scored({"Gap": table}, {"Gap": "lower"})
    (row,) = comparison.reach().about("inputs needed").rows
    assert math.isnan(row.figure)
    assert "cannot be said" in row.words


@pytest.mark.parametrize("law", ["normal", "exponential", "lognormal"])
def test_the_interval_of_a_skill_of_ten_inputs_covers_it(law: str) -> None:
    """Own scores 0.4, shuffled ones 1, the best 0, each times how hard an input is: a skill of 0.6."""
    draw = np.random.default_rng(0)
    hard = {
        "normal": draw.normal(2.0, 0.7, (2000, 10)),
        "exponential": draw.exponential(size=(2000, 10)),
        "lognormal": draw.lognormal(size=(2000, 10)),
    }[law]
    own, random = (part * hard * draw.uniform(0.5, 1.5, hard.shape) for part in (0.4, 1.0))
    held = []
    for row in range(len(hard)):
        scores = {
            (name, "Gap"): Score("Gap", torch.from_numpy(values[row]), "lower")
            for name, values in (("method", own), (shuffled("method"), random))
        }
        (found,) = skills(scores, ["method"], {"Gap": np.zeros(10)}, level=0.95)
        # Where skewed scores leave no room that is told from none, no interval is given.
        if not math.isnan(found.low):
            held.append(found.low <= 0.6 <= found.high)
    assert len(held) > 0.85 * len(hard)
    # 2,000 samples have a standard error of 0.5 %.
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


def test_a_skill_without_room_has_no_interval() -> None:
    """Shuffled credit that cannot be told from the best leaves nothing to divide by."""
    draw = np.random.default_rng(0)
    scores = {
        (name, "Gap"): Score("Gap", torch.from_numpy(draw.normal(size=10)), "lower")
        for name in ("method", shuffled("method"))
    }
    (found,) = skills(scores, ["method"], {"Gap": draw.normal(size=10)}, level=0.95)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_skill_of_a_metric_that_has_no_optimum_is_not_made_up() -> None:
    comparison = compare(question(8), [Gradient()], {"sensitivity": MaxSensitivity(radius=0.1)})
    # It does not see shuffled credit: there is nothing to be better than.
    assert comparison.skills().empty


def test_skill_by_infidelity_is_1_for_the_optimal_explanation_and_for_no_other() -> None:
    law = Coordinates()
    asked = question(10)
    comparison = compare(asked, [Optimal(law), InputXGradient()], [Infidelity(law)])
    skills = comparison.skills().set_index("method")["skill"]
    assert skills.iloc[0] == pytest.approx(1.0, abs=1e-10)
    assert skills.iloc[1] < 0.999


def test_a_winner_is_followed_through_settings() -> None:
    comparison = compare(
        question(), [Gradient(), InputXGradient(), IntegratedGradients()], [Infidelity()]
    )
    persistence = comparison.persistence(
        Infidelity(), {"draws": [50, 200], "perturbation": [Squares(), SubsetToBaseline()]}
    )
    assert persistence.winner == comparison.winner("Infidelity")
    assert len(persistence.trials) == 4
    for trial in persistence.answered:
        again = compare(
            comparison.question,
            [comparison.attributions[name] for name in comparison.methods],
            [trial.metric],
            references=False,
        )
        assert trial.winner == again.winner(trial.metric)
        assert trial.leaders == again.rankings[trial.metric].leaders
        first = again.rankings[trial.metric].place(persistence.winner)
        assert first is not None
        assert trial.chance == first.best
    held = [trial.winner == persistence.winner for trial in persistence.answered]
    assert persistence.share == sum(held) / len(held)
    assert 0 <= persistence.chance <= 1
    assert len(persistence.to_pandas()) == 4


def test_how_long_a_winner_lasts_is_said_in_figures() -> None:
    """The best under one of three settings, not beaten under two, and a fourth that refuses."""
    trials = (
        Trial("Gap(x=1)", "a()", ("a()",), 0.9),
        Trial("Gap(x=2)", "b()", ("b()", "a()"), 0.4),
        Trial("Gap(x=3)", "b()", ("b()",), 0.2),
        Trial("Gap(x=4)", "", (), 0.0, "it cannot be asked"),
    )
    found = Persistence("a()", trials)
    assert (found.share, found.share_not_beaten) == (1 / 3, 2 / 3)
    assert found.chance == pytest.approx(0.5, abs=1e-12)
    assert repr(found) == "Persistence(a has the best mean under 1 of 3 settings, chance 0.50)"
    nothing = Agreement(math.nan, math.nan, math.nan, math.nan, 0, (), (), 0.95)
    _, row = findings(nothing, (), (), (), {"Gap()": found}, 0.8).rows
    assert row.words == (
        "a has the best mean by Gap under 1 of 3 other settings, and is not shown to be worse under 2. "
        "Were the inputs drawn anew, too, its chance to have the best mean would be 0.50 on average."
    )
    assert (row.figure, row.reached) == (1 / 3, False)
    lasting = Persistence("a()", trials[:2])
    _, row = findings(nothing, (), (), (), {"Gap()": lasting}, 0.8).rows
    assert (row.figure, row.reached) == (0.5, True)
    # On the page the same is said of those that were shown to be better.
    assert persists(found) == (
        "a() has the best mean under 1 of 3 other settings of its metric, and is shown to be worse than "
        "another under 1. Were the inputs drawn anew, it would have it with a chance of 0.50, on average "
        "over these settings."
    )


@final
@dataclass(frozen=True)
class Distance(Metric):
    """How far the credit of the first feature is from a number."""

    to: float = 0.0
    direction: ClassVar[Direction] = "lower"

    def read(
        self, question: Question, attributions: Sequence[Attribution], seed: int
    ) -> list[Reading]:
        return [Reading((each.values[:, 0] - self.to).abs()) for each in attributions]


def test_where_another_wins_the_chance_is_still_that_of_the_first_winner() -> None:
    asked = question(9)
    slope = Gradient()(asked)
    answers = {
        "small": replace(slope, values=torch.full_like(slope.values, 1.0)),
        "large": replace(slope, values=torch.full_like(slope.values, 3.0)),
    }
    comparison = compare(asked, answers, [Distance()], references=False)
    found = comparison.persistence(Distance(), {"to": [0.5, 4.0]})
    assert found.winner == "small"
    assert [trial.winner for trial in found.trials] == ["small", "large"]
    assert [trial.chance for trial in found.trials] == [1.0, 0.0]
    assert found.chance == 0.5


def test_settings_that_refuse_are_told_and_not_counted() -> None:
    comparison = compare(question(), [IntegratedGradients(), InputXGradient()], [Infidelity()])
    laws = [GaussianNoise(0.1), SubsetToBaseline()]
    trials = comparison.persistence(Infidelity(), {"perturbation": laws}).trials
    assert [bool(trial.refusal) for trial in trials] == [True, False]
    with pytest.raises(InputError, match="at least one value"):
        comparison.persistence(Infidelity(), {})
    with pytest.raises(InputError, match="a list of values"):
        comparison.persistence(Infidelity(), {"draws": "many"})
    with pytest.raises(AssayError, match="Did you mean"):
        comparison.persistence(Infidelity(), {"draw": [10]})


def test_a_metric_that_asks_again_gets_the_methods_back() -> None:
    comparison = compare(question(6), [Gradient(), InputXGradient()], [MaxSensitivity(radius=0.1)])
    persistence = comparison.persistence(MaxSensitivity(radius=0.1), {"radius": [0.05, 0.2]})
    assert all(trial.winner for trial in persistence.trials)


def test_a_mean_that_is_none_is_said_in_words() -> None:
    """Credit of zero has no shape: a terminal says so, and no `nan [nan, nan]`."""
    comparison = compare(question(8), [Gradient()], [Compactness()])
    console = Console(width=200, record=True)
    console.print(comparison)
    text = console.export_text()
    assert "no score" in text
    assert "nan" not in text


# --- in words, as a frame, as JSON


def test_every_finding_has_a_row_a_sentence_and_its_figures_in_json() -> None:
    methods = [Gradient(), InputXGradient(), IntegratedGradients(steps=8)]
    found = compare(question(), methods, [Infidelity(draws=20), Compactness()])
    settings = {"Infidelity": {"draws": [10, 40]}}
    reach = found.reach(settings=settings)
    frame = reach.to_pandas()
    counts = frame["about"].value_counts().to_dict()
    pairs = sum(len(ranking.pairs) for ranking in found.rankings.values())
    assert counts == {
        "agreement": 1,
        "sampling": len(found.scores),
        "inputs needed": pairs,
        "skill": len(found.skills()),
        "persistence": 1,
    }
    assert len(reach.words) == len(frame)
    assert all(reach.words)
    # The figures are those of the tables that they come from.
    assert reach.about("sampling").to_pandas()["figure"].tolist() == pytest.approx(
        found.sampling()["share"].tolist(), nan_ok=True
    )
    assert reach.about("inputs needed").to_pandas()["figure"].tolist() == pytest.approx(
        found.inputs_needed()["needed"].tolist(), nan_ok=True
    )
    assert reach.about("skill").to_pandas()["low"].tolist() == pytest.approx(
        found.skills()["low"].tolist(), nan_ok=True
    )
    kept = found.persistence("Infidelity", settings["Infidelity"])
    assert reach.about("persistence").rows[0].figure == kept.share
    assert f"best mean would be {kept.chance:.2f} on average" in reach.about("persistence").words[0]
    # Strict JSON: what is no finite number is null.
    read = json.loads(reach.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert [row["words"] for row in read] == list(reach.words)
    for row, finding in zip(read, reach.rows, strict=True):
        assert row["figure"] == (finding.figure if math.isfinite(finding.figure) else None)


def test_draws_that_are_not_enough_are_said_not_to_be() -> None:
    few = compare(question(), [InputXGradient()], [Infidelity(draws=4)], references=False)
    (row,) = few.reach().about("sampling").rows
    assert row.reached is False
    assert "a tenth of it is not reached" in row.words
    factor = float(few.sampling()["factor"][0])
    assert f"{factor:.1f} times as many" in row.words
    (alone,) = few.reach().about("agreement").rows
    assert math.isnan(alone.figure)
    assert "cannot be said" in alone.words
    nothing = compare(question(), [InputXGradient()], [Compactness()], references=False)
    (row,) = nothing.reach().about("sampling").rows
    assert row.reached is True
    assert row.words.startswith("Nothing is drawn")


def test_equal_means_are_told_apart_by_no_number_of_inputs() -> None:
    table = np.stack([np.arange(10.0), np.arange(10.0)[::-1]], axis=1)
    comparison = scored({"Gap": table}, {"Gap": "lower"})
    (row,) = comparison.reach().about("inputs needed").rows
    assert math.isinf(row.figure)
    assert "their means are equal" in row.words
    assert json.loads(comparison.reach().to_json())[-1]["figure"] is None
