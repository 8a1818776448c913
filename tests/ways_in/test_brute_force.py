"""The Shapley family on real tables, beside values by hand: the frame put together for every
coalition and every row of the background, and the model's own `predict_proba` asked for it.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
import zoo
from ways_in.test_ways_in import MODELS, table

__all__ = ["table"]  # a fixture

INPUTS = 3

EXACT = {
    "all coalitions": assay.ExactShapley(),
    "the kernel on all coalitions": assay.KernelShap(budget=32),
    "the kernel without limit": assay.KernelShap(budget=10_000),
}

SAMPLED = {
    "orderings": assay.PermutationShapley(orderings=64),
    "orderings of single rows": assay.SamplingShapley(draws=4000),
    "a sampled kernel": assay.KernelShap(budget=24),
}


def by_hand(model: Any, asked: pd.DataFrame, absent: pd.DataFrame) -> np.ndarray:
    """phi_j = sum over S without j of |S|! (F - |S| - 1)! / F! (v(S + j) - v(S)), v(S) the mean
    probability over the background's rows with the columns S from the input.
    """
    columns = list(asked.columns)
    count = len(columns)
    values = np.zeros((len(asked), count))
    for row in range(len(asked)):
        value = {}
        for size in range(count + 1):
            for present in combinations(range(count), size):
                mixed = absent.copy()
                for j in present:
                    entry = asked[columns[j]].iloc[row]
                    column = [entry] * len(mixed)
                    typed = pd.Series(column, index=mixed.index, dtype=asked[columns[j]].dtype)
                    mixed[columns[j]] = typed
                value[present] = float(model.predict_proba(mixed)[:, 1].mean())
        for present, before in value.items():
            weight = (
                factorial(len(present)) * factorial(count - len(present) - 1) / factorial(count)
                if len(present) < count
                else 0.0
            )
            for j in set(range(count)) - set(present):
                after = value[tuple(sorted((*present, j)))]
                values[row, j] += weight * (after - before)
    return values


@zoo.needs_data
@pytest.mark.parametrize("name", ["pipeline", "pipeline of trees", "CatBoost"])
def test_the_shapley_family_is_brute_force_over_subsets(
    name: str, table: tuple[pd.DataFrame, Any, list[str]]
) -> None:
    rows, labels, words = table
    model = MODELS[name](words).fit(rows, labels)
    asked, absent = rows.iloc[:INPUTS], rows.iloc[100:107]
    wanted = by_hand(model, asked, absent)
    question = assay.Question(model, asked, 1, removal=assay.Background(absent))
    for said, method in EXACT.items():
        got = method(question).values.numpy()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9, err_msg=said)
    for said, method in SAMPLED.items():
        answer = method(question)
        error = answer.standard_error.numpy()
        assert (np.abs(answer.values.numpy() - wanted) <= 5 * error + 1e-9).all(), said


@zoo.needs_data
@pytest.mark.parametrize("name", ["LightGBM", "XGBoost", "CatBoost"])
def test_tree_shap_is_brute_force_over_subsets_of_the_margin(
    name: str, table: tuple[pd.DataFrame, Any, list[str]]
) -> None:
    """Trees add up in the log-odds, and so does the game."""
    rows, labels, words = table
    # One-hot statistics of words are what CatBoost's trees may ask; its other ones are refused.
    numbers = rows.drop(columns=words).astype(float)
    numbers = numbers.assign(**{word: rows[word].cat.codes.astype(float) for word in words})
    model = MODELS[name]([]).fit(numbers, labels)

    class LogOdds:
        def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
            p = model.predict_proba(frame)[:, 1].astype(np.float64)
            return np.stack([np.zeros(len(p)), np.log(p) - np.log1p(-p)], axis=1)

    asked, absent = numbers.iloc[:INPUTS], numbers.iloc[100:107]
    wanted = by_hand(LogOdds(), asked, absent)
    question = assay.Question(model, asked, assay.LogOdds(1), removal=assay.Background(absent))
    got = assay.TreeShap()(question).values.numpy()
    # XGBoost says its probabilities in single precision.
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 if name == "XGBoost" else 1e-9)
