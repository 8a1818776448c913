"""Forests of XGBoost are the library's own function, in all forms that it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
from assay.errors import AbilityError, InputError, ModelError
from assay.models.forests.reading import read_trees
from assay.models.forests.xgboost import _base, _forest, _kept
from tree_tables import columns, mixed, numbers, response

xgboost = pytest.importorskip("xgboost")

HOLES, CATEGORIES = numbers(), mixed()
Y, YC = response(HOLES), response(CATEGORIES)
BINARY, CLASSES = (Y > 1).astype(int), np.asarray(HOLES.i)
THREE = np.column_stack([Y, 2 * Y + HOLES.i, Y**2])
FEW: dict[str, Any] = {
    "n_estimators": 10,
    "max_depth": 4,
    "n_jobs": 1,
    "enable_categorical": True,
}


def regressor(**settings: Any) -> Any:
    return xgboost.XGBRegressor(**{**FEW, **settings})


def classifier(**settings: Any) -> Any:
    return xgboost.XGBClassifier(**{**FEW, **settings})


CASES: dict[str, tuple[Any, Any, Any]] = {
    "numbers": (regressor(), HOLES, Y),
    "array": (regressor(), HOLES.to_numpy(), Y),
    "categories": (regressor(), CATEGORIES, YC),
    "categories, one at a time": (regressor(max_cat_to_onehot=100), CATEGORIES, YC),
    "dart": (regressor(booster="dart", rate_drop=0.5), CATEGORIES, YC),
    "dart, classes": (
        classifier(booster="dart", rate_drop=0.5, num_parallel_tree=2),
        HOLES,
        CLASSES,
    ),
    "two classes": (classifier(), CATEGORIES, BINARY),
    "classes": (classifier(), CATEGORIES, CLASSES),
    "several outputs": (regressor(), HOLES, THREE),
    "vectors": (regressor(multi_strategy="multi_output_tree"), HOLES, THREE),
    "vectors, classes": (classifier(multi_strategy="multi_output_tree"), HOLES, CLASSES),
    "several labels": (classifier(), HOLES, (THREE.mean(0) < THREE).astype(int)),
    "random forest": (xgboost.XGBRFClassifier(n_estimators=20, n_jobs=1), HOLES, BINARY),
    "another mark": (regressor(missing=-999.0), HOLES.fillna(-999.0), Y),
    "pruned": (regressor(tree_method="exact", gamma=30, enable_categorical=False), HOLES, Y),
    "single leaves": (regressor(gamma=1e9), HOLES, Y),
}

OBJECTIVES = [
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "reg:logistic",
    "count:poisson",
    "reg:gamma",
    "reg:tweedie",
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "survival:cox",
]


def check(model: Any, table: Any) -> None:
    trees = read_trees(model)
    margin = trees.forest.margin(trees.encoded(table))
    expected = columns(model.predict(table, output_margin=True))
    # The library adds in float32: the difference is that of its rounding.
    np.testing.assert_allclose(margin, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
def test_the_margin_is_the_librarys(case: str) -> None:
    model, table, y = CASES[case]
    check(model.fit(table, y), table)


@pytest.mark.parametrize("base_score", [None, 0.3], ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_base_score_is_in_units_of_the_prediction(objective: str, base_score: Any) -> None:
    y = BINARY if objective.startswith("binary") or "logistic" in objective else abs(Y) + 0.1
    model = regressor(objective=objective, base_score=base_score, n_estimators=4)
    check(model.fit(HOLES, y), HOLES)


def test_quantiles_have_an_output_each() -> None:
    model = regressor(objective="reg:quantileerror", quantile_alpha=np.array([0.1, 0.5]))
    check(model.fit(HOLES, Y), HOLES)


def test_scores_of_older_and_newer_files() -> None:
    np.testing.assert_allclose(_base("5E-1", "binary:logistic", 1), [0.0])
    np.testing.assert_allclose(_base("[5E-1]", "count:poisson", 1), [np.log(0.5)])
    np.testing.assert_allclose(_base("[1E0,-2.5E0]", "multi:softprob", 2), [1.0, -2.5])
    np.testing.assert_allclose(_base("2E0", "reg:squarederror", 3), [2.0, 2.0, 2.0])
    np.testing.assert_allclose(_base("1E0", "survival:cox", 1), [0.0])


@pytest.mark.parametrize("share", [0.5, 0.52, 0.56], ids=str)
def test_an_intercept_near_zero_is_rounded_as_the_library_rounds_it(share: float) -> None:
    """One small tree on classes that are nearly even: the intercept's own rounding is the largest."""
    draws = np.random.Generator(np.random.Philox(round(100 * share) - 50))
    table = draws.normal(size=(333, 3))
    y = (draws.random(333) < share).astype(int)
    model = regressor(objective="binary:logistic", n_estimators=1, learning_rate=0.001)
    trees = read_trees(model.fit(table, y))
    trees.encoded(table)


def test_an_estimator_stops_at_the_best_iteration_and_a_booster_does_not() -> None:
    model = regressor(n_estimators=60, early_stopping_rounds=2, num_parallel_tree=2, subsample=0.5)
    model.fit(HOLES[:200], Y[:200], eval_set=[(HOLES[200:], Y[200:])], verbose=False)
    booster = model.get_booster()
    assert booster.num_boosted_rounds() > model.best_iteration + 1
    check(model, HOLES)
    trees = read_trees(booster)
    assert trees.forest.trees > read_trees(model).forest.trees
    expected = booster.predict(xgboost.DMatrix(HOLES), output_margin=True)
    margin = trees.forest.margin(trees.encoded(HOLES))[:, 0]
    np.testing.assert_allclose(margin, expected, rtol=1e-5, atol=1e-5)


def test_files_of_before_iterations_were_counted_have_as_many_trees_in_each() -> None:
    model = {"trees": [{}] * 12, "tree_info": [0, 0, 1, 1] * 3, "gbtree_model_param": {}}
    model["gbtree_model_param"] = {"num_parallel_tree": "2"}
    assert _kept(model, (0, 0)) == 12
    assert _kept(model, (0, 2)) == 8


def test_vectors_of_older_files_lie_at_their_nodes() -> None:
    model = regressor(multi_strategy="multi_output_tree", n_estimators=3).fit(HOLES, THREE)
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    forest, _ = _forest(learner, (0, 0))
    for tree in learner["gradient_booster"]["model"]["trees"]:
        width, place = tree["tree_param"]["size_leaf_vector"], tree["right_children"]
        vectors = np.reshape(tree.pop("leaf_weights"), (-1, int(width)))
        nodes = np.zeros((len(place), int(width)))
        for node, left in enumerate(tree["left_children"]):
            if left == -1:
                nodes[node] = vectors[place[node]]
        tree["base_weights"] = nodes.ravel().tolist()
    older, _ = _forest(learner, (0, 0))
    np.testing.assert_array_equal(older.value, forest.value)


def test_frames_number_their_categories_as_they_like() -> None:
    model = regressor().fit(CATEGORIES, YC)
    table = CATEGORIES.assign(
        c=pd.Categorical(CATEGORIES.c.astype(object), categories=list("xyzw"))
    )
    check(model, table)


def test_codes_of_arrays_may_be_unknown_negative_or_broken() -> None:
    codes = np.column_stack([HOLES.a, CATEGORIES.c.cat.codes, HOLES.i, CATEGORIES.d.cat.codes])
    codes = codes.astype(float)
    model = regressor(feature_types=["q", "c", "q", "c"]).fit(codes.clip(0), YC)
    for row, code in enumerate([77, -1, -0.5, 1.7, 1e7, np.nan]):
        codes[row, 1] = code
    check(model, codes)


def test_categories_that_were_never_seen_are_refused_by_name() -> None:
    model = regressor().fit(CATEGORIES, YC)
    table = CATEGORIES.assign(c=pd.Categorical(["q", *CATEGORIES.c.astype(object)[1:]]))
    with pytest.raises(InputError, match=r"\['w', 'x', 'y', 'z'\], got \['q'\] in column 'c'"):
        read_trees(model).encoded(table)


def test_categories_that_no_row_has_are_no_matter() -> None:
    trees = read_trees(regressor().fit(CATEGORIES, YC))
    more = CATEGORIES.assign(c=CATEGORIES.c.cat.add_categories(["q"]))
    np.testing.assert_array_equal(trees.encoded(more), trees.encoded(CATEGORIES))


def test_what_has_no_trees_is_refused_by_name() -> None:
    linear = xgboost.train({"booster": "gblinear"}, xgboost.DMatrix(HOLES.fillna(0), Y), 2)
    with pytest.raises(AbilityError, match="gblinear"):
        read_trees(linear)
    with pytest.raises(ModelError, match="Call fit"):
        read_trees(regressor())


@pytest.mark.parametrize("version", [[9, 1, 0], [3, 99, 1]], ids=str)
def test_a_file_of_a_newer_version_is_refused(version: list[int]) -> None:
    model = regressor(n_estimators=2).fit(HOLES, Y)
    saved = json.loads(bytes(model.get_booster().save_raw("json")))
    saved["version"] = version

    class Newer:
        feature_types = None
        save_raw = staticmethod(lambda kind: json.dumps(saved).encode())

    Newer.__module__ = "xgboost.core"
    shown = ".".join(map(str, version))
    with pytest.raises(ModelError, match=rf"{shown}, whose format is not known"):
        read_trees(Newer())


def test_a_booster_and_its_files_are_one_function(tmp_path: Path) -> None:
    model = classifier().fit(HOLES, BINARY)
    expected = model.predict(HOLES, output_margin=True)
    for ending in ("json", "ubj"):
        file = tmp_path / f"model.{ending}"
        model.save_model(file)
        trees = assay.wrap(file, output="margin").trees
        margin = trees.forest.margin(trees.encoded(HOLES))[:, 0]
        np.testing.assert_allclose(margin, expected, rtol=1e-5, atol=1e-6)
