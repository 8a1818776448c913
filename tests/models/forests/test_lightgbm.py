"""Forests of LightGBM are the library's own function, to the last bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
import zoo
from assay.errors import AbilityError, InputError, ModelError
from assay.models.forests.lightgbm import forest_of_text
from assay.models.forests.reading import read_trees
from tree_tables import columns, mixed, numbers, response

lightgbm = pytest.importorskip("lightgbm")

HOLES, CATEGORIES = numbers(), mixed()
WHOLE = HOLES.fillna(1.0)
Y, YC = response(HOLES), response(CATEGORIES)
BINARY, CLASSES = (Y > 1).astype(int), np.asarray(HOLES.i)
FEW: dict[str, Any] = {
    "n_estimators": 10,
    "n_jobs": 1,
    "verbose": -1,
    "min_child_samples": 5,
    "random_state": 0,
}
FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}


def regressor(**settings: Any) -> Any:
    return lightgbm.LGBMRegressor(**{**FEW, **settings})


def classifier(**settings: Any) -> Any:
    return lightgbm.LGBMClassifier(**{**FEW, **settings})


def with_holes(table: pd.DataFrame) -> pd.DataFrame:
    """The same with values that are missing where none was at the fit."""
    changed = table.astype(float)
    changed.iloc[::5] = np.nan
    return changed


CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "numbers": (regressor(), HOLES, Y, HOLES),
    "array": (regressor(), HOLES.to_numpy(), Y, HOLES.to_numpy()),
    "categories": (regressor(), CATEGORIES, YC, CATEGORIES),
    "categories, one at a time": (regressor(max_cat_to_onehot=100), CATEGORIES, YC, CATEGORIES),
    "zero is missing": (regressor(zero_as_missing=True), HOLES, Y, HOLES),
    "nothing is missing": (regressor(use_missing=False), HOLES, Y, HOLES),
    "missing at the prediction alone": (regressor(), WHOLE, Y, with_holes(WHOLE)),
    "dart": (regressor(boosting_type="dart"), CATEGORIES, YC, CATEGORIES),
    "goss": (regressor(data_sample_strategy="goss"), CATEGORIES, YC, CATEGORIES),
    "two classes": (classifier(), CATEGORIES, BINARY, CATEGORIES),
    "steep sigmoid": (classifier(sigmoid=2.0), HOLES, BINARY, HOLES),
    "classes": (classifier(), CATEGORIES, CLASSES, CATEGORIES),
    "one against all": (classifier(objective="multiclassova"), HOLES, CLASSES, HOLES),
    "poisson": (regressor(objective="poisson"), HOLES, abs(Y), HOLES),
    "quantile": (regressor(objective="quantile"), HOLES, Y, HOLES),
    "constant": (regressor(), WHOLE, 0 * Y + 3, WHOLE),
    "stumps": (regressor(num_leaves=2), HOLES, Y, HOLES),
}


@pytest.mark.parametrize("case", CASES)
def test_the_margin_is_the_librarys(case: str) -> None:
    model, table, y, asked = CASES[case]
    trees = read_trees(model.fit(table, y))
    expected = columns(model.predict(asked, raw_score=True))
    np.testing.assert_array_equal(trees.forest.margin(trees.encoded(asked)), expected)


@pytest.mark.parametrize("kind", ["regression", "two classes", "classes"])
def test_a_random_forest_is_averaged_although_its_raw_score_is_not(kind: str) -> None:
    y = {"regression": Y, "two classes": BINARY, "classes": CLASSES}[kind]
    model = (regressor if kind == "regression" else classifier)(**FOREST).fit(HOLES, y)
    trees = assay.wrap(model).trees
    margin = trees.forest.margin(trees.encoded(HOLES))
    raw = columns(model.predict(HOLES, raw_score=True))
    np.testing.assert_allclose(FEW["n_estimators"] * margin, raw, rtol=1e-12, atol=1e-12)
    assert trees.answers is not None
    answers = model.predict(HOLES) if kind == "regression" else model.predict_proba(HOLES)
    np.testing.assert_allclose(trees.answers(margin), columns(answers), rtol=1e-10)


def test_numbers_beside_zero_are_zero() -> None:
    """Zeros of the data make thresholds of 1e-35, which nothing but zero comes near to."""
    table = np.column_stack([WHOLE.b, WHOLE.a])
    model = regressor(zero_as_missing=False).fit(table, Y + 5 * (table[:, 0] > 0))
    trees = read_trees(model)
    rows = np.zeros((7, 2))
    edge = float(np.float32(1e-35))
    rows[:, 0] = [0.0, -0.0, edge, -edge, np.nextafter(edge, 1), -np.nextafter(edge, 1), 1e-40]
    np.testing.assert_array_equal(
        trees.forest.margin(trees.encoded(rows))[:, 0], model.predict(rows)
    )


def test_codes_of_arrays_may_be_unknown_negative_or_broken() -> None:
    codes = np.column_stack([HOLES.a, CATEGORIES.c.cat.codes, HOLES.i, CATEGORIES.d.cat.codes])
    codes = codes.astype(float)
    model = regressor().fit(codes.clip(0), YC, categorical_feature=[1, 3])
    for row, code in enumerate([77, -1, -0.5, 1.7, 1e7, np.nan, 3e9, 1e300, -1e300]):
        codes[row, 1] = code
    trees = read_trees(model)
    np.testing.assert_array_equal(
        trees.forest.margin(trees.encoded(codes))[:, 0], model.predict(codes)
    )


def test_a_booster_stops_where_its_estimator_does() -> None:
    stop = lightgbm.early_stopping(2, verbose=False)
    model = regressor(n_estimators=100, learning_rate=0.5)
    model.fit(HOLES[:200], Y[:200], eval_set=[(HOLES[200:], Y[200:])], callbacks=[stop])
    for predictor in (model, model.booster_):
        trees = read_trees(predictor)
        assert trees.forest.trees == model.best_iteration_ < 100
        expected = predictor.predict(HOLES)
        np.testing.assert_array_equal(trees.forest.margin(trees.encoded(HOLES))[:, 0], expected)


def test_frames_number_their_categories_as_they_like() -> None:
    model = regressor().fit(CATEGORIES, YC)
    letters = pd.Categorical(CATEGORIES.c.astype(object), categories=list("xyzw"))
    table = CATEGORIES.assign(c=letters)
    trees = read_trees(model)
    np.testing.assert_array_equal(
        trees.forest.margin(trees.encoded(table))[:, 0], model.predict(CATEGORIES)
    )
    unknown = CATEGORIES.assign(c=pd.Categorical(["q", *CATEGORIES.c.astype(object)[1:]]))
    with pytest.raises(InputError, match=r"\['w', 'x', 'y', 'z'\], got \['q'\] in column 'c'"):
        trees.encoded(unknown)


def test_a_constant_category_does_not_shift_the_others() -> None:
    """The file says of a constant column only that there is nothing to split."""
    table = CATEGORIES.assign(c=pd.Categorical(["x"] * len(CATEGORIES)))
    model = regressor().fit(table, YC)
    trees = read_trees(model)
    expected = model.predict(table)
    np.testing.assert_array_equal(trees.forest.margin(trees.encoded(table))[:, 0], expected)
    with pytest.raises(InputError, match="2 columns of categories"):
        trees.encoded(table.assign(c=0.0))


def test_leaves_with_linear_models_are_refused_by_name() -> None:
    model = regressor(linear_tree=True).fit(WHOLE, Y)
    with pytest.raises(AbilityError, match="linear_tree=True"):
        read_trees(model)


def test_what_is_not_fitted_or_newer_is_refused() -> None:
    with pytest.raises(ModelError, match="Call fit"):
        read_trees(regressor())
    text = regressor().fit(HOLES, Y).booster_.model_to_string()
    with pytest.raises(ModelError, match="in the format 'v9'"):
        forest_of_text(text.replace("version=v4", "version=v9"))


def test_a_booster_and_its_file_are_one_function(tmp_path: Path) -> None:
    model = regressor().fit(CATEGORIES, YC)
    file = tmp_path / "model.txt"
    model.booster_.save_model(file)
    trees = assay.wrap(str(file)).trees
    np.testing.assert_array_equal(
        trees.forest.margin(trees.encoded(CATEGORIES))[:, 0], model.predict(CATEGORIES)
    )


def sparse_rows(file: Path, features: int) -> np.ndarray:
    """Rows of the format label feature:value ..., NaN where nothing is said."""
    lines = file.read_text().splitlines()
    rows = np.full((len(lines), features), np.nan)
    for row, line in enumerate(lines):
        for cell in line.split()[1:]:
            column, _, value = cell.partition(":")
            if value:
                rows[row, int(column)] = float(value)
    return rows


@zoo.needs_data
def test_trained_on_published_data_it_is_the_librarys() -> None:
    """LightGBM's own example of categories, read as its tests read it."""
    table = np.full((1000, 8), np.nan)
    labels = np.zeros(1000)
    lines = (zoo.data_root() / "tree_models" / "categorical.data").read_text().splitlines()
    for row, line in enumerate(lines[:1000]):
        label, *cells = line.split()
        labels[row] = float(label)
        for cell in cells:
            column, _, value = cell.partition(":")
            table[row, int(column)] = float(value)
    model = classifier().fit(table, labels, categorical_feature=list(range(8)))
    trees = read_trees(model)
    assert (trees.forest.category_start >= 0).sum() > 20
    expected = model.predict(table, raw_score=True)
    np.testing.assert_array_equal(trees.forest.margin(trees.encoded(table))[:, 0], expected)


@zoo.needs_data
def test_published_predictions_are_reproduced() -> None:
    """Treelite's model of categories (LightGBM text, version v2), with the predictions beside it."""
    folder = zoo.data_root() / "tree_models" / "treelite"
    expected = np.loadtxt(folder / "toy_categorical.test.pred")
    rows = sparse_rows(folder / "toy_categorical.test", 2)
    file = folder / "toy_categorical_model.txt"
    np.testing.assert_array_equal(forest_of_text(file.read_text()).margin(rows)[:, 0], expected)
    trees = assay.wrap(file).trees
    np.testing.assert_array_equal(trees.forest.margin(trees.encoded(rows))[:, 0], expected)


def test_numbers_beside_zero_are_compared_with_the_librarys() -> None:
    trees = read_trees(regressor(zero_as_missing=True).fit(HOLES, Y))
    wrong = dataclasses.replace(trees, forest=dataclasses.replace(trees.forest, zero_bound=0.0))
    with pytest.raises(ModelError, match="likely cause"):
        wrong.verify()
