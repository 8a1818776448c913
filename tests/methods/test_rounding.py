"""Nothing is divided by what rounding left: equal draws, constant columns, constant answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import assay
from assay.errors import InputError
from assay.methods.shapley.sampling import _regression_adjusted
from assay.methods.shapley.shapley_regression import variance_shares


def bent(rows: np.ndarray) -> np.ndarray:
    """Answers in double precision, whatever the inputs."""
    exact = rows.astype(np.float64)
    return np.tanh(exact).prod(axis=1) + exact[:, 0]


def length(texts: list[str]) -> np.ndarray:
    return np.array([1 / (1 + np.exp(-len(text) / 7 + 0.3)) for text in texts])


SINGLE = np.array([[0.1, 0.2, 0.3]], dtype=np.float32)
ROW = np.array([[0.7, 0.5, 0.9]], dtype=np.float32)

EQUAL_SUMS = {
    "a baseline": assay.Question(bent, SINGLE, removal=assay.Baseline(ROW)),
    "a baseline in doubles": assay.Question(
        bent, SINGLE.astype(float), removal=assay.Baseline(ROW.astype(float))
    ),
    "a large offset": assay.Question(
        lambda rows: 1e6 + bent(rows), SINGLE.astype(float), removal=assay.Baseline(ROW)
    ),
    "one row, many times": assay.Question(
        bent, SINGLE, removal=assay.Background(np.repeat(ROW, 5, axis=0))
    ),
    "rows of one outcome": assay.Question(
        lambda rows: np.tanh(rows.astype(float) - 0.1).prod(axis=1) + 0.7,
        SINGLE,
        removal=assay.Background(np.float32([[0.1, 0.4, 0.9], [0.1, 0.7, 0.2], [0.3, 0.1, 0.5]])),
    ),
    "a text": assay.Question(length, ["one two three four five six"]),
}


@pytest.mark.parametrize("question", EQUAL_SUMS.values(), ids=EQUAL_SUMS)
def test_draws_of_one_sum_are_not_adjusted_by_their_rounding(question: assay.Question) -> None:
    exact = assay.ExactShapley()(question)
    answer = assay.SamplingShapley(40)(question)
    error = (answer.values - exact.values).abs()
    assert bool((error <= 5 * answer.standard_error + 1e-5).all())
    assert answer.gap is not None
    torch.testing.assert_close(answer.gap, torch.zeros_like(answer.gap), rtol=0, atol=1e-10)


@pytest.mark.parametrize("missed", [0.0, 1e-15, 1e-9])
def test_a_spread_that_rounding_left_of_equal_sums_is_no_divisor(missed: float) -> None:
    """The regression on the draws' sums, which are all 1 up to the last place."""
    draw = torch.Generator().manual_seed(0)
    contributions = torch.randn(1, 20, 3, generator=draw, dtype=torch.float64)
    contributions[..., 2] = 1.0 - contributions[..., 0] - contributions[..., 1]
    assert float(contributions.sum(2).std()) > 0
    total = torch.tensor([1.0 + missed], dtype=torch.float64)
    values, error = _regression_adjusted(contributions, total, torch.tensor([1e-14]))
    # What is missed of the sum goes to all alike.
    torch.testing.assert_close(values, contributions.mean(1) + missed / 3, rtol=0, atol=1e-14)
    assert bool((error < 1).all())


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_columns_of_one_value_have_no_coefficient_whatever_their_size(size: float) -> None:
    x = size * np.array([[0.1257, 7.0, 0.1257]])
    question = assay.Question(lambda rows: rows.sum(axis=1) ** 2, x)
    answer = assay.Lime(assay.Quartiles(np.repeat(x, 50, axis=0)))(question)
    assert answer.values.tolist() == [[0.0, 0.0, 0.0]]
    assert answer.facts["r2"] == [1.0]
    np.testing.assert_allclose(answer.facts["intercept"], (x.sum() ** 2), rtol=1e-12)


def rounded_rows() -> np.ndarray:
    """A column that moves, one of 0.3 in two spellings, and one of 0.1."""
    draw = np.random.default_rng(0)
    spelled = np.where(draw.random(60) < 0.5, 0.3, 0.1 + 0.2)
    return np.column_stack([draw.normal(size=60), spelled, np.full(60, 0.1)])


def test_a_column_that_is_constant_up_to_rounding_is_constant() -> None:
    rows = rounded_rows()
    x = np.array([[0.5, 0.3, 0.1]])

    def linear(points: np.ndarray) -> np.ndarray:
        return points @ np.array([1.0, 2.0, 3.0])

    question = assay.Question(linear, x)
    answer = assay.Lime(assay.Instances(rows, d=10.0))(question)
    assert answer.values[0, 1:].tolist() == [0.0, 0.0]
    assert answer.values[0, 0] == pytest.approx(1.0)
    expected = [x[0, 0] - rows[:, 0].mean(), 0.0, 0.0]
    background = assay.Question(linear, x, removal=assay.Background(rows))
    shared = assay.LinearShap("gaussian")(background)
    np.testing.assert_allclose(shared.values[0].numpy(), expected, atol=1e-12)
    conditional = assay.Question(linear, x, removal=assay.Conditional(rows))
    exact = assay.ExactShapley()(conditional)
    np.testing.assert_allclose(exact.values[0].numpy(), expected, atol=1e-12)


def test_answers_that_are_constant_up_to_rounding_have_no_variance_to_share() -> None:
    rows = rounded_rows()
    with pytest.raises(InputError, match="answers that vary"):
        variance_shares(rows, rows[:, 1])
    shares = variance_shares(rows, rows[:, 0])
    np.testing.assert_allclose(shares, [1.0, 0.0, 0.0], atol=1e-12)
