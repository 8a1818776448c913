"""Kendall's W beside its definition by pairs of judges, and its closed forms."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from scipy.stats import t as student

from assay.errors import InputError
from assay.numerics import statistics
from assay.numerics.concordance import concordances, kendall_w, mean_concordance


def twin(table: np.ndarray) -> float:
    """W of untied judges from the mean of Spearman's correlations: r = (m W - 1) / (m - 1)."""
    judges = len(table)
    pairs = [spearmanr(table[i], table[j])[0] for i, j in combinations(range(judges), 2)]
    return float((np.mean(pairs) * (judges - 1) + 1) / judges)


@given(st.integers(2, 6), st.integers(2, 7), st.integers(0, 10_000))
def test_it_is_the_mean_rank_correlation_of_judges(judges: int, things: int, seed: int) -> None:
    table = np.random.default_rng(seed).normal(size=(judges, things))
    assert kendall_w(table) == pytest.approx(twin(table), abs=1e-10)


def test_ties_are_corrected_as_kendall_and_smith_have_it() -> None:
    """Siegel and Castellan's form by hand: sums of squares of mean ranks."""
    table = np.array([[1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 2.0, 4.0], [2.0, 1.0, 3.0, 3.0]])
    places = np.stack([rankdata(row) for row in table])
    m, k = table.shape
    means = places.sum(0) / m
    ties = 3 * (2**3 - 2)
    by_hand = (12 * (means**2).sum() - 3 * k * (k + 1) ** 2) / (k * (k * k - 1) - ties / m)
    assert kendall_w(table) == pytest.approx(by_hand, abs=1e-12)


def test_one_judge_has_no_concordance_and_nan_is_refused() -> None:
    assert math.isnan(kendall_w([[1.0, 2.0]]))
    assert math.isnan(kendall_w([[1.0, 1.0], [2.0, 2.0]]))
    with pytest.raises(InputError, match="finite scores"):
        kendall_w([[1.0, math.nan], [1.0, 2.0]])
    with pytest.raises(InputError, match="table"):
        kendall_w([1.0, 2.0])


@given(st.integers(2, 4), st.integers(2, 5), st.integers(0, 10_000))
def test_many_tables_at_once_are_each_alone(judges: int, things: int, seed: int) -> None:
    """Also with ties, by Siegel and Castellan's form."""
    tables = np.random.default_rng(seed).integers(0, 4, (20, judges, things)).astype(float)
    found = concordances(tables)
    for table, w in zip(tables, found, strict=True):
        places = np.stack([rankdata(row) for row in table])
        means = places.sum(0) / judges
        sizes = [np.unique(row, return_counts=True)[1] for row in table]
        ties = sum(float((size**3 - size).sum()) for size in sizes)
        below = things * (things**2 - 1) - ties / judges
        if below < 1e-9:
            assert math.isnan(w)
        else:
            square = 12 * (means**2).sum() - 3 * things * (things + 1) ** 2
            assert w == pytest.approx(square / below, abs=1e-10)


def test_the_mean_over_inputs_leaves_out_what_has_no_w() -> None:
    tables = np.random.default_rng(0).normal(size=(12, 3, 4))
    tables[2, 1, 3] = math.nan
    tables[5] = 1.0
    found = mean_concordance(tables)
    w = [kendall_w(tables[k]) for k in range(12) if k not in (2, 5)]
    assert found.n == 10
    assert found.w == pytest.approx(np.mean(w), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(statistics.interval(w), abs=1e-12)
    at_80 = mean_concordance(tables, 0.8)
    assert (at_80.low, at_80.high) == pytest.approx(statistics.interval(w, 0.8), abs=1e-12)
    few = mean_concordance(tables[:9])
    assert few.n == 7
    assert math.isnan(few.low)
    assert math.isnan(mean_concordance(np.full((9, 2, 2), math.nan)).w)


def test_two_judges_of_two_things_have_a_rate() -> None:
    table = np.array([[[0.0, 1.0], [2.0, 3.0]]] * 7 + [[[0.0, 1.0], [3.0, 2.0]]] * 3)
    found = mean_concordance(table)
    assert (found.low, found.high) == statistics.wilson(7, 10)
    at_80 = mean_concordance(table, 0.8)
    assert (at_80.low, at_80.high) == statistics.wilson(7, 10, 0.8)
    # Wilson has an interval of any number, and W of 8 or more.
    few = mean_concordance(table[1:8])
    assert (few.n, few.w) == (7, 6 / 7)
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert not math.isnan(mean_concordance(table[:8]).low)


def test_where_nearly_all_agree_one_that_does_not_is_thought_of() -> None:
    """Nine inputs with W = 1 and one of 7 / 9: the lower end is Student's with a twelfth of 1 / 3 more."""
    tables = np.tile(np.array([0.0, 1.0, 2.0, 3.0]), (10, 3, 1))
    tables[0, 2] = [1.0, 0.0, 3.0, 2.0]
    w = np.array([kendall_w(table) for table in tables])
    weights = np.array([1.0] * 10 + [1 / 12])
    every = np.append(w, 1 / 3)
    centre = np.average(every, weights=weights)
    variance = np.average((every - centre) ** 2, weights=weights)
    found = mean_concordance(tables)
    reach = student.ppf(0.975, 9) * math.sqrt(variance / 10)
    assert found.low == pytest.approx(w.mean() - reach, abs=1e-12)
    assert found.low < statistics.interval(w)[0]
    assert found.high == 1.0


def test_inputs_whose_w_differ_show_their_spread_and_nothing_is_thought_of() -> None:
    """Six things far apart: W is above 0.9, in many values, and its mean has the interval of a mean."""
    draw = np.random.default_rng(4)
    tables = 2 * np.arange(6.0) + draw.normal(size=(10, 3, 6))
    w = concordances(tables)
    assert np.unique(np.round(w, 9), return_counts=True)[1].max() < 5
    assert w.mean() > 0.9
    found = mean_concordance(tables)
    assert (found.low, found.high) == pytest.approx(statistics.interval(w), abs=1e-12)


TURNED = np.array([[0.0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 3, 2]])
"""Means of 4 things by 3 judges, of which one has two things the other way round."""

ALIKE = np.array([[0.0, 1, 2, 3]] * 3)


def ranked(
    draw: Any, law: str, shape: tuple[int, ...], gap: float, means: np.ndarray = TURNED
) -> Any:
    """Scores (..., 3 judges, 4 things)."""
    return gap * means + getattr(draw, law)(size=(*shape, 3, 4))


def covered(law: str, n: int, gap: float, samples: int, means: np.ndarray = TURNED) -> float:
    """The share of samples whose interval holds the mean of W over 200,000 inputs."""
    draw = np.random.default_rng(0)
    truth = float(np.nanmean(concordances(ranked(draw, law, (200_000,), gap, means))))
    hits = 0
    for seed in range(samples):
        found = mean_concordance(ranked(draw, law, (n,), gap, means), seed=seed)
        hits += found.low <= truth <= found.high
    return hits / samples


@pytest.mark.parametrize("n", [10, 25])
@pytest.mark.parametrize("law", ["normal", "lognormal"])
def test_the_interval_of_w_covers_its_mean(law: str, n: int) -> None:
    # 92 to 98 %, and three standard errors of a share of 100 samples.
    assert 0.92 - 0.08 <= covered(law, n, 1.0, 100) <= 1.0


@pytest.mark.long
@pytest.mark.parametrize("gap", [0.3, 1.0])
@pytest.mark.parametrize("n", [10, 25, 50])
@pytest.mark.parametrize("law", ["normal", "exponential", "lognormal"])
def test_the_interval_of_w_covers_its_mean_between_92_and_98_percent(
    law: str, n: int, gap: float
) -> None:
    slack = 3 * math.sqrt(0.92 * 0.08 / 1000)
    assert 0.92 - slack <= covered(law, n, gap, 1000) <= 0.98 + slack


@pytest.mark.parametrize("law", ["normal", "lognormal"])
def test_w_that_is_nearly_always_the_same_is_held_too_often_rather_than_too_seldom(
    law: str,
) -> None:
    """93 to 98 % of inputs have one W: ten of them may show no other, and Student's reach is 0."""
    assert covered(law, 10, 4.0, 100) >= 0.92


@pytest.mark.long
@pytest.mark.parametrize(
    ("law", "n", "gap"),
    [("lognormal", 10, 4.0), ("lognormal", 10, 3.0), ("lognormal", 15, 4.0), ("normal", 25, 3.0)],
)
def test_the_interval_of_w_of_judges_that_agree_holds_it(law: str, n: int, gap: float) -> None:
    """Without the part of an input that disagrees 88 to 91 %, and 90 where two values were no coin."""
    # 92 % less two standard errors of a share of 1,000, and no upper limit: W ends at 1.
    assert covered(law, n, gap, 1000, ALIKE) >= 0.92 - 0.017
