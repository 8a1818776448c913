"""Exact values of games against their definition, the axioms, and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.errors import InputError
from assay.methods.shapley.games import banzhaf_values, semivalues, shapley_values, subsets

TOLERANCE = 1e-10


def table_of(game, features: int) -> Tensor:
    """v(S) for every coalition S, a set of feature numbers."""
    return torch.tensor(
        [float(game(set(np.flatnonzero(mask)))) for mask in subsets(features)], dtype=torch.float64
    )


def by_orderings(table: Tensor) -> Tensor:
    """The slow twin: the mean marginal contribution over all d! orderings."""
    features = int(math.log2(len(table)))
    values = torch.zeros(features, dtype=torch.float64)
    for order in itertools.permutations(range(features)):
        joined = 0
        for i in order:
            values[i] += table[joined | 1 << i] - table[joined]
            joined |= 1 << i
    return values / math.factorial(features)


def random_game(features: int, seed: int, leading: tuple[int, ...] = ()) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(*leading, 2**features)))


games = st.integers(1, 6).flatmap(
    lambda d: st.integers(0, 2**32 - 1).map(lambda seed: random_game(d, seed))
)


@given(games)
@settings(max_examples=40, deadline=None)
def test_shapley_values_are_mean_contributions_over_orderings(table: Tensor) -> None:
    torch.testing.assert_close(shapley_values(table), by_orderings(table), rtol=0, atol=TOLERANCE)


@given(games)
@settings(max_examples=40, deadline=None)
def test_banzhaf_values_are_mean_contributions_over_coalitions(table: Tensor) -> None:
    features = int(math.log2(len(table)))
    expected = [
        np.mean([float(table[s | 1 << i] - table[s]) for s in range(len(table)) if not s >> i & 1])
        for i in range(features)
    ]
    torch.testing.assert_close(
        banzhaf_values(table), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE
    )


@given(games)
@settings(max_examples=40, deadline=None)
def test_local_accuracy(table: Tensor) -> None:
    assert abs(float(shapley_values(table).sum() - (table[-1] - table[0]))) < TOLERANCE


@given(games, st.data())
@settings(max_examples=40, deadline=None)
def test_missingness_a_feature_that_changes_nothing_gets_exactly_nothing(
    table: Tensor, data: st.DataObject
) -> None:
    features = int(math.log2(len(table)))
    dummy = data.draw(st.integers(0, features - 1))
    without = torch.tensor([table[s & ~(1 << dummy)] for s in range(len(table))])
    assert float(shapley_values(without)[dummy]) == 0.0


@given(games, st.data())
@settings(max_examples=40, deadline=None)
def test_consistency_larger_contributions_never_get_less(
    table: Tensor, data: st.DataObject
) -> None:
    features = int(math.log2(len(table)))
    i = data.draw(st.integers(0, features - 1))
    more = table.clone()
    for s in range(len(table)):
        if s >> i & 1:
            more[s] += data.draw(st.floats(0, 10))
    assert float(shapley_values(more)[i]) >= float(shapley_values(table)[i]) - TOLERANCE


@given(games, st.permutations(range(6)))
@settings(max_examples=40, deadline=None)
def test_values_move_with_the_features(table: Tensor, order: list[int]) -> None:
    features = int(math.log2(len(table)))
    order = [i for i in order if i < features]
    masks = subsets(features)
    moved = table[torch.from_numpy(masks[:, order] @ (1 << np.arange(features)))]
    torch.testing.assert_close(
        shapley_values(moved)[order], shapley_values(table)[: len(order)], rtol=0, atol=TOLERANCE
    )


def test_leading_dimensions_are_games_of_their_own() -> None:
    tables = random_game(4, 0, (3, 2))
    values = shapley_values(tables)
    assert values.shape == (3, 2, 4)
    torch.testing.assert_close(values[2, 1], by_orderings(tables[2, 1]), rtol=0, atol=TOLERANCE)


CLOSED_FORMS = {
    "and": (2, lambda s: len(s) == 2, [0.5, 0.5]),
    "or": (2, lambda s: len(s) > 0, [0.5, 0.5]),
    "xor at (1, 1)": (2, lambda s: len(s) % 2, [0.0, 0.0]),
    "xor at (1, 0)": (2, lambda s: 0 in s, [1.0, 0.0]),
    "and of three": (3, lambda s: len(s) == 3, [1 / 3] * 3),
    "glove": (3, lambda s: 0 in s and len(s) > 1, [2 / 3, 1 / 6, 1 / 6]),
    "airport": (
        3,
        lambda s: max((1, 3, 7)[i] for i in s) if s else 0,
        [1 / 3, 1 / 3 + 1, 1 / 3 + 1 + 4],
    ),
    "weighted voting [51; 50, 49, 1]": (
        3,
        lambda s: sum((50, 49, 1)[i] for i in s) >= 51,
        [2 / 3, 1 / 6, 1 / 6],
    ),
    "sickness": (2, lambda s: {0: 0, 1: 5, 2: 2}[len(s)], [1.0, 1.0]),
    "profit by the maximum of (5, 4, 0)": (
        3,
        lambda s: max(((5, 4, 0)[i] for i in s), default=0),
        [3.0, 2.0, 0.0],
    ),
    "product": (3, lambda s: 2.0 * 3.0 * 5.0 * (len(s) == 3), [10.0] * 3),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str) -> None:
    features, game, expected = CLOSED_FORMS[name]
    values = shapley_values(table_of(game, features))
    torch.testing.assert_close(
        values, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE
    )


def test_unanimity_sums_share_each_dividend_evenly() -> None:
    dividends = {(0,): 1.5, (0, 1): -2.0, (1, 2, 3): 3.0, (0, 1, 2, 3): 4.0, (3,): 0.25}
    table = table_of(lambda s: sum(m for t, m in dividends.items() if set(t) <= s), 4)
    expected = [sum(m / len(t) for t, m in dividends.items() if i in t) for i in range(4)]
    torch.testing.assert_close(
        shapley_values(table), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE
    )


def test_semivalues_of_first_contributions_are_the_singletons() -> None:
    table = random_game(3, 5)
    expected = torch.stack([table[1 << i] - table[0] for i in range(3)])
    torch.testing.assert_close(semivalues(table, [1.0, 0.0, 0.0]), expected, rtol=0, atol=TOLERANCE)


def test_a_table_that_is_not_full_is_refused() -> None:
    with pytest.raises(InputError, match=r"2\^features columns, got 6"):
        shapley_values(torch.zeros(6))


def test_too_many_features_are_refused_with_the_cost() -> None:
    with pytest.raises(
        InputError,
        match=r"at most 20 features to enumerate all coalitions, got 21.*2097152.*KernelShap",
    ):
        subsets(21)
