"""Quantitative input influence against its definitions, written out over sets, orderings and rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import assay
from assay import Background, Blur, Columns, Labels, Patches, Question
from assay.answers.attribution import Attribution
from assay.errors import InputError, KindError, SettingError
from assay.methods.base import Axiom, Method
from assay.methods.shapley.qii import Disparity, Group, Qii
from assay.numerics.pieces import pieces
from assay.registry.settings import parse

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(4, 4, generator=DRAW, dtype=torch.float64)
ROWS = torch.randn(6, 4, generator=DRAW, dtype=torch.float64)


def f(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 1] + (x[:, 2] + x[:, 0]).tanh() + x[:, 3].square() * x[:, 2]


def intervened(x: Tensor, away: frozenset[int] | set[int], rows: Tensor = ROWS) -> float:
    """E f(X_-S U_S): the features in S from one row of the data after another."""
    total = 0.0
    for row in rows:
        mixed = x.clone()
        mixed[list(away)] = row[list(away)]
        total += float(f(mixed[None])[0])
    return total / len(rows)


Worth = Callable[[frozenset[int]], float]


def individual(x: Tensor, rows: Tensor = ROWS) -> Worth:
    return lambda away: intervened(x, away, rows)


def shapley(worth: Worth, count: int = 4) -> list[float]:
    """The mean of iota(i, features before i) over all orderings.

    worth(S) is the quantity once S is drawn anew.
    """
    total = [0.0] * count
    for order in itertools.permutations(range(count)):
        for place, one in enumerate(order):
            before = frozenset(order[:place])
            total[one] += worth(before) - worth(before | {one})
    return [each / math.factorial(count) for each in total]


def banzhaf(worth: Worth, count: int = 4) -> list[float]:
    total = [0.0] * count
    for one in range(count):
        others = [other for other in range(count) if other != one]
        for size in range(count):
            for some in itertools.combinations(others, size):
                total[one] += worth(frozenset(some)) - worth(frozenset(some) | {one})
    return [each / 2 ** (count - 1) for each in total]


def question(x: Tensor = X) -> Question:
    return Question(f, x, removal=Background(ROWS))


def close(values: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        values, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10
    )


# --- one individual


def test_unary_influence_is_the_outcome_less_the_outcome_with_the_feature_drawn_anew() -> None:
    expected = [[float(f(x[None])[0]) - intervened(x, {i}) for i in range(4)] for x in X]
    close(Qii("unary")(question()).values, expected)


def test_set_and_marginal_influence_are_given_other_features() -> None:
    held = frozenset({1, 3})
    sets = [[float(f(x[None])[0]) - intervened(x, held | {i}) for i in range(4)] for x in X]
    close(Qii("set", given=(1, 3))(question()).values, sets)
    margins = [[intervened(x, held) - intervened(x, held | {i}) for i in range(4)] for x in X]
    close(Qii("marginal", given=(1, 3))(question()).values, margins)
    assert margins[0][1] == margins[0][3] == 0.0


@pytest.mark.parametrize(("measure", "slow"), [("shapley", shapley), ("banzhaf", banzhaf)])
def test_the_averages_over_sets_are_exact_where_the_budget_allows(
    measure: str, slow: Callable[[Worth], list[float]]
) -> None:
    answer = Qii(measure)(question())  # type: ignore[arg-type]
    close(answer.values, [slow(individual(x)) for x in X])
    assert answer.standard_error is None


def test_the_influence_of_nothing_given_is_unary() -> None:
    assert torch.equal(Qii("set")(question()).values, Qii("unary")(question()).values)
    assert torch.equal(Qii("marginal")(question()).values, Qii("unary")(question()).values)


def test_features_can_be_named_and_grouped() -> None:
    columns = Columns(names=("a", "b", "c", "d"), groups={"ab": ["a", "b"]})
    grouped = Question(f, X, features=columns, removal=Background(ROWS))
    assert grouped.partition.names[0] == "ab"
    expected = [
        [float(f(x[None])[0]) - intervened(x, away) for away in ({0, 1}, {2}, {3})] for x in X
    ]
    close(Qii("unary")(grouped).values, expected)
    both = [
        [float(f(x[None])[0]) - intervened(x, away | {2}) for away in ({0, 1}, {2}, {3})] for x in X
    ]
    close(Qii("set", given=("c",))(grouped).values, both)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 999))
def test_independent_draws_take_each_feature_from_a_row_of_its_own(seed: int) -> None:
    """Slow twin: every column of the rows shuffled on its own, then as for whole rows."""
    method = Qii("shapley", draws="independent")
    shuffled = method._shuffled(question(), seed)[0]
    for column in range(4):
        assert sorted(shuffled[:, column].tolist()) == sorted(ROWS[:, column].tolist())
    close(method(question(), seed=seed).values, [shapley(individual(x, shuffled)) for x in X])


def test_independent_draws_differ_from_whole_rows_where_columns_move_together() -> None:
    """U_1 = U_2 in every row: E[U_1 U_2] is E[U^2] jointly and E[U]^2 independently."""
    line = torch.linspace(-1, 1, 400, dtype=torch.float64)
    rows = torch.stack([line, line], dim=1)
    asked = Question(
        lambda z: z[:, 0] * z[:, 1], torch.ones(1, 2, dtype=torch.float64), removal=Background(rows)
    )
    joint = Qii("set", given=(0,))(asked).values[0, 1]
    alone = Qii("set", given=(0,), draws="independent")(asked).values[0, 1]
    assert float(joint) == pytest.approx(1 - float(line.square().mean()), abs=1e-10)
    assert float(alone) == pytest.approx(1.0, abs=4 * float(line.square().mean()) / math.sqrt(400))


def test_independent_draws_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Qii(draws="independent")(question()).values
    small = partial(pieces, limit=4 * 6 * 4 * 3)
    monkeypatch.setattr("assay.methods.shapley.qii.pieces", small)
    assert torch.equal(Qii(draws="independent")(question()).values, whole)


# --- several individuals


def mean(rows: list[int]) -> Worth:
    return lambda away: float(np.mean([intervened(X[row], away) for row in rows]))


@pytest.mark.parametrize(("measure", "slow"), [("shapley", shapley), ("banzhaf", banzhaf)])
def test_a_group_is_explained_by_its_average(
    measure: str, slow: Callable[[Worth], list[float]]
) -> None:
    answer = Qii(measure, quantity=Group((0, 2)))(question())  # type: ignore[arg-type]
    close(answer.values, [slow(mean([0, 2]))])
    assert float(answer.prediction) == pytest.approx(mean([0, 2])(frozenset()), abs=1e-10)
    assert float(answer.base) == pytest.approx(mean([0, 2])(frozenset(range(4))), abs=1e-10)


def test_the_influence_on_everyone_is_the_mean_influence() -> None:
    for measure in ("unary", "shapley", "banzhaf"):
        alone = Qii(measure)(question()).values.mean(dim=0, keepdim=True)  # type: ignore[arg-type]
        together = Qii(measure, quantity=Group())(question())  # type: ignore[arg-type]
        torch.testing.assert_close(together.values, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("absolute", [True, False])
def test_the_disparity_between_groups_is_explained_after_it_is_taken(absolute: bool) -> None:
    def gap(away: frozenset[int]) -> float:
        signed = mean([3, 1])(away) - mean([0, 2])(away)
        return abs(signed) if absolute else signed

    for second in ((0, 2), None):
        quantity = Disparity((3, 1), second, absolute)
        close(
            Qii("unary", quantity=quantity)(question()).values,
            [[gap(frozenset()) - gap(frozenset({i})) for i in range(4)]],
        )
        answer = Qii("shapley", quantity=quantity)(question())
        close(answer.values, [shapley(gap)])
        assert answer.gap is not None
        assert float(answer.gap) == pytest.approx(0.0, abs=1e-10)
        assert answer.facts["quantity"] == repr(quantity)


def test_a_quantity_is_of_all_inputs_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of several shards: the groups lie in different ones."""
    x = torch.randn(70, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    quantity = Disparity(tuple(range(20, 50)))
    method = Qii("shapley", quantity=quantity)
    whole = method(question(x))
    monkeypatch.setattr("assay.question.derivations._SHARD", 1)
    assert len(list(question(x).shards())) > 1
    sharded = method(question(x))
    torch.testing.assert_close(sharded.values, whole.values, rtol=0, atol=1e-10)
    outcomes = f(x)
    rest = [row for row in range(70) if not 20 <= row < 50]
    expected = abs(float(outcomes[20:50].mean() - outcomes[rest].mean()))
    assert sharded.prediction.shape == sharded.base.shape == (1,)
    assert float(sharded.prediction) == pytest.approx(expected, abs=1e-10)


def test_a_saved_answer_says_its_quantity(tmp_path: Path) -> None:
    quantity = Group((1, 2))
    answer = Qii("banzhaf", quantity=quantity)(question())
    answer.save(tmp_path / "group")
    again = Attribution.load(tmp_path / "group")
    assert again.facts["quantity"] == repr(quantity)
    assert parse(again.provenance["method"], Method) == Qii("banzhaf", quantity=quantity)


@pytest.mark.parametrize(
    "method",
    [
        Qii(),
        Qii("banzhaf", budget=14),
        Qii("set", given=(1,)),
        Qii("unary", draws="independent"),
        Qii("shapley", budget=20, quantity=Group((0, 2))),
        Qii("unary", quantity=Disparity((3,))),
        Qii("banzhaf", draws="independent", quantity=Disparity((3,), (1, 2))),
    ],
    ids=repr,
)
def test_every_output_is_answered_as_it_is_alone(method: Qii) -> None:
    rows = []

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        return torch.stack((f(x), x.sin().sum(dim=1), x.prod(dim=1)), dim=1)

    def asked(target: int) -> Question:
        return Question(model, X, target=target, removal=Background(ROWS))

    answers = method.for_outputs(asked(0), seed=5)
    shared = sum(rows)
    assert len(answers) == 3
    for output, answer in enumerate(answers):
        rows.clear()
        alone = method(asked(output), seed=5)
        for part in ("values", "prediction", "base", "gap", "standard_error"):
            one, other = getattr(answer, part), getattr(alone, part)
            assert (one is None) == (other is None), part
            if one is not None:
                torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
        assert answer.provenance == alone.provenance
        assert answer.facts.get("quantity") == alone.facts.get("quantity")
        assert answer.facts["outputs"] == 3
        if method.draws == "joint":
            # The clean inputs and those with everything removed are asked beside the table.
            assert shared <= sum(rows) + len(X) * (1 + len(ROWS))


def test_only_linear_quantities_keep_linearity() -> None:
    assert Axiom.LINEARITY in Qii(quantity=Group()).axioms
    assert Axiom.LINEARITY in Qii(quantity=Disparity((0,), absolute=False)).axioms
    assert Axiom.LINEARITY not in Qii(quantity=Disparity((0,))).axioms
    assert Axiom.COMPLETENESS in Qii(quantity=Disparity((0,))).axioms


def test_a_proxy_carries_the_disparity() -> None:
    """Column 0 holds the group, and column 1, which copies it, is all that the model reads.

    All disparity is column 1's.
    """
    x = torch.tensor(
        [[1.0, 1.0, 0.3], [1.0, 1.0, -0.4], [0.0, 0.0, 0.7], [0.0, 0.0, 0.1]], dtype=torch.float64
    )
    asked = Question(lambda z: z[:, 1], x, removal=Background(x))
    close(Qii("unary", quantity=Disparity((0, 1)))(asked).values, [[0.0, 1.0, 0.0]])


# --- sampled


@pytest.mark.parametrize("measure", ["shapley", "banzhaf"])
@pytest.mark.parametrize("quantity", [None, Disparity((0, 1), absolute=False)])
def test_stated_intervals_cover_the_exact_influence(
    measure: str, quantity: Disparity | None
) -> None:
    draw = torch.Generator().manual_seed(1)
    x, rows = (torch.randn(3, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    w = torch.randn(8, generator=draw, dtype=torch.float64)
    asked = Question(
        lambda z: (z @ w).tanh() + z[:, 0] * z[:, 1] * z[:, 2] + z[:, 3] * z[:, 4],
        x,
        removal=Background(rows),
    )
    masks = Qii("shapley").masks(8, 0)
    table = asked.value(torch.from_numpy(masks.copy())).double()
    table = table if quantity is None else quantity.of(table)
    number = masks @ (1 << np.arange(8))
    where = np.empty(256, dtype=np.int64)
    where[number] = np.arange(256)
    exact, _ = Qii(measure).solve(table, 8, 0)  # type: ignore[arg-type]
    sampled, hits = Qii(measure, budget=240), []  # type: ignore[arg-type]
    for seed in range(200):
        chosen = where[sampled.masks(8, seed) @ (1 << np.arange(8))]
        assert len(chosen) <= 240
        values, error = sampled.solve(table[:, chosen], 8, seed)
        assert error is not None
        hits.append(((values - exact).abs() <= 1.96 * error).double())
    assert 0.90 <= float(torch.stack(hits).mean()) <= 0.99


def test_sampled_answers_spend_at_most_the_budget() -> None:
    asked_rows = []

    def counted(z: Tensor) -> Tensor:
        asked_rows.append(len(z))
        return z.sum(dim=1).tanh()

    asked = Question(counted, torch.ones(1, 12, dtype=torch.float64))
    assert asked.prediction.shape == (1,)
    for measure in ("shapley", "banzhaf"):
        asked_rows.clear()
        answer = Qii(measure, budget=200).estimate(asked, 0)  # type: ignore[arg-type]
        assert answer.standard_error is not None
        assert sum(asked_rows) <= 200


def test_promises_follow_the_measure() -> None:
    assert Axiom.COMPLETENESS in Qii("shapley").axioms
    assert Axiom.COMPLETENESS not in Qii("banzhaf").axioms
    assert Axiom.SYMMETRY in Qii("unary").axioms
    assert Axiom.DUMMY not in Qii("set", given=(0,)).axioms
    method = Qii("marginal", given=(0, "b"), budget=9, draws="independent")
    assert eval(repr(method)) == method


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Qii("mean"), InputError, "banzhaf as measure"),  # type: ignore[arg-type]
        (lambda: Qii(draws="both"), InputError, "'independent'"),  # type: ignore[arg-type]
        (lambda: Qii("unary", given=(1,)), InputError, "'marginal' alone"),
        (lambda: Qii("set", given=("age",))(question()), InputError, "features out of 4"),
        (lambda: Qii("set", given=(4,))(question()), InputError, "features out of 4"),
        (lambda: Qii("shapley", budget=13)(question()), InputError, "budget of at least 14"),
        (lambda: Qii("banzhaf", budget=9)(question()), InputError, "budget of at least 10"),
        (lambda: Qii(quantity=(0, 1)), KindError, "quantity"),  # type: ignore[arg-type]
        (lambda: Qii(quantity=Group((0, 9)))(question()), InputError, "different rows"),
        (lambda: Qii(quantity=Group((0, 0)))(question()), InputError, "different rows"),
        (lambda: Qii(quantity=Disparity((0, 1, 2, 3)))(question()), InputError, "different rows"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make()


def test_independent_draws_need_rows_that_do_not_follow_the_mask() -> None:
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    blurred = Question(
        lambda z: z.flatten(1).sum(dim=1), images, features=Patches(2), removal=Blur(1.0)
    )
    assert Qii("unary", draws="independent")(blurred).values.shape == (2, 4)
    own = torch.arange(4).repeat(2, 1).flip(0)
    each = Question(f, X[:2], features=Labels(own), removal=Background(ROWS))
    with pytest.raises(InputError, match="independent draws"):
        Qii(draws="independent")(each)


def test_a_wrapper_hands_on_that_inputs_are_pooled() -> None:
    asked = question()
    inner = Qii("unary", quantity=Group())
    plain, magnitude = inner(asked), assay.Absolute(inner)(asked)
    assert magnitude.values.shape == plain.values.shape == (1, asked.partition.count)
    assert torch.equal(magnitude.values, plain.values.abs())
    assert torch.equal(magnitude.prediction, plain.prediction)
    with pytest.raises(SettingError, match="an answer for each input inside Smoothed"):
        assay.Smoothed(inner)
