"""Intervals, paired tests, letters and ranks against slow twins written from the definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from assay.errors import InputError
from assay.numerics import rng, statistics, studentised


def sample(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(size=(n, k))


def drawn_inputs(n: int, seed: int, resamples: int) -> np.ndarray:
    return rng.shared(seed, f"bootstrap {n}").integers(0, n, (resamples, n))


def interval_by_definition(
    values: np.ndarray, resampled_inputs: np.ndarray, level: float
) -> tuple[float, float]:
    """Student's interval and Hall's (1988), one resample at a time, and the hull of both."""
    n = len(values)
    mean = values.mean()
    error = values.std(ddof=1) / np.sqrt(n)
    quantile = stats.t.ppf((1 + level) / 2, n - 1)
    if n < 8:
        return math.nan, math.nan
    ratios = []
    for inputs in resampled_inputs:
        again = values[inputs]
        spread = again.std(ddof=1) / np.sqrt(n)
        # A resample of one value alone says nothing.
        if np.ptp(again) > 0:
            ratios.append((again.mean() - mean) / spread)
    ratios.sort()
    below = ratios[math.floor((1 - level) / 2 * (len(ratios) - 1))]
    above = ratios[math.ceil((1 + level) / 2 * (len(ratios) - 1))]
    student = quantile * error
    # What tails there are decides how much of the bootstrap counts.
    tails = min(max(stats.kurtosis(values, fisher=False) - 2.5 + 10 / n, 2 / n), 1.0)
    stretch = tails * n / (n - 5)
    below_mean = student + max(above * error - student, 0) * stretch
    above_mean = student + max(-below * error - student, 0) * stretch
    return mean - min(below_mean, 10 * student), mean + min(above_mean, 10 * student)


@pytest.mark.parametrize("n", [2, 7, 8, 11, 40, 150])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_interval_from_the_definition(n: int, level: float) -> None:
    values = sample(n, 1)[:, 0]
    expected = interval_by_definition(values, drawn_inputs(n, 5, 999), level)
    assert statistics.interval(values, level, seed=5, resamples=999) == pytest.approx(
        expected, rel=1e-10, nan_ok=True
    )


def test_resamples_of_one_value_alone_are_left_out() -> None:
    """Of six zeros and two values a tenth of the resamples has no spread."""
    values = np.array([0.0] * 6 + [1.0, 3.0])
    expected = interval_by_definition(values, drawn_inputs(8, 5, 999), 0.95)
    found = statistics.interval(values, seed=5, resamples=999)
    assert found == pytest.approx(expected, rel=1e-10)
    # And Student's alone would end here.
    assert found[1] > 1.05 * (0.5 + stats.t.ppf(0.975, 7) * values.std(ddof=1) / math.sqrt(8))


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    table = sample(30, 4)
    whole = statistics.intervals(table, resamples=500)
    flips = statistics.sign_flip(table - 1.5, resamples=500)
    for module in (statistics, studentised):
        monkeypatch.setattr(module, "BLOCK", 700)
    np.testing.assert_allclose(statistics.intervals(table, resamples=500), whole, rtol=1e-12)
    np.testing.assert_array_equal(statistics.sign_flip(table - 1.5, resamples=500), flips)


def test_degenerate_columns() -> None:
    assert all(math.isnan(bound) for bound in statistics.interval([1.0]))
    assert all(math.isnan(bound) for bound in statistics.interval([]))
    assert all(math.isnan(bound) for bound in statistics.interval([math.nan, math.nan, 1.0]))
    assert all(math.isnan(bound) for bound in statistics.interval([0.1] * 7))
    assert statistics.interval([0.1] * 8) == (0.1, 0.1)
    assert statistics.interval([0.0] * 8) == (0.0, 0.0)
    sizes = np.array([1.0, 3.0, 8.0, 9.0, 2.0, 2.0, 4.0, 5.0])
    tiny = statistics.interval(sizes * 1e-200)
    huge = statistics.interval(sizes * 1e200)
    np.testing.assert_allclose(np.array(tiny) * 1e200, np.array(huge) / 1e200, rtol=1e-12)


def test_missing_inputs_are_left_out_of_their_column_alone() -> None:
    table = sample(20, 3)
    table[[2, 9], 1] = math.nan
    together = statistics.intervals(table, resamples=999)
    for k in range(3):
        there = table[~np.isnan(table[:, k]), k]
        np.testing.assert_allclose(
            together[k], statistics.interval(there, resamples=999), rtol=1e-12
        )


def skewed_zeros(generator: np.random.Generator, size: tuple[int, int]) -> Any:
    return generator.exponential(size=size) * (generator.uniform(size=size) < 0.5)


@pytest.mark.parametrize("n", [8, 10, 20, 50])
@pytest.mark.parametrize("law", ["normal", "exponential", "lognormal", "rounded", "half zero"])
def test_the_interval_covers_the_true_mean(law: str, n: int) -> None:
    """Between 92 and 98 % of samples, by the whole study; here within three standard errors of it."""
    generator = np.random.default_rng(1)
    # Where it is hardest, enough of them to see a share of 90 %.
    samples = 4000 if n <= 10 else 1000
    if law == "rounded":
        columns = np.round(generator.exponential(size=(n, samples)))
    elif law == "half zero":
        columns = skewed_zeros(generator, (n, samples))
    else:
        columns = getattr(generator, law)(size=(n, samples))
    true = {"normal": 0.0, "exponential": 1.0, "lognormal": math.exp(0.5), "half zero": 0.5}.get(
        law, 1 / (math.exp(0.5) - math.exp(-0.5))
    )
    bounds = statistics.intervals(columns, resamples=999)
    covered = np.mean((bounds[:, 0] <= true) & (bounds[:, 1] >= true))
    slack = 3 * math.sqrt(0.92 * 0.08 / samples)
    assert 0.92 - slack <= covered <= 0.98 + slack


@pytest.mark.parametrize("n", [20, 50])
def test_an_interval_of_scores_without_tails_is_no_longer_than_it_has_to_be(n: int) -> None:
    """Arcsine scores of 20 inputs: 96.6 % of samples, 98.1 where the bootstrap counted by their skewness."""
    columns = np.random.default_rng(2).beta(0.5, 0.5, size=(n, 8000))
    bounds = statistics.intervals(columns, resamples=999)
    covered = np.mean((bounds[:, 0] <= 0.5) & (bounds[:, 1] >= 0.5))
    # Three standard errors of a share of 8,000 about 96.6 and 95 %.
    assert 0.94 <= covered <= 0.973


@pytest.mark.parametrize("n", [20, 33, 50, 100])
def test_two_values_are_a_coin_whose_interval_holds_at_every_rate(n: int) -> None:
    """Exactly, over all numbers of successes: from 4 expected ones of each kind on."""
    columns = np.where(np.arange(n)[:, None] < np.arange(n + 1), 5.0, 3.0)
    bounds = (statistics.intervals(columns, resamples=99) - 3) / 2
    rates = np.linspace(4 / n, 1 - 4 / n, 201)
    chances = stats.binom.pmf(np.arange(n + 1)[:, None], n, rates)
    holds = (bounds[:, :1] - 1e-12 <= rates) & (rates <= bounds[:, 1:] + 1e-12)
    covered = (chances * holds).sum(axis=0)
    assert covered.min() >= 0.92
    assert covered.max() <= 0.98
    # Wilson's, in the units of the values.
    assert bounds[7] == pytest.approx(statistics.wilson(7, n), abs=1e-12)


def test_two_values_of_few_inputs_may_have_a_third_that_was_not_seen() -> None:
    values = np.array([0.0] * 12 + [1.0] * 7)
    found = statistics.interval(values, seed=5, resamples=999)
    expected = interval_by_definition(values, drawn_inputs(19, 5, 999), 0.95)
    assert found == pytest.approx(expected, rel=1e-10)
    # And of many, where it was.
    more = np.array([0.0] * 12 + [1.0] * 7 + [2.0])
    expected = interval_by_definition(more, drawn_inputs(20, 5, 999), 0.95)
    assert statistics.interval(more, seed=5, resamples=999) == pytest.approx(expected, rel=1e-10)


def test_an_unseen_value_reaches_as_student_with_a_part_of_an_input_more() -> None:
    """By weights: nine inputs of weight 1, and one of a quarter."""
    values = np.array([1.0, 2.0, 4.0, 4.0, 5.0, 7.0, 7.0, 9.0, math.nan, 3.0])
    weights = np.array([1.0] * 9 + [0.25])
    every = np.append(values[~np.isnan(values)], 20.0)
    mean = np.average(every, weights=weights)
    variance = np.average((every - mean) ** 2, weights=weights)
    expected = stats.t.ppf(0.95, 8) * math.sqrt(variance / 9)
    found = studentised.unseen_reach(values[:, None], np.array([20.0]), 0.25, 0.9)
    assert found == pytest.approx([expected], rel=1e-12)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=20),
    st.floats(-100, 100),
    st.floats(0.01, 100),
)
# Resamples of the last ones alone have a spread below the rounding of their squares.
@example([0.0, 288.13755305046107, 1.0, *[1.0000001192092896] * 5], 0.0, 19.0)
@settings(max_examples=40, deadline=None)
def test_interval_moves_with_the_values(values: list[float], shift: float, scale: float) -> None:
    low, high = statistics.interval(values, resamples=199)
    moved = statistics.interval([shift + scale * v for v in values], resamples=199)
    size = abs(shift) + scale * max(map(abs, values))
    assert low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high
    if np.std(values) > 1e-6 * (1 + size / scale):
        assert moved == pytest.approx(
            (shift + scale * low, shift + scale * high), abs=1e-9 * (1 + size), rel=1e-9
        )


def test_wilson_agrees_with_scipy() -> None:
    for successes, n in [(0, 10), (3, 10), (10, 10), (7, 200)]:
        expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert statistics.wilson(successes, n) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )
    assert all(math.isnan(bound) for bound in statistics.wilson(0, 0))
    with pytest.raises(InputError, match="Count the hits"):
        statistics.wilson(11, 10)


def flips_by_definition(d: np.ndarray) -> float:
    hits = [
        abs(np.dot(s, d)) >= abs(d.sum()) - 1e-9 for s in itertools.product((-1, 1), repeat=len(d))
    ]
    return float(np.mean(hits))


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_sign_flip_enumerates_every_sign(n: int) -> None:
    table = np.random.default_rng(n).normal(0.7, 1.0, (n, 5))
    table[:, 4] = 0.1
    expected = [flips_by_definition(table[:, k]) for k in range(5)]
    np.testing.assert_allclose(statistics.sign_flip(table), expected, rtol=0, atol=1e-12)


def test_sign_flip_by_hand() -> None:
    assert statistics.sign_flip([[0.0], [0.0]]).tolist() == [1.0]
    assert statistics.sign_flip(np.full((14, 1), 0.1)).tolist() == [2 / 2**14]
    assert statistics.sign_flip(np.full((30, 1), 0.1), resamples=999).tolist() == [1 / 1000]
    assert np.isnan(statistics.sign_flip([[math.nan], [math.nan]])).all()


def test_sampled_flips_agree_with_a_loop_and_with_scipy() -> None:
    d = np.random.default_rng(2).normal(0.4, 1.0, 20)
    signs = 1 - 2 * rng.shared(0, "signs 20").integers(0, 2, (9999, 20))
    hits = sum(abs(float(np.dot(s, d))) >= abs(d.sum()) for s in signs)
    p = statistics.sign_flip(d[:, None])[0]
    assert p == (1 + hits) / 10000
    reference = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=99999, rng=1
    ).pvalue
    assert abs(p - reference) < 5 * math.sqrt(reference / 9999)


def test_sign_flip_is_honest_under_the_null() -> None:
    table = np.random.default_rng(4).normal(size=(25, 2000))
    p = statistics.sign_flip(table, resamples=999)
    assert abs(np.mean(p <= 0.05) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_paired_facts_by_hand() -> None:
    first = [3.0, 2.0, 5.0, math.nan, 1.0, 4.0, 4.0, 4.0, 4.0]
    answer = statistics.paired(first, [1.0, 2.0, 1.0, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0])
    d = np.array([2.0, 0.0, 4.0, -1.0, 1.0, 2.0, 3.0, 0.0])
    assert answer.difference == pytest.approx(11 / 8, abs=1e-12)
    assert answer.effect == pytest.approx(11 / 8 / d.std(ddof=1), rel=1e-12)
    assert answer.wins == pytest.approx((1 + 0.5 + 1 + 0 + 1 + 1 + 1 + 0.5) / 8, abs=1e-12)
    assert answer.n == 8
    assert answer.p == pytest.approx(flips_by_definition(d), abs=1e-12)
    assert (answer.low, answer.high) == statistics.interval(d)
    assert statistics.paired([2.0, 2.0], [1.0, 1.0]).effect == math.inf
    assert statistics.paired([1.0, 2.0], [1.0, 2.0]).effect == 0.0
    nothing = statistics.paired([math.nan], [1.0])
    assert nothing.n == 0
    assert math.isnan(nothing.difference)
    assert eval(repr(answer), {"Paired": statistics.Paired}) == answer


def test_every_pair_is_every_paired() -> None:
    table = sample(18, 4)
    table[3, 2] = math.nan
    answers = statistics.every_pair(table, resamples=499)
    assert list(answers) == list(itertools.combinations(range(4), 2))
    for (i, j), answer in answers.items():
        alone = statistics.paired(table[:, i], table[:, j], resamples=499)
        assert (answer.p, answer.n, answer.wins) == (alone.p, alone.n, alone.wins)
        assert (answer.low, answer.high) == pytest.approx((alone.low, alone.high), rel=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_procedure(p: list[float]) -> None:
    adjusted = statistics.holm([*p, math.nan])
    assert math.isnan(adjusted[-1])
    upward = np.argsort(p, kind="stable")
    steps = [(len(p) - step) * p[i] for step, i in enumerate(upward)]
    expected = [min(1.0, max(steps[: step + 1])) for step in range(len(p))]
    np.testing.assert_allclose(adjusted[upward], expected, rtol=1e-12)
    for level in (0.01, 0.05, 0.3):
        rejected: set[int] = set()
        for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if (len(p) - step) * p[i] > level:
                break
            rejected.add(i)
        assert {i for i in range(len(p)) if adjusted[i] <= level} == rejected


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(InputError, match="raw ones"):
        statistics.holm([0.2, 1.2])
    assert statistics.holm([]).tolist() == []


@given(
    st.integers(1, 7).flatmap(
        lambda k: st.tuples(st.just(k), st.sets(st.tuples(*[st.integers(0, k - 1)] * 2)))
    )
)
def test_letters_are_shared_exactly_by_the_indistinguishable(
    case: tuple[int, set[tuple[int, int]]],
) -> None:
    k, pairs = case
    differ = np.zeros((k, k), dtype=bool)
    for i, j in pairs:
        differ[i, j] = differ[j, i] = i != j
    display = statistics.letters(differ)
    for i, j in itertools.combinations(range(k), 2):
        assert bool(set(display[i]) & set(display[j])) == (not differ[i, j])
    groups = [
        {i for i in range(k) if letter in display[i]} for letter in sorted(set("".join(display)))
    ]
    assert not any(one < other for one in groups for other in groups)
    assert all(display)
    assert "a" in display[0]


def test_letters_follow_the_order() -> None:
    differ = np.array([[False, True, True], [True, False, False], [True, False, False]])
    assert statistics.letters(differ, [1, 2, 0]) == ("b", "a", "a")
    assert statistics.letters(differ, [1, 0]) == ("b", "a", "")
    with pytest.raises(InputError, match="symmetric"):
        statistics.letters([[False, True], [False, False]])


def test_ranks_by_definition() -> None:
    table = sample(12, 3, seed=6)
    means = table[drawn_inputs(12, 0, 499)].mean(axis=1)
    places = np.argsort(np.argsort(means, axis=1), axis=1)
    expected = [[np.mean(places[:, k] == place) for place in range(3)] for k in range(3)]
    np.testing.assert_allclose(
        statistics.ranks(table, "lower", resamples=499), expected, atol=1e-12
    )
    np.testing.assert_allclose(
        statistics.ranks(table, "higher", resamples=499), np.fliplr(expected), atol=1e-12
    )


def test_ranks_share_ties_and_skip_the_absent() -> None:
    one = sample(9, 1)
    table = np.hstack([one, one, np.full((9, 1), math.nan), one + 1])
    chances = statistics.ranks(table, "lower", resamples=199)
    np.testing.assert_allclose(chances[0], [0.5, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_allclose(chances[1], [0.5, 0.5, 0, 0], atol=1e-12)
    assert np.isnan(chances[2]).all()
    np.testing.assert_allclose(chances[3], [0, 0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statistics.interval([[1.0, 2.0]]), "one number per input"),
        (lambda: statistics.intervals([1.0, 2.0]), "one column per method"),
        (lambda: statistics.interval([1.0, math.inf]), "finite or NaN"),
        (lambda: statistics.interval([1.0, 2.0], level=95), "0.95"),
        (lambda: statistics.interval([1.0, 2.0], resamples=0), "at least 1"),
        (lambda: statistics.paired([1.0, 2.0], [1.0]), "same inputs"),
        (lambda: statistics.ranks([[1.0]], direction="up"), "lower"),
    ],
)
def test_refusals_say_what_to_do(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=words):
        call()


def test_same_seed_same_answer_and_no_global_generator() -> None:
    table = sample(30, 3)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = statistics.every_pair(table, seed=1, resamples=99)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(9)  # noqa: NPY002
    assert statistics.every_pair(table, seed=1, resamples=99) == first
    assert statistics.every_pair(table, seed=2, resamples=99) != first
