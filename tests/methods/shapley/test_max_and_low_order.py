"""Closed forms against enumeration: the maximum, and linear models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.errors import InputError
from assay.features.elements import Columns, Labels
from assay.methods.shapley.coalitions import orderings
from assay.methods.shapley.exact import ExactShapley
from assay.methods.shapley.games import shapley_values, subsets
from assay.methods.shapley.linear_shap import LinearShap, gaussian_exact, gaussian_sampled
from assay.methods.shapley.mask_method import standard_error
from assay.methods.shapley.max_shap import MaxShap, max_values
from assay.question.question import Question
from assay.removals.conditional import Conditional
from assay.removals.fixed import Background, Baseline

TOLERANCE = 1e-10


# --- the maximum


def enumerated_maximum(x: Tensor, reference: Tensor, floor: float = -np.inf) -> Tensor:
    masks = torch.tensor(subsets(len(x)))
    return shapley_values(torch.where(masks, x, reference).amax(dim=1).clamp_min(floor))


numbers = st.lists(
    st.tuples(st.integers(-4, 4), st.integers(-4, 4))
    | st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    min_size=1,
    max_size=7,
)


@given(numbers, st.sampled_from([-np.inf, -1.0, 0.0, 2.5]))
@settings(max_examples=150, deadline=None)
def test_the_maximum_is_shared_as_enumeration_says(
    pairs: list[tuple[float, float]], floor: float
) -> None:
    x, reference = torch.tensor(pairs, dtype=torch.float64).T
    found = max_values(x, reference, torch.tensor(floor, dtype=torch.float64))
    torch.testing.assert_close(found, enumerated_maximum(x, reference, floor), rtol=0, atol=1e-12)


def test_airport_landing_fees() -> None:
    x = torch.tensor([1.0, 3.0, 7.0], dtype=torch.float64)
    expected = torch.tensor([1 / 3, 1 / 3 + 1, 1 / 3 + 1 + 4], dtype=torch.float64)
    torch.testing.assert_close(max_values(x, torch.zeros(3)), expected, rtol=0, atol=1e-12)


def test_a_thousand_features_add_up() -> None:
    x, reference = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 1000)))
    values = max_values(x, reference)
    torch.testing.assert_close(
        values.sum(dim=1), x.amax(dim=1) - reference.amax(dim=1), rtol=0, atol=TOLERANCE
    )


def test_max_shap_averages_over_the_background_and_pools_groups_by_their_largest() -> None:
    draw = torch.Generator().manual_seed(0)
    x, rows = torch.randn(4, 5, generator=draw).double(), torch.randn(3, 5, generator=draw).double()
    for features in (
        Columns(),
        Columns(groups={"pair": [1, 4]}),
        Labels(torch.tensor([0, 1, -1, 1, 2])),
    ):
        question = Question(lambda x: x.amax(1), x, features=features, removal=Background(rows))
        torch.testing.assert_close(
            MaxShap()(question).values, ExactShapley()(question).values, rtol=0, atol=TOLERANCE
        )


def test_max_shap_refuses_another_model() -> None:
    with pytest.raises(
        InputError,
        match="returns the largest of its inputs, got answers that differ from it by up to 2",
    ):
        MaxShap()(Question(lambda x: x.sum(1), torch.tensor([[1.0, 2.0, 1.0]])))


# --- linear, independent


def test_a_linear_model_gives_its_contributions() -> None:
    draw = np.random.default_rng(0)
    beta, x, rows = draw.normal(size=6), draw.normal(size=(5, 6)), draw.normal(size=(30, 6))
    question = Question(
        lambda x: x @ torch.from_numpy(beta) + 3.0, torch.from_numpy(x), removal=Background(rows)
    )
    expected = torch.from_numpy(beta * (x - rows.mean(axis=0)))
    torch.testing.assert_close(LinearShap()(question).values, expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ExactShapley()(question).values, expected, rtol=0, atol=TOLERANCE)


def test_a_model_that_is_not_linear_is_refused() -> None:
    x = torch.tensor([[1.0, 2.0]])
    for method in (LinearShap(), LinearShap("gaussian")):
        with pytest.raises(
            InputError,
            match="linear in its features, got contributions that miss the answer by up to",
        ):
            method(
                Question(
                    lambda x: x[:, 0] * x[:, 1],
                    x,
                    removal=Background(torch.tensor([[0.0, 0.0], [-1.0, 1.0]])),
                )
            )


# --- linear, correlated


def conditional_table(
    slope: np.ndarray, offset: np.ndarray, covariance: np.ndarray, groups: list[list[int]]
) -> Tensor:
    """The slow twin: E[slope . (x - mean) | x_S] by the regression of what is absent on what is
    present.
    """
    table = []
    for mask in subsets(len(groups)):
        own = np.array(
            sorted(e for g, present in zip(groups, mask) if present for e in g), dtype=int
        )
        expected = np.zeros(len(offset))
        if len(own):
            expected = (
                covariance[:, own]
                @ np.linalg.lstsq(covariance[np.ix_(own, own)], offset[own], rcond=1e-10)[0]
            )
        table.append(slope @ expected)
    return torch.tensor(np.array(table))


def correlated(
    size: int, seed: int, rank: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(size, rank or size + 2))
    return draw.normal(size=size), root @ draw.normal(size=root.shape[1]), root @ root.T


@pytest.mark.parametrize(("size", "rank"), [(2, None), (5, None), (6, 4)])
def test_correlated_features_share_as_conditional_expectations_say(
    size: int, rank: int | None
) -> None:
    slope, offset, covariance = correlated(size, size, rank)
    found = gaussian_exact(
        *(torch.from_numpy(a)[None] for a in (slope, offset)),
        torch.from_numpy(covariance),
        torch.arange(size),
        size,
    )
    expected = shapley_values(
        conditional_table(slope, offset, covariance, [[i] for i in range(size)])
    )
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-9)


def test_groups_of_correlated_columns_are_one_player() -> None:
    slope, offset, covariance = correlated(5, 3)
    owner = torch.tensor([0, 1, 0, 2, 1])
    expected = shapley_values(conditional_table(slope, offset, covariance, [[0, 2], [1, 4], [3]]))
    parts = (
        torch.from_numpy(slope)[None],
        torch.from_numpy(offset)[None],
        torch.from_numpy(covariance),
        owner,
    )
    torch.testing.assert_close(gaussian_exact(*parts, 3)[0], expected, rtol=0, atol=TOLERANCE)
    every = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2]])  # with their reverses, all six orderings
    torch.testing.assert_close(
        gaussian_sampled(*parts, every)[0].mean(dim=0), expected, rtol=0, atol=1e-8
    )


def test_uncorrelated_features_get_their_contributions() -> None:
    slope, offset = (
        torch.tensor([[2.0, -1.0, 3.0]]).double(),
        torch.tensor([[1.0, 4.0, -2.0]]).double(),
    )
    covariance = torch.diag(torch.tensor([1.0, 4.0, 9.0])).double()
    torch.testing.assert_close(
        gaussian_exact(slope, offset, covariance, torch.arange(3), 3), slope * offset
    )


def test_tied_columns_share_evenly_and_a_model_blind_to_one_still_credits_it() -> None:
    rows = torch.tensor([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]]).double()
    question = Question(
        lambda x: x[:, 0], torch.tensor([[5.0, 5.0]]).double(), removal=Background(rows)
    )
    expected = torch.tensor([[1.5, 1.5]]).double()
    torch.testing.assert_close(
        LinearShap("gaussian")(question).values, expected, rtol=0, atol=TOLERANCE
    )
    independent = torch.tensor([[3.0, 0.0]]).double()
    torch.testing.assert_close(LinearShap()(question).values, independent, rtol=0, atol=TOLERANCE)


def test_the_method_takes_mean_and_covariance_from_the_background() -> None:
    draw = np.random.default_rng(4)
    rows = draw.normal(size=(40, 4)) @ draw.normal(size=(4, 4))
    beta, x = draw.normal(size=(2, 4)), draw.normal(size=(3, 4))
    question = Question(
        lambda x: x @ torch.from_numpy(beta.T) + 1.0,
        torch.from_numpy(x),
        target=[0, 1, 0],
        removal=Background(rows),
    )
    answer = LinearShap("gaussian")(question)
    for i, output in enumerate((0, 1, 0)):
        table = conditional_table(
            beta[output], x[i] - rows.mean(axis=0), np.cov(rows.T), [[j] for j in range(4)]
        )
        torch.testing.assert_close(answer.values[i], shapley_values(table), rtol=0, atol=1e-9)
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-9


@pytest.mark.parametrize("columns", [4, 24])
def test_the_units_of_columns_change_nothing(columns: int) -> None:
    """Euros or millions of them: the same credit, exact (4 columns) and sampled (24)."""
    draw = np.random.default_rng(8)
    rows, x = (
        draw.normal(size=(80, columns)) @ draw.normal(size=(columns, columns)),
        draw.normal(size=(2, columns)),
    )
    beta, unit = (
        torch.from_numpy(draw.normal(size=columns)),
        10.0 ** draw.integers(-7, 8, size=columns),
    )
    method = LinearShap("gaussian", orderings=16)
    plain = method(Question(lambda z: z @ beta, torch.from_numpy(x), removal=Background(rows)))
    scaled = Question(
        lambda z: z @ (beta / torch.from_numpy(unit)),
        torch.from_numpy(x * unit),
        removal=Background(rows * unit),
    )
    torch.testing.assert_close(method(scaled).values, plain.values, rtol=1e-10, atol=1e-8)


def test_sampled_orderings_are_unbiased_and_their_intervals_cover() -> None:
    slope, offset, covariance = (torch.from_numpy(a) for a in correlated(7, 11))
    parts = (slope[None], offset[None], covariance, torch.arange(7))
    truth, values, errors = gaussian_exact(*parts, 7)[0], [], []
    for seed in range(200):
        pairs = gaussian_sampled(*parts, orderings(7, 10, seed))
        error = standard_error(pairs, dim=1)
        assert error is not None
        values.append(pairs.mean(dim=1)[0])
        errors.append(error[0])
    drawn, stated = torch.stack(values), torch.stack(errors)
    assert 0.90 <= float(((drawn - truth).abs() <= 1.96 * stated).double().mean()) <= 0.99
    assert float(((drawn.mean(dim=0) - truth) / (drawn.std(dim=0) / 200**0.5)).abs().max()) < 3.5


def test_many_correlated_features_come_with_a_standard_error() -> None:
    draw = np.random.default_rng(0)
    rows, beta = (
        draw.normal(size=(80, 24)) @ draw.normal(size=(24, 24)),
        torch.from_numpy(draw.normal(size=24)),
    )
    question = Question(
        lambda x: x @ beta, torch.from_numpy(draw.normal(size=(2, 24))), removal=Background(rows)
    )
    answer = LinearShap("gaussian", orderings=16)(question)
    assert answer.standard_error is not None
    assert float(answer.standard_error.min()) > 0
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-6


def test_what_lies_off_the_support_of_the_rows_counts_as_it_is() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 1)) * [1.0, 1.0]
    rows -= rows.mean()
    x = np.array([[1.0, 3.0], [2.0, 2.0]])
    question = Question(lambda x: x[:, 0], x, removal=Background(rows))
    answer = LinearShap("gaussian")(question)
    # v(1) = x1, v(2) = x2 (the twin), v(both) = x1
    expected = torch.tensor([[-0.5, 1.5], [1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(answer.values, expected, rtol=0, atol=TOLERANCE)
    conditional = Question(lambda x: x[:, 0], x, removal=Conditional(rows))
    again = ExactShapley()(conditional).values
    torch.testing.assert_close(answer.values, again, rtol=0, atol=TOLERANCE)


def test_fewer_rows_than_columns_keep_completeness() -> None:
    draw = np.random.default_rng(1)
    rows, weights = draw.normal(size=(8, 10)), np.arange(1.0, 11)
    question = Question(lambda x: x @ weights, np.ones((1, 10)), removal=Background(rows))
    answer = LinearShap("gaussian")(question)
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-9


def test_orderings_agree_off_the_support() -> None:
    draw = np.random.default_rng(2)
    covariance = torch.from_numpy(np.cov(draw.normal(size=(3, 4)).T))
    slope, offset = (torch.from_numpy(draw.normal(size=(2, 4))) for _ in range(2))
    owner = torch.arange(4)
    every_order = np.array(list(itertools.permutations(range(4))))
    sampled = gaussian_sampled(slope, offset, covariance, owner, every_order).mean(dim=1)
    exact = gaussian_exact(slope, offset, covariance, owner, 4)
    # Off the support of a singular covariance roots of rounding are left: 1e-8 times the offsets.
    torch.testing.assert_close(sampled, exact, rtol=0, atol=2e-6)


def test_settings_and_removals_that_cannot_be_used_are_refused() -> None:
    x = torch.ones(1, 2)
    with pytest.raises(
        InputError, match=r"Ask with removal=Background\(rows\) with at least two rows"
    ):
        LinearShap("gaussian")(Question(lambda x: x[:, 0], x, removal=Baseline(0.0)))
    with pytest.raises(InputError, match="'independent' or 'gaussian', got 'copula'"):
        LinearShap("copula")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="even number of at least 4, got 2"):
        LinearShap(orderings=2)


@pytest.mark.parametrize(
    "method", [LinearShap(), LinearShap("gaussian", orderings=8), MaxShap()], ids=repr
)
def test_settings_say_themselves(method: LinearShap | MaxShap) -> None:
    assert eval(repr(method)) == method


@pytest.mark.parametrize("seed", range(6))
def test_pairs_that_cancel_are_not_linear(seed: int) -> None:
    """Nothing alone and nothing together, but something in pairs."""
    x = torch.ones(2, 3, dtype=torch.float64)
    question = Question(lambda x: x[:, 0] * x[:, 1] - x[:, 1] * x[:, 2], x)
    with pytest.raises(InputError, match="linear in its features"):
        LinearShap()(question, seed=seed)


def test_pairs_that_cancel_are_not_linear_between_a_gaussian_and_its_inputs() -> None:
    rows = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows -= rows.mean(0)

    def pairs(x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1] - x[:, 1] * x[:, 2]

    x = torch.ones(2, 3, dtype=torch.float64)
    question = Question(pairs, x, removal=Background(rows))
    with pytest.raises(InputError, match="linear in its features"):
        LinearShap("gaussian")(question)


@pytest.mark.parametrize("largest", [0, 2])
def test_one_of_the_inputs_is_no_maximum_where_it_is_the_largest(largest: int) -> None:
    x = torch.tensor([[0.2, 0.1, 0.3], [0.4, 0.2, 0.5]], dtype=torch.float64)
    x[:, largest] += 1
    question = Question(lambda x: x[:, largest], x)
    with pytest.raises(InputError, match="largest of its inputs"):
        MaxShap()(question)
