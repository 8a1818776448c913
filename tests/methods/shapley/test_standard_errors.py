"""Standard errors and stopping rules against their definitions, term by term."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student

import assay
from assay.methods.shapley.coalitions import paired_design
from assay.methods.shapley.games import subsets
from assay.methods.shapley.kernel_shap import KernelShap, regress, with_empty_and_full
from assay.methods.shapley.proxy_shap import _adjusted_by, fit_proxy
from assay.methods.shapley.sampling import _balanced_rows, _regression_adjusted
from assay.methods.shapley.shapley_regression import subset_regressions
from coalition_games import dividends, looked_up


@pytest.mark.parametrize("seed", range(3))
def test_until_holds_for_every_feature(seed: int) -> None:
    x = np.ones((1, 14))

    def model(rows: np.ndarray) -> np.ndarray:
        # Two features add, the others multiply: they are not precise together.
        return rows[:, 0] - rows[:, 1] + 40 * rows[:, 2:7].prod(axis=1) + rows[:, 7:].sum(axis=1)

    question = assay.Question(model, x)
    first = KernelShap(budget=2 * 5 * 14)(question, seed=seed)
    assert first.standard_error is not None
    until = float(first.standard_error.mean())
    assert bool((first.standard_error <= until).any()), "one is precise at once"
    assert bool((first.standard_error > until).any()), "and one is not"
    answer = KernelShap(until=until)(question, seed=seed)
    assert answer.standard_error is not None
    assert float(answer.standard_error.max()) <= until


def test_adjusted_draws_have_students_interval() -> None:
    draw = torch.Generator().manual_seed(0)
    contributions = torch.randn(1, 6, 3, generator=draw, dtype=torch.float64)
    total = torch.tensor([0.4], dtype=torch.float64)
    values, error = _regression_adjusted(contributions, total, torch.tensor([1e-12]))
    draws = contributions[0].numpy()
    sums = draws.sum(axis=1)
    design = np.column_stack([np.ones(6), sums])
    fit, residual, *_ = np.linalg.lstsq(design, draws, rcond=None)
    np.testing.assert_allclose(values[0].numpy(), fit[0] + fit[1] * 0.4, atol=1e-12)
    factor = student.ppf(0.975, 4) / norm.ppf(0.975)
    np.testing.assert_allclose(error[0].numpy(), factor * np.sqrt(residual / (4 * 6)), atol=1e-12)


@pytest.mark.parametrize(("rows", "draws"), [(5, 17), (7, 7), (10, 4)])
def test_each_row_once_before_any_is_used_twice(rows: int, draws: int) -> None:
    for seed in range(5):
        used = _balanced_rows(rows, draws, seed)
        for start in range(0, draws, rows):
            block = used[start : start + rows]
            assert len(set(block.tolist())) == len(block)
    orders = {tuple(_balanced_rows(5, 5, seed)) for seed in range(9)}
    assert len(orders) > 1


def test_the_proxys_error_joins_posterior_and_regression() -> None:
    table, design, masks = dividends(6, 6, seed=3), paired_design(6, 15, seed=0), subsets(6)
    asked = looked_up(table, with_empty_and_full(design.half)).numpy()
    half, complement = asked[2:].reshape(2, -1)
    total = asked[1] - asked[0]
    odd = np.append((half - complement) / 2, total / 2)
    scale = float(np.sqrt(np.mean(odd**2)))
    full = np.ones(6, dtype=np.bool_)
    signs = np.where(np.vstack((design.half, full)), 1.0, -1.0)
    proxy = fit_proxy(signs, odd / scale)
    values, error = _adjusted_by(proxy, odd, scale, design)

    # The slow twin: covariances of every two coalitions by their products.
    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        agreement = a[:, None, :] * b[None, :, :] * proxy.relevance
        alone = (np.prod(1 + proxy.relevance) - np.prod(1 - proxy.relevance)) / 2
        odd_part = (np.prod(1 + agreement, axis=2) - np.prod(1 - agreement, axis=2)) / 2
        return odd_part / alone

    every = np.where(masks, 1.0, -1.0)
    noisy = covariance(signs, signs) + (proxy.noise + 1e-8) * np.eye(len(signs))
    across = covariance(every, signs)
    posterior = covariance(every, every) - across @ np.linalg.solve(noisy, across.T)
    power = float(odd @ np.linalg.solve(noisy, odd)) / len(odd)
    # Shapley values are linear: the map from a game to them, column by column.
    unit_games = torch.eye(64, dtype=torch.float64)
    explain = assay.methods.shapley.games.shapley_values(unit_games).numpy().T
    variance = power * np.einsum("fi,ij,fj->f", explain, posterior, explain)
    missed = odd - across[[*_rows_of(every, signs)]] @ np.linalg.solve(noisy, odd)
    ends = [0.0, total - float((explain @ across @ np.linalg.solve(noisy, odd)).sum())]
    residuals = np.concatenate((ends, missed[:-1], -missed[:-1]))
    _, doubt = regress(torch.from_numpy(residuals), design)
    assert float(doubt.max()) > 0.01 * float(np.sqrt(variance).max()), "both terms count here"
    np.testing.assert_allclose(error, np.sqrt(variance + doubt.numpy() ** 2), rtol=1e-10)
    assert np.isfinite(values).all()


def _rows_of(every: np.ndarray, some: np.ndarray) -> list[int]:
    return [int(np.flatnonzero((every == row).all(axis=1))[0]) for row in some]


def test_a_collinear_column_gets_no_coefficient_for_its_rounding() -> None:
    draw = np.random.default_rng(5)
    free = draw.normal(size=(50, 2)) * [1.0, 1e3]
    rows = np.column_stack([free, free @ [0.3, 0.7]])
    answers = free @ [1.0, 2.0] + draw.normal(size=50)
    columns = np.column_stack((rows, answers))
    centred = columns - columns.mean(axis=0)
    coefficients, residuals = subset_regressions(centred.T @ centred)
    expected = np.linalg.lstsq(centred[:, :2], centred[:, 3], rcond=None)[0]
    np.testing.assert_allclose(coefficients[0b111][:2], expected, rtol=1e-10)
    assert coefficients[0b111][2] == 0
    np.testing.assert_allclose(residuals[0b111], residuals[0b011], rtol=1e-9)
