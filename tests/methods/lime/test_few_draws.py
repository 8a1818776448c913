"""Selection of columns from the draws, where these are fewer: against the Gram matrix."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import assay
from assay.methods.lime.few_draws import fit_few_draws, suits
from assay.methods.lime.neighbourhood import Sample
from assay.methods.lime.surrogate import DrawMoments, Selection, Selector, fit


def few(draws: int, columns: int, inputs: int = 3, shared: bool = True) -> Sample:
    draw = np.random.default_rng(draws + columns)
    designs = 1 if shared else inputs
    design = (draw.random((designs, draws, columns)) < 0.5) * 1.0
    design[:, 0] = 1
    # A column of one value, and a copy.
    design[..., 3] = 1.0
    design[..., 5] = design[..., 4]
    slopes = draw.normal(size=(inputs, columns)) * (draw.random((inputs, columns)) < 0.2)
    answers = (design @ slopes[..., None])[..., 0] + 0.1 * draw.normal(size=(inputs, draws))
    weights = draw.uniform(0.2, 1, (designs, draws))
    parts = (torch.from_numpy(part) for part in (design, weights, answers))
    return Sample(*parts, unit=torch.ones(columns))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rule", ["forward", "highest", "lasso", "auto"])
@pytest.mark.parametrize(("draws", "columns"), [(40, 60), (60, 50)])
def test_the_draws_pick_what_their_gram_matrix_picks(
    draws: int, columns: int, rule: Selection, shared: bool
) -> None:
    sample = few(draws, columns, shared=shared)
    selector = Selector(4, rule, 0.0)
    assert suits(sample, selector)
    dual = fit_few_draws(sample, selector, seed=2)
    primal = fit(DrawMoments.of(sample, seed=2), selector)
    assert dual.support is not None
    assert primal.support is not None
    for name in ("coefficients", "standard_error", "intercept", "r2"):
        torch.testing.assert_close(getattr(dual, name), getattr(primal, name), rtol=0, atol=1e-9)
    for mine, other in zip(dual.support.tolist(), primal.support.tolist()):
        assert set(mine) == set(other)
    # Repeats whose columns tie up to rounding may fall either way.
    torch.testing.assert_close(dual.stability, primal.stability, rtol=0, atol=0.1)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_a_ridge_is_the_same_in_both_forms(ridge: float) -> None:
    sample = few(40, 60)
    selector = Selector(8, "highest", ridge)
    dual = fit_few_draws(sample, selector, seed=0)
    primal = fit(DrawMoments.of(sample, seed=0), selector)
    torch.testing.assert_close(dual.coefficients, primal.coefficients, rtol=0, atol=1e-9)
    torch.testing.assert_close(dual.stability, primal.stability, rtol=0, atol=1e-12)


def test_many_columns_take_seconds() -> None:
    """A Gram matrix of 4,000 columns alone is 128 MB, and was factored 21 times."""
    x = np.ones((1, 4000))
    slopes = np.zeros(4000)
    slopes[[7, 70, 700]] = [30.0, -20.0, 10.0]
    start = time.process_time()
    answer = assay.Lime(assay.CoinMasks(300), keep=10)(assay.Question(lambda a: a @ slopes, x))
    assert time.process_time() - start < 30
    assert int((answer.values != 0).sum()) == 10
    picked = assay.Lime(assay.CoinMasks(300), keep=3)(assay.Question(lambda a: a @ slopes, x))
    np.testing.assert_allclose(picked.values[0, [7, 70, 700]], [30, -20, 10], rtol=0, atol=1e-10)


def test_a_level_that_no_draw_has_is_not_known_for_sure() -> None:
    """Its weight rests on the input alone: the error is that of one residual, not 0."""
    draw = np.random.default_rng(0)
    rows = np.column_stack([draw.choice(3, 40_000) * 1.0, draw.normal(size=40_000)])
    rows[0] = [9.0, 0.1]

    def f(a: np.ndarray) -> np.ndarray:
        # As good as noise, of standard deviation 1.
        return np.sqrt(2) * np.sin(1e5 * a[:, 1])

    around = assay.Quartiles(rows, 200, categorical=[0])
    answer = assay.Lime(around)(assay.Question(f, rows[:1]))
    assert answer.standard_error is not None
    assert 0.5 < float(answer.standard_error[0, 0]) < 2
