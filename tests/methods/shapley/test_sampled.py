"""Sampled Shapley values: exact where promised, unbiased, with honest intervals.

Designs depend on the seed alone.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import SettingError
from assay.methods.shapley.coalitions import (
    allocation,
    capacity,
    designs,
    least_pairs,
    paired_design,
)
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.games import shapley_values, subsets
from assay.methods.shapley.kernel_shap import KernelShap, LowOrderShap, regress, with_empty_and_full
from assay.methods.shapley.mask_method import MaskMethod
from assay.methods.shapley.permutation import PermutationShapley, _orders
from assay.methods.shapley.proxy_shap import Proxy, ProxyShap, fit_proxy, regression_adjusted
from assay.methods.shapley.sampling import SamplingShapley
from assay.numerics.gaussian_process import negative_log_likelihood
from assay.numerics.statistics import widening
from assay.question.question import Question
from assay.removals.fixed import Background
from coalition_games import SEEDS, TOLERANCE, dividends, game, looked_up, repeated

PROXY = ProxyShap(budget=40)
SAMPLED = [
    KernelShap(budget=40),
    KernelShap(budget=40, weighting="kernel"),
    KernelShap(budget=60, weighting="leverage"),
    PermutationShapley(orderings=8),
]


# --- intervals


@pytest.mark.parametrize("method", [*SAMPLED, KernelShap(budget=28)], ids=repr)
def test_intervals_cover_as_often_as_they_say(method: MaskMethod) -> None:
    inside = []
    for which in range(3):
        table = dividends(8, 5, seed=which)
        values, errors = repeated(method, table, 8)
        inside.append(((values - shapley_values(table)).abs() <= 1.96 * errors).double().mean())
    assert 0.90 <= float(torch.stack(inside).mean()) <= 0.99


def test_the_proxys_intervals_cover_as_often_as_they_say() -> None:
    method, inside = ProxyShap(budget=60), []
    for which in range(3):
        table = dividends(8, 5, seed=which)
        values, errors = repeated(method, table, 8, seeds=67)
        inside.append(((values - shapley_values(table)).abs() <= 1.96 * errors).double().mean())
    assert 0.90 <= float(torch.stack(inside).mean()) <= 0.99


@pytest.mark.parametrize("which", range(3))
def test_permutations_are_unbiased(which: int) -> None:
    table = dividends(8, 5, seed=which)
    values, _ = repeated(PermutationShapley(orderings=8), table, 8)
    off = (values.mean(dim=0) - shapley_values(table)) / (values.std(dim=0) / SEEDS**0.5)
    assert (
        float(off.abs().max()) < 3.5
    )  # the largest of eight standard normals exceeds 3.5 once in 270


@pytest.mark.parametrize("which", range(3))
def test_the_bias_of_the_regression_is_far_inside_its_error(which: int) -> None:
    table = dividends(8, 5, seed=which)
    values, errors = repeated(KernelShap(budget=100), table, 8)
    assert (
        float((values.mean(dim=0) - shapley_values(table)).norm() / errors.mean(dim=0).norm())
        < 0.25
    )


def test_sampling_is_unbiased_and_its_intervals_cover() -> None:
    draw = np.random.default_rng(0)
    rows, x = (
        torch.from_numpy(draw.normal(size=(50, 4))),
        torch.tensor([[1.0, -2.0, 0.5, 1.5]], dtype=torch.float64),
    )
    question = Question(
        lambda x: x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3].abs(), x, removal=Background(rows)
    )
    truth = ExactShapley()(question).values[0]
    answers = [SamplingShapley(draws=30)(question, seed=s) for s in range(SEEDS)]
    values = torch.cat([a.values for a in answers])
    errors = torch.cat([a.standard_error for a in answers if a.standard_error is not None])
    assert 0.90 <= float(((values - truth).abs() <= 1.96 * errors).double().mean()) <= 0.99
    assert (
        float(((values.mean(dim=0) - truth) / (values.std(dim=0) / SEEDS**0.5)).abs().max()) < 4.0
    )
    assert max(float(a.gap.abs().max()) for a in answers if a.gap is not None) < TOLERANCE


def test_four_times_the_coalitions_at_least_halve_the_error() -> None:
    table = dividends(16, 3, seed=1)
    few, many = (
        KernelShap(budget=b).solve(looked_up(table, KernelShap(budget=b).masks(16, 0)), 16, 0)[1]
        for b in (400, 1600)
    )
    assert 2.0 < float((few / many).mean()) < 3.0


def test_errors_fall_as_the_budget_grows() -> None:
    table = dividends(10, 6, seed=2)
    truth, errors = shapley_values(table), []
    for budget in (40, 160, 640, 1022):
        method = KernelShap(budget=budget)
        found = [
            method.solve(looked_up(table, method.masks(10, s)), 10, s)[0] - truth for s in range(20)
        ]
        errors.append(float(torch.stack(found).norm(dim=1).mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[3] < TOLERANCE


# --- exactness


@pytest.mark.parametrize("features", [1, 2, 3])
def test_kernel_shap_is_exact_for_one_two_and_three_features(features: int) -> None:
    table = dividends(features, features, seed=features)
    answer = KernelShap()(game(table))
    torch.testing.assert_close(answer.values[0], shapley_values(table), rtol=0, atol=TOLERANCE)
    assert answer.standard_error is not None
    assert float(answer.standard_error.max()) == 0.0


@pytest.mark.parametrize("features", range(1, 9))
def test_regression_on_every_coalition_is_exact(features: int) -> None:
    table = torch.from_numpy(np.random.default_rng(features).normal(size=(3, 2**features)))
    for method in (
        LowOrderShap(),
        KernelShap(budget=max(2, 2**features - 2)),
        ProxyShap(budget=510),
    ):
        values, error = method.solve(looked_up(table, method.masks(features, 0)), features, 0)
        torch.testing.assert_close(values, shapley_values(table), rtol=0, atol=TOLERANCE)
        assert error is None or float(error.max()) == 0.0


@pytest.mark.parametrize("method", [*SAMPLED, PermutationShapley(orderings=2)], ids=repr)
def test_games_of_pairs_are_exact(method: MaskMethod) -> None:
    table = dividends(8, 2, seed=5)
    values, error = method.solve(looked_up(table, method.masks(8, 3)), 8, 3)
    torch.testing.assert_close(values, shapley_values(table), rtol=0, atol=TOLERANCE)
    assert error is None or float(error.max()) < TOLERANCE


@pytest.mark.parametrize("method", [*SAMPLED, PROXY, LowOrderShap()], ids=repr)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_local_accuracy(method: MaskMethod, seed: int) -> None:
    table = torch.from_numpy(np.random.default_rng(seed).normal(size=2**7))
    values = method.solve(looked_up(table, method.masks(7, seed % 5)), 7, seed % 5)[0]
    assert abs(float(values.sum() - (table[-1] - table[0]))) < TOLERANCE


def test_regression_is_weighted_least_squares_with_the_sum_as_a_constraint() -> None:
    """The slow twin: the normal equations of the paired coalitions, one feature eliminated."""
    table, design = dividends(6, 6, seed=8), paired_design(6, 13, seed=4)
    asked = looked_up(table, with_empty_and_full(design.half)).numpy()
    masks = with_empty_and_full(design.half)[2:].astype(float)
    weight, total = np.tile(design.weight, 2), asked[1] - asked[0]
    left = masks[:, :-1] - masks[:, -1:]
    right = asked[2:] - asked[0] - masks[:, -1] * total
    first = np.linalg.solve(left.T @ (weight[:, None] * left), left.T @ (weight * right))
    expected = torch.from_numpy(np.append(first, total - first.sum()))
    torch.testing.assert_close(
        regress(torch.from_numpy(asked), design)[0], expected, rtol=0, atol=TOLERANCE
    )


def test_the_standard_error_is_the_jackknife_over_pairs() -> None:
    """The slow twin: leave each pair out and solve again."""
    features, table, design = 6, dividends(6, 6, seed=8), paired_design(6, 14, seed=4)
    asked = looked_up(table, with_empty_and_full(design.half))
    values, error = regress(asked, design)
    variance = torch.zeros(features, dtype=torch.float64)
    total = float(asked[1] - asked[0])
    for j in range(design.pairs):
        keep = np.arange(design.pairs) != j
        left = design.centred[keep]
        odd = (asked[2:16] - asked[16:]).numpy()[keep] / 2 - (
            design.layer[keep] / features - 0.5
        ) * total
        without = np.linalg.lstsq(
            np.sqrt(design.weight[keep])[:, None] * left,
            np.sqrt(design.weight[keep]) * odd,
            rcond=None,
        )[0]
        variance += (1 - design.rate[j]) * (
            torch.from_numpy(without) + total / features - values
        ) ** 2
    torch.testing.assert_close(
        error, variance.sqrt() * widening(int((design.rate < 1).sum())), rtol=0, atol=TOLERANCE
    )


def test_permutations_are_mean_contributions_along_the_orderings() -> None:
    """The slow twin of the walks."""
    table, method = dividends(5, 5, seed=3), PermutationShapley(orderings=6)
    orders = _orders(5, 6, 2)
    expected = torch.zeros(5, dtype=torch.float64)
    for order in orders:
        joined = 0
        for i in order:
            expected[i] += (table[joined | 1 << int(i)] - table[joined]) / len(orders)
            joined |= 1 << int(i)
    values, _ = method.solve(looked_up(table, method.masks(5, 2)), 5, 2)
    torch.testing.assert_close(values, expected, rtol=0, atol=TOLERANCE)


# --- the proxy


def test_the_proxys_covariance_is_that_of_independent_odd_interactions() -> None:
    """The slow twin: the sum over odd sets of features of their variance and both coalitions'
    signs.
    """
    draw = np.random.default_rng(0)
    signs, relevance = np.where(draw.random((9, 5)) < 0.5, 1.0, -1.0), draw.uniform(0.1, 0.8, 5)
    odd = [list(t) for size in (1, 3, 5) for t in itertools.combinations(range(5), size)]
    variance = np.array([relevance[t].prod() for t in odd])
    characters = np.stack([signs[:, t].prod(axis=1) for t in odd], axis=1)
    proxy = Proxy(signs, relevance, 0.0)
    same, other = proxy.half_covariances
    np.testing.assert_allclose(
        same - other, characters * variance @ characters.T / variance.sum(), atol=TOLERANCE
    )
    shares = np.array([[2 / len(t) if i in t else 0.0 for i in range(5)] for t in odd])
    np.testing.assert_allclose(
        proxy.covariance_values(), (characters * variance) @ shares / variance.sum(), atol=TOLERANCE
    )
    np.testing.assert_allclose(
        proxy.prior_variances(), variance @ shares**2 / variance.sum(), atol=TOLERANCE
    )


def test_the_proxys_likelihood_has_the_slope_it_says() -> None:
    draw = np.random.default_rng(1)
    signs, answers = np.where(draw.random((20, 5)) < 0.5, 1.0, -1.0), draw.normal(size=20)
    at, step = np.append(draw.uniform(0.1, 0.6, 5), 0.05), 1e-6 * np.eye(6)

    def value(point: np.ndarray) -> float:
        same, other = Proxy(signs, point[:5], 0.0).half_covariances
        return negative_log_likelihood(same - other, float(point[5]), answers)[0]

    slopes = [(value(at + s) - value(at - s)) / 2e-6 for s in step]
    proxy = Proxy(signs, at[:5], 0.05)
    slope = negative_log_likelihood(
        proxy.half_covariances[0] - proxy.half_covariances[1], 0.05, answers
    )[1]
    np.testing.assert_allclose(
        np.append(proxy.relevance_gradient(slope), np.trace(slope)), slopes, atol=1e-10
    )


def test_the_proxy_is_a_gaussian_process_plus_the_regression_on_what_it_misses() -> None:
    """The slow twin: the posterior mean on every coalition, and the residual regressed on.

    The posterior mean is explained by enumeration.
    """
    table, design, masks = dividends(6, 6, seed=3), paired_design(6, 15, seed=0), subsets(6)
    asked = looked_up(table, with_empty_and_full(design.half))
    every, full = np.where(masks, 1.0, -1.0), np.ones((1, 6))
    signs = np.concatenate((np.where(design.half, 1.0, -1.0), full))
    odd = np.append((asked[2:17] - asked[17:]) / 2, (asked[1] - asked[0]) / 2)
    size = np.sqrt(np.mean(odd**2))
    proxy = fit_proxy(signs, odd / size)
    sets = [list(t) for k in (1, 3, 5) for t in itertools.combinations(range(6), k)]
    variance = np.array([proxy.relevance[t].prod() for t in sets])
    characters = [np.stack([at[:, t].prod(axis=1) for t in sets], axis=1) for at in (every, signs)]
    covariance = [at * variance @ characters[1].T / variance.sum() for at in characters]
    posterior = covariance[0] @ np.linalg.solve(
        covariance[1] + (proxy.noise + 1e-8) * np.eye(16), odd
    )
    rest = regress(
        looked_up(table - torch.from_numpy(posterior), with_empty_and_full(design.half)), design
    )[0]
    expected = shapley_values(torch.from_numpy(posterior)) + rest
    np.testing.assert_allclose(
        regression_adjusted(asked.numpy(), design)[0], expected, rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("budget", [50, 100, 200])
def test_the_proxy_errs_less_than_the_regression_where_games_have_structure(budget: int) -> None:
    draw = np.random.default_rng(0)
    masks = torch.tensor(subsets(10)).double()
    weights = torch.from_numpy(draw.normal(size=(10, 4)))
    table = (masks @ weights).tanh().prod(dim=1) + (masks @ weights[:, 0]).sin()
    truth = shapley_values(table)
    wrong = {
        kind: (repeated(kind(budget=budget), table, 10, seeds=10)[0] - truth).norm(dim=1).mean()
        for kind in (KernelShap, ProxyShap)
    }
    assert float(wrong[ProxyShap] / wrong[KernelShap]) < 0.8


def test_a_constant_game_gives_nothing() -> None:
    values, error = PROXY.solve(torch.ones(42, dtype=torch.float64), 8, 0)
    assert float(values.abs().max()) == float(error.max()) == 0.0


# --- designs


@given(
    st.integers(2, 12),
    st.integers(0, 400),
    st.sampled_from(["leverage", "kernel", "mixture"]),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_designs_hold_different_coalitions_with_weights_that_make_up_the_kernel(
    features: int, pairs: int, weighting: str, seed: int
) -> None:
    pairs = min(max(pairs, least_pairs(features)), 2 ** (features - 1) - 1)
    design = paired_design(features, pairs, seed, weighting)
    masks = with_empty_and_full(design.half)
    assert len(np.unique(masks, axis=0)) == len(masks) == 2 + 2 * pairs
    for size in np.unique(design.layer):
        own = design.layer == size
        assert (design.half[own].sum(axis=1) == size).all()
        weight = design.weight[own].sum() * (2 if 2 * size == features else 1)
        assert weight == pytest.approx(1 / (size * (features - size)), abs=TOLERANCE)


@given(st.integers(3, 14), st.integers(1, 200), st.integers(1, 200), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_larger_design_holds_the_smaller_one(features: int, a: int, b: int, seed: int) -> None:
    few, many = (min(n, 2 ** (features - 1) - 1) for n in sorted((a, b)))
    smaller, larger = paired_design(features, few, seed), paired_design(features, many, seed)
    known = larger.already_asked(smaller)
    np.testing.assert_array_equal(larger.half[known], smaller.half)
    assert int(known.sum()) == few


def test_layers_too_large_to_list_are_drawn_without_repeats() -> None:
    design = paired_design(60, 900, seed=1)
    assert len(np.unique(with_empty_and_full(design.half), axis=0)) == 1802
    assert design.half[design.layer == 30, 0].all()
    np.testing.assert_array_equal(
        paired_design(60, 1200, seed=1).half[paired_design(60, 1200, seed=1).already_asked(design)],
        design.half,
    )


def test_sizes_share_the_pairs_as_their_weights_say() -> None:
    assert allocation(20, 190, "leverage") == [20] * 9 + [10]
    assert allocation(20, 29, "leverage") == [20] + [1] * 9
    kernel = np.array(allocation(40, 4000, "kernel")) / 4000
    capped = [k for k in range(1, 21) if capacity(40, k) <= 1000]
    expected = np.array([(1 if k == 20 else 2) / (k * (40 - k)) for k in range(1, 21)])
    free = np.array([k not in capped for k in range(1, 21)])
    np.testing.assert_allclose(
        kernel[free] / kernel[free].sum(),
        expected[free] / expected[free].sum(),
        rtol=0,
        atol=2.5e-4,
    )


def test_designs_depend_on_the_seed_alone() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = KernelShap(budget=50).masks(9, 7)
    designs.cache_clear()
    np.testing.assert_array_equal(first, KernelShap(budget=50).masks(9, 7))
    assert not np.array_equal(first, KernelShap(budget=50).masks(9, 8))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("method", [SamplingShapley(draws=10**30), PermutationShapley(2 * 10**30)])
def test_more_orderings_than_memory_holds_are_refused(method: MaskMethod) -> None:
    with pytest.raises(SettingError, match="at most 16777216 orderings"):
        method(Question(lambda x: x.prod(1), torch.ones(1, 3) * 2))
