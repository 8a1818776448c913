"""Thousands of features: designs, rates beyond what a float can say, budgets that nobody chose."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import assay
from assay.errors import InputError
from assay.methods.shapley import proxy_shap
from assay.methods.shapley.coalitions import (
    allocation,
    capacities,
    capacity,
    least_pairs,
    paired_design,
)
from assay.methods.shapley.kernel_shap import KernelShap
from assay.methods.shapley.proxy_shap import ProxyShap
from assay.methods.shapley.sampling import SamplingShapley


def sums(features: int) -> assay.Question:
    """A sum of unlike features, bent a little."""
    weights = np.random.default_rng(0).normal(size=features)

    def model(rows: np.ndarray) -> np.ndarray:
        added = rows @ weights
        return added + np.tanh(added / 30)

    return assay.Question(model, np.ones((1, features)))


@pytest.mark.parametrize(
    "method", [KernelShap(), KernelShap(budget=3090), KernelShap(budget=4500, until=0.2)], ids=repr
)
def test_more_pairs_than_a_float_can_say(method: KernelShap) -> None:
    weights = np.random.default_rng(0).normal(size=1030)
    answer = method(sums(1030))
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-9
    slope = float(answer.values.sum()) / weights.sum()
    np.testing.assert_allclose(answer.values[0].numpy(), slope * weights, atol=0.02)


def test_rates_are_quotients_of_whole_numbers() -> None:
    features = 1100
    design = paired_design(features, least_pairs(features), 0)
    counts = np.bincount(design.layer)
    for size in (1, 2, 100, 550):
        exact = Fraction(int(counts[size]), capacity(features, size))
        assert set(design.rate[design.layer == size]) == {float(exact)}
    assert capacities(12) == [math.comb(12, size) for size in range(1, 6)] + [462]


def test_seats_go_by_websters_rule() -> None:
    # The slow definition: every quotient listed, the dearest win, ties go to the smaller size.
    features, pairs = 9, 60
    shares = np.array([2.0, 2.0, 2.0, 2.0]) / 8
    listed = []
    for size in range(1, 5):
        for place in range(min(math.comb(features, size), pairs)):
            required = place < (features if size == 1 else 1)
            value = math.inf if required else shares[size - 1] / (2 * place + 1)
            listed.append((-value, size, place))
    winners = sorted(listed)[:pairs]
    expected = [sum(size == winner for _, winner, _ in winners) for size in range(1, 5)]
    assert allocation(features, pairs, "leverage") == expected


def test_a_default_budget_grows_with_the_features() -> None:
    answer = assay.explain(lambda rows: rows.sum(axis=1), np.ones((1, 700)))
    assert answer.method.startswith("KernelShap")
    np.testing.assert_allclose(answer.values.numpy(), np.ones((1, 700)), atol=1e-9)
    with pytest.raises(InputError, match="leave it out \\(then it is 2098\\)"):
        KernelShap(budget=2048)(sums(700))


@pytest.mark.parametrize("features", [100, 200])
def test_a_proxy_that_misses_a_sum_is_left_out(features: int) -> None:
    question = sums(features)
    exact = KernelShap(budget=4000)(question).values
    answer = ProxyShap(budget=5 * features)(question)
    error = (answer.values - exact).abs()
    assert float(error.max()) < 0.02
    assert answer.standard_error is not None
    assert float((error <= 3 * answer.standard_error + 1e-3).double().mean()) > 0.9


def test_draws_share_their_calls() -> None:
    calls = []

    def model(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return rows.sum(axis=1)

    question = assay.Question(assay.wrap(model, batch_size=1000), np.ones((1, 3)))
    SamplingShapley(100)(question)
    assert sum(calls) <= 100 * 5 + 8
    assert len(calls) < 20


def test_methods_that_check_each_other_walk_orderings_of_their_own() -> None:
    def model(rows: np.ndarray) -> np.ndarray:
        return rows.prod(axis=1)

    question = assay.Question(model, np.arange(1.0, 9.0)[None])
    one = assay.PermutationShapley(40)(question)
    other = SamplingShapley(20)(question)
    assert bool((one.values != other.values).any())


@pytest.mark.parametrize(("features", "budget"), [(204, 1024), (205, 1025), (1000, 5000)])
def test_a_proxy_whose_budget_nobody_chose_has_enough(features: int, budget: int) -> None:
    design = ProxyShap().design(features, seed=0)
    assert 2 * len(design.half) == budget // 2 * 2
    assert ProxyShap().held(features) == 2 + budget


def test_a_proxy_of_300_features_is_asked_without_a_budget() -> None:
    answer = ProxyShap()(sums(300))
    assert float(answer.gap.abs().max()) < 1e-10  # type: ignore[union-attr]
    # Coalitions with the empty and the full one, and five rows of the chores: two alone and
    # together, the clean one, the absent one.
    assert answer.facts["forwards"] - 1502 in range(1, 7)


def test_a_budget_that_was_chosen_is_kept() -> None:
    with pytest.raises(InputError, match=r"leave it out .then it is 1500"):
        ProxyShap(budget=1024).design(300, seed=0)


def test_a_proxy_learns_its_settings_from_a_bounded_number_of_coalitions() -> None:
    """Each step of that search factors a matrix as large as they are many."""
    chosen = proxy_shap._training_coalitions(5000)
    # The full one, and others of every size alike, each once.
    assert len(set(chosen.tolist())) == len(chosen) == 300
    assert chosen[0] == 4999
    spread = np.bincount(chosen[1:] // 500, minlength=10)
    assert spread.min() >= 28
    assert len(proxy_shap._training_coalitions(40)) == 40
