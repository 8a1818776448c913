"""The power of a paired t test: by simulation, by its published table, and turned around."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from assay.errors import InputError
from assay.numerics.power import inputs_needed, paired_power


@pytest.mark.parametrize(("effect", "n"), [(0.2, 50), (0.5, 20), (0.8, 8), (1.5, 5)])
def test_it_is_what_a_simulation_finds(effect: float, n: int) -> None:
    draws = np.random.default_rng(0).normal(effect, 1.0, size=(40_000, n))
    found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    # Four standard errors of a share of 40,000.
    assert paired_power(effect, n) == pytest.approx(found.mean(), abs=4 * 0.5 / 200)


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_numbers_that_every_textbook_prints(effect: float, needed: int) -> None:
    """Cohen's small, medium and large effects at 5 % and a power of 80 %."""
    assert inputs_needed(effect) == needed


@pytest.mark.parametrize("effect", [0.03, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_it_is_the_fewest(effect: float, level: float) -> None:
    n = int(inputs_needed(effect, level, 0.9))
    assert paired_power(effect, n, level) >= 0.9
    assert paired_power(effect, n - 1, level) < 0.9
    assert inputs_needed(-effect, level, 0.9) == n


def test_ends() -> None:
    assert inputs_needed(0.0) == math.inf
    assert math.isnan(inputs_needed(math.nan))
    assert inputs_needed(math.inf) == 2
    assert inputs_needed(1e-6) == math.inf
    # Far out the noncentral distribution of scipy is NaN.
    assert paired_power(30.0, 100) == 1.0
    with pytest.raises(InputError, match="power between 0 and 1"):
        inputs_needed(0.5, power=1.0)


def test_power_grows_with_inputs_and_with_the_effect_wherever_it_is_asked() -> None:
    """Where scipy's distribution gives out, 1 is put in its place: nowhere but far out."""
    effects = np.geomspace(1e-3, 20, 40)
    sizes = [2, 3, 4, 6, 10, 30, 100, 1_000, 100_000]
    table = np.array([[paired_power(e, n, 0.999) for n in sizes] for e in effects])
    assert (np.diff(table, axis=0) > -1e-9).all()
    assert (np.diff(table, axis=1) > -1e-9).all()
