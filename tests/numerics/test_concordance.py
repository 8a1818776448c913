"""Kendall's W beside its definition by pairs of judges, and its closed forms."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from assay.errors import InputError
from assay.numerics.concordance import kendall_w


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
