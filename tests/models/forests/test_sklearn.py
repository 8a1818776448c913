"""Forests of scikit-learn are the library's own function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

import assay
from assay.errors import AbilityError
from assay.models.base import Ability
from assay.models.forests.reading import read_trees
from tree_tables import columns, mixed, numbers, response

HOLES = numbers()
WHOLE = numbers(missing=False)
CATEGORIES = mixed()
Y, YC = response(HOLES), response(CATEGORIES)
BINARY = (Y > 1).astype(int)
CLASSES = np.asarray(HOLES.i)
TWO = np.column_stack([Y, -2 * Y + HOLES.i])
TWO_CLASSES = np.column_stack([CLASSES, BINARY])


def predict(model: Any, table: Any) -> Any:
    return model.predict(table)


def proba(model: Any, table: Any) -> Any:
    return model.predict_proba(table)


def probas(model: Any, table: Any) -> Any:
    return np.hstack(model.predict_proba(table))


def decision(model: Any, table: Any) -> Any:
    return model.decision_function(table)


def logarithm(model: Any, table: Any) -> Any:
    return np.log(model.predict(table))


HIST = {"max_iter": 15, "min_samples_leaf": 3}

CASES: dict[str, tuple[Any, Any, Any, Callable[..., Any]]] = {
    "tree": (DecisionTreeRegressor(), HOLES, Y, predict),
    "extra tree": (ExtraTreeRegressor(), HOLES, Y, predict),
    "tree, two outputs": (DecisionTreeRegressor(), HOLES, TWO, predict),
    "tree, one leaf": (DecisionTreeRegressor(), HOLES, 0 * Y, predict),
    "tree, depth 20": (DecisionTreeRegressor(max_depth=20), WHOLE, Y, predict),
    "classes": (DecisionTreeClassifier(), WHOLE, CLASSES, proba),
    "extra classes": (ExtraTreeClassifier(), WHOLE, CLASSES, proba),
    "two targets": (DecisionTreeClassifier(max_depth=4), WHOLE, TWO_CLASSES, probas),
    "forest": (RandomForestRegressor(10), HOLES, Y, predict),
    "forest, two outputs": (RandomForestRegressor(10), HOLES, TWO, predict),
    "forest, classes": (RandomForestClassifier(10), HOLES, CLASSES, proba),
    "forest, weights": (RandomForestClassifier(9, class_weight="balanced"), HOLES, BINARY, proba),
    "forest, two targets": (RandomForestClassifier(10), HOLES, TWO_CLASSES, probas),
    "extra trees": (ExtraTreesRegressor(10), HOLES, Y, predict),
    "extra trees, classes": (ExtraTreesClassifier(10), HOLES, CLASSES, proba),
    "bag": (BaggingRegressor(DecisionTreeRegressor(), 10, max_features=0.7), WHOLE, Y, predict),
    "bag, few classes": (
        BaggingClassifier(DecisionTreeClassifier(), 10, max_samples=8, max_features=0.7),
        WHOLE,
        CLASSES,
        proba,
    ),
    "boosting": (GradientBoostingRegressor(n_estimators=20, subsample=0.5), WHOLE, Y, predict),
    "boosting, huber": (GradientBoostingRegressor(loss="huber", n_estimators=9), WHOLE, Y, predict),
    "boosting, zero": (GradientBoostingRegressor(init="zero", n_estimators=9), WHOLE, Y, predict),
    "boosting, two": (GradientBoostingClassifier(n_estimators=9), WHOLE, BINARY, decision),
    "boosting, exponential": (
        GradientBoostingClassifier(loss="exponential", n_estimators=9),
        WHOLE,
        BINARY,
        decision,
    ),
    "boosting, classes": (GradientBoostingClassifier(n_estimators=5), WHOLE, CLASSES, decision),
    "histograms": (HistGradientBoostingRegressor(**HIST), HOLES, Y, predict),
    "histograms, categories": (
        HistGradientBoostingRegressor(categorical_features="from_dtype", **HIST),
        CATEGORIES,
        YC,
        predict,
    ),
    "histograms, named": (
        HistGradientBoostingRegressor(categorical_features=["c"], **HIST),
        CATEGORIES,
        YC,
        predict,
    ),
    "histograms, numbers as categories": (
        HistGradientBoostingRegressor(categorical_features=[1], **HIST),
        np.column_stack([WHOLE.b, 10.0 * WHOLE.i + 3, WHOLE.a]),
        Y,
        predict,
    ),
    "histograms, poisson": (
        HistGradientBoostingRegressor(loss="poisson", **HIST),
        HOLES,
        abs(Y),
        logarithm,
    ),
    "histograms, two": (HistGradientBoostingClassifier(**HIST), CATEGORIES, BINARY, decision),
    "histograms, classes": (HistGradientBoostingClassifier(**HIST), CATEGORIES, CLASSES, decision),
}


@pytest.mark.parametrize("case", CASES)
def test_the_margin_is_the_librarys(case: str) -> None:
    model, table, y, margin = CASES[case]
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    trees = read_trees(model.fit(table, y))
    expected = columns(margin(model, table))
    np.testing.assert_allclose(
        trees.forest.margin(trees.encoded(table)), expected, rtol=1e-12, atol=1e-12
    )
    # Cover is the weight of the rows that came by: the root has all of a leafs' together.
    inner = np.flatnonzero(trees.forest.feature >= 0)
    parts = (
        trees.forest.cover[trees.forest.left[inner]],
        trees.forest.cover[trees.forest.right[inner]],
    )
    np.testing.assert_allclose(trees.forest.cover[inner], sum(parts), rtol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"max_features": 0.6, "max_samples": 50}], ids=str)
def test_an_isolation_forest_is_the_mean_length_of_its_ways(settings: dict[str, Any]) -> None:
    model = IsolationForest(n_estimators=20, random_state=0, **settings).fit(WHOLE)
    wrapped = assay.wrap(model)
    margin = wrapped.trees.forest.margin(wrapped.trees.encoded(WHOLE))
    answers = wrapped.trees.answers
    assert answers is not None
    np.testing.assert_allclose(
        answers(margin)[:, 0], model.decision_function(WHOLE), rtol=0, atol=1e-12
    )


def test_unknown_categories_of_histograms_go_where_missing_values_go() -> None:
    model = HistGradientBoostingRegressor(categorical_features=["c", "d"], **HIST)
    trees = read_trees(model.fit(CATEGORIES, YC))
    table = CATEGORIES.copy()
    table["c"] = pd.Categorical(["never", *table.c.astype(object)[1:]])
    codes = trees.encoded(table)
    assert np.isnan(codes[0, 1])
    np.testing.assert_allclose(trees.forest.margin(codes)[:, 0], model.predict(table), rtol=1e-12)


def test_a_first_estimate_that_is_a_model_is_refused_by_name() -> None:
    model = GradientBoostingRegressor(init=LinearRegression(), n_estimators=5).fit(WHOLE, Y)
    with pytest.raises(AbilityError, match=r"init=LinearRegression"):
        read_trees(model)


def test_what_is_no_sum_of_trees_has_not_the_ability() -> None:
    for model in (AdaBoostRegressor(), LinearRegression(), BaggingRegressor(LinearRegression())):
        wrapped = assay.wrap(model.fit(WHOLE, Y))
        assert Ability.TREES not in wrapped.abilities
        with pytest.raises(AbilityError, match="ensemble of trees"):
            wrapped.trees  # noqa: B018


def test_counts_of_older_versions_are_made_probabilities() -> None:
    """Before version 1.3 leaves of classifiers held counts."""
    from assay.models.forests.sklearn import _leaf_values

    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(WHOLE, CLASSES)
    counted = model.tree_.value * model.tree_.weighted_n_node_samples[:, None, None]

    class Older:
        n_classes_ = model.n_classes_
        predict_proba = model.predict_proba
        tree_ = type("Grown", (), {"value": counted})

    np.testing.assert_allclose(_leaf_values(Older), _leaf_values(model), rtol=1e-12)
