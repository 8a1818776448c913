"""Shapley regression values: the closed form of least squares against refits, and refits of any
estimator.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from assay.errors import InputError
from assay.features.elements import Columns
from assay.methods.shapley.games import subsets
from assay.methods.shapley.shapley_regression import (
    ShapleyRegression,
    subset_regressions,
    variance_shares,
)
from assay.models.wrapping import wrap
from assay.question.question import Question
from assay.removals.fixed import Background

TOLERANCE = 1e-10


def data(columns: int, seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, columns)) @ draw.normal(size=(columns, columns)) + draw.normal(
        size=columns
    )
    return rows, rows @ draw.normal(size=columns) + rows[:, 0] ** 2 + draw.normal(size=n)


def moments(rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    joined = np.column_stack((rows, answers))
    joined = joined - joined.mean(axis=0)
    return joined.T @ joined


def test_the_sweep_is_least_squares_on_every_subset() -> None:
    rows, answers = data(5)
    coefficients, left = subset_regressions(moments(rows, answers))
    for mask, own, rest in zip(subsets(5), coefficients, left):
        expected = np.zeros(5)
        residual = answers - answers.mean()
        if mask.any():
            model = LinearRegression().fit(rows[:, mask], answers)
            expected[mask], residual = model.coef_, answers - model.predict(rows[:, mask])
        np.testing.assert_allclose(own, expected, atol=1e-9)
        assert rest == pytest.approx(residual @ residual, rel=1e-9)


def test_more_columns_than_are_swept_at_once() -> None:
    rows, answers = data(13, n=80)
    coefficients, _ = subset_regressions(moments(rows, answers))
    for number in (0b1000000000001, 0b1111111111111, 0b1010101010101, 0b0111000000000):
        mask = subsets(13)[number]
        expected = LinearRegression().fit(rows[:, mask], answers).coef_
        np.testing.assert_allclose(coefficients[number][mask], expected, atol=1e-8)
        assert not coefficients[number][~mask].any()


def test_a_column_that_others_explain_adds_nothing() -> None:
    rows, answers = data(3)
    twin = np.column_stack((rows, rows[:, 0]))
    coefficients, left = subset_regressions(moments(twin, answers))
    assert np.isfinite(coefficients).all()
    np.testing.assert_allclose(left[0b1111], left[0b0111], rtol=1e-9)
    np.testing.assert_allclose(left[0b1000], left[0b0001], rtol=1e-9)


def test_shares_of_variance_are_mean_gains_over_the_orderings() -> None:
    """The slow twin (Lindeman, Merenda and Gold): R^2 gained when a column joins, over all
    orderings.
    """
    rows, answers = data(4)

    def explained(own: tuple[int, ...]) -> float:
        return (
            LinearRegression().fit(rows[:, own], answers).score(rows[:, own], answers)
            if own
            else 0.0
        )

    expected = np.zeros(4)
    for order in itertools.permutations(range(4)):
        for place, column in enumerate(order):
            expected[column] += explained(order[: place + 1]) - explained(order[:place])
    shares = variance_shares(rows, answers)
    np.testing.assert_allclose(shares, expected / math.factorial(4), atol=TOLERANCE)
    assert shares.sum() == pytest.approx(explained((0, 1, 2, 3)), abs=TOLERANCE)


def retrained(estimator, read, rows, answers, x, empty: float) -> np.ndarray:
    """The slow twin: every ordering, every coalition a fresh fit."""
    columns = rows.shape[1]

    def worth(own: tuple[int, ...]) -> np.ndarray:
        own = tuple(sorted(own))
        return (
            read(estimator.fit(rows[:, own], answers), x[:, own]) if own else np.full(len(x), empty)
        )

    values = np.zeros((len(x), columns))
    for order in itertools.permutations(range(columns)):
        for place, column in enumerate(order):
            values[:, column] += worth(order[: place + 1]) - worth(order[:place])
    return values / math.factorial(columns)


def test_least_squares_in_closed_form_is_what_refits_give() -> None:
    rows, answers = data(4)
    x = rows[:3] + 0.5
    question = Question(LinearRegression().fit(rows, answers), x)
    expected = retrained(
        LinearRegression(), lambda m, at: m.predict(at), rows, answers, x, answers.mean()
    )
    answer = ShapleyRegression(LinearRegression(), rows, answers)(question)
    np.testing.assert_allclose(answer.values, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        answer.values.sum(dim=1), question.prediction - answers.mean(), rtol=0, atol=1e-9
    )


def test_any_estimator_is_refitted() -> None:
    rows, answers = data(3)
    x = rows[:2]
    question = Question(Ridge(2.0).fit(rows, answers), x)
    expected = retrained(Ridge(2.0), lambda m, at: m.predict(at), rows, answers, x, answers.mean())
    answer = ShapleyRegression(Ridge(2.0), rows, answers)(question)
    np.testing.assert_allclose(answer.values, expected, rtol=0, atol=TOLERANCE)
    assert answer.facts["refits"] == 8


def test_a_classifier_answers_with_the_questions_target() -> None:
    rows, answers = data(3)
    labels = (answers > np.median(answers)).astype(int)
    labels[:10] = 1
    model = DecisionTreeClassifier(max_depth=2, random_state=0)
    question = Question(
        DecisionTreeClassifier(max_depth=2, random_state=0).fit(rows, labels), rows[:2], target=1
    )
    expected = retrained(
        model, lambda m, at: m.predict_proba(at)[:, 1], rows, labels, rows[:2], labels.mean()
    )
    np.testing.assert_allclose(
        ShapleyRegression(model, rows, labels)(question).values, expected, rtol=0, atol=TOLERANCE
    )


def test_columns_of_a_group_are_kept_or_left_out_together() -> None:
    rows, answers = data(3)
    question = Question(
        LinearRegression().fit(rows, answers), rows[:2], features=Columns(groups={"ab": [0, 1]})
    )
    values = ShapleyRegression(LinearRegression(), rows, answers)(question).values
    fits = {
        own: LinearRegression().fit(rows[:, own], answers).predict(rows[:2][:, own])
        for own in ((0, 1), (2,))
    }
    full, mean = LinearRegression().fit(rows, answers).predict(rows[:2]), answers.mean()
    pair = (fits[0, 1] - mean + full - fits[2,]) / 2
    ordered = values[:, list(question.partition.names).index("ab")]
    np.testing.assert_allclose(ordered, pair, rtol=0, atol=1e-9)


def test_orderings_sample_where_all_subsets_are_too_many() -> None:
    rows, answers = data(6)
    question = Question(Ridge(1.0).fit(rows, answers), rows[:2])
    exact = ShapleyRegression(Ridge(1.0), rows, answers)(question)
    sampled = ShapleyRegression(Ridge(1.0), rows, answers, orderings=20)(question, seed=1)
    assert sampled.standard_error is not None
    assert sampled.facts["refits"] < 64
    assert (
        float(
            ((sampled.values - exact.values).abs() <= 4 * sampled.standard_error + 1e-9)
            .double()
            .mean()
        )
        == 1.0
    )


def test_the_estimator_and_the_question_are_left_as_found() -> None:
    rows, answers = data(3)
    fitted = Ridge(1.0).fit(rows, answers)
    before = fitted.coef_.copy()
    question = Question(fitted, rows[:2])
    ShapleyRegression(fitted, rows, answers)(question)
    np.testing.assert_array_equal(fitted.coef_, before)


def test_refusals() -> None:
    rows, answers = data(13)
    question = Question(Ridge(1.0).fit(rows, answers), rows[:1])
    with pytest.raises(
        InputError,
        match=r"at most 4096 refits, got 13 features, which need 8192 refits.*orderings=",
    ):
        ShapleyRegression(Ridge(1.0), rows, answers)(question)
    with pytest.raises(InputError, match="of the same examples, got 60 and 59"):
        ShapleyRegression(Ridge(1.0), rows, answers[1:])(question)
    with pytest.raises(InputError, match="answers that vary, got a constant"):
        variance_shares(rows, np.ones(60))
    labels = (answers > 0).astype(int)
    margin = Question(
        wrap(LogisticRegression().fit(rows[:, :2], labels), output="decision_function"),
        rows[:1, :2],
    )
    with pytest.raises(
        InputError, match=r"decision function\. Wrap the estimator with output='predict_proba'"
    ):
        ShapleyRegression(LogisticRegression(), rows[:, :2], labels)(margin)


def test_it_says_its_settings_without_its_data() -> None:
    rows, answers = data(3)
    shown = repr(ShapleyRegression(Ridge(2.0), rows, answers, orderings=8))
    data_shapes = "<rows of shape (60, 3)>, <answers of shape (60,)>"
    assert shown == f"ShapleyRegression(Ridge(alpha=2.0), {data_shapes}, orderings=8)"
    assert torch.is_tensor(
        ShapleyRegression(Ridge(2.0), rows, answers)(
            Question(Ridge().fit(rows, answers), rows[:1])
        ).values
    )


def test_a_pipeline_that_selects_by_name_is_fitted_with_the_names_that_are_there() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(60, 2)), columns=["x", "z"])
    frame["w"] = draw.choice(list("abc"), 60)
    answers = frame["x"] * frame["z"] + 2 * (frame["w"] == "a")

    def pipeline(*parts: tuple[object, list[str]]) -> Pipeline:
        return make_pipeline(make_column_transformer(*parts), LinearRegression())

    fitted = pipeline((OneHotEncoder(), ["w"]), (StandardScaler(), ["x", "z"])).fit(frame, answers)
    asked = frame.iloc[:2]
    question = Question(fitted, asked, removal=Background(frame))
    given = ShapleyRegression(fitted, frame, answers)(question).values.numpy()

    def worth(words: bool, numbers: list[str]) -> np.ndarray:
        parts = [(OneHotEncoder(), ["w"])] * words + [(StandardScaler(), numbers)] * bool(numbers)
        if not parts:
            return np.full(2, answers.mean())
        return pipeline(*parts).fit(frame, answers).predict(asked)

    for column, name in enumerate(frame.columns):
        total = np.zeros(2)
        others = [other for other in frame.columns if other != name]
        for size in range(3):
            for chosen in itertools.combinations(others, size):
                weight = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                both = {*chosen, name}
                gain = worth("w" in both, [n for n in ("x", "z") if n in both])
                gain = gain - worth("w" in chosen, [n for n in ("x", "z") if n in chosen])
                total += weight * gain
        np.testing.assert_allclose(given[:, column], total, rtol=0, atol=TOLERANCE)
