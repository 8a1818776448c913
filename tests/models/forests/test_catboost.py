"""Forests of CatBoost are the library's own function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay
from assay.errors import AbilityError, ModelError
from assay.models.forests.reading import read_trees
from tree_tables import columns, generator, numbers, response

catboost = pytest.importorskip("catboost")

HOLES = numbers()
WHOLE = HOLES.fillna(0.0)
Y = response(HOLES)
BINARY, CLASSES = (Y > 1).astype(int), np.asarray(HOLES.i)
WORDS = HOLES.assign(
    c=generator(3).choice(list("zyxw"), len(HOLES)), k=generator(4).integers(0, 30, len(HOLES))
)
YW = Y + 3 * (WORDS.c == "z") + WORDS.k % 5
UNSEEN = WORDS.copy()
UNSEEN.loc[0, "c"] = "unseen"
UNSEEN.loc[1, "k"] = 777
FEW: dict[str, Any] = {
    "iterations": 10,
    "depth": 4,
    "verbose": 0,
    "thread_count": 1,
    "allow_writing_files": False,
}
ONE_HOT: dict[str, Any] = {"one_hot_max_size": 100, "cat_features": ["c", "k"]}


def regressor(**settings: Any) -> Any:
    return catboost.CatBoostRegressor(**{**FEW, **settings})


def classifier(**settings: Any) -> Any:
    return catboost.CatBoostClassifier(**{**FEW, **settings})


def with_holes(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.copy()
    changed.iloc[::3, 0] = np.nan
    return changed


CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "numbers": (regressor(), HOLES, Y, HOLES),
    "array": (regressor(), WHOLE.to_numpy(), Y, WHOLE.to_numpy()),
    "missing is least": (regressor(nan_mode="Min"), HOLES, Y, HOLES),
    "missing is most": (regressor(nan_mode="Max"), HOLES, Y, HOLES),
    "missing at the prediction alone": (regressor(), WHOLE, Y, with_holes(WHOLE)),
    "categories": (regressor(**ONE_HOT), WORDS, YW, UNSEEN),
    "categories of a frame": (
        regressor(**ONE_HOT),
        WORDS.astype({"c": "category"}),
        YW,
        UNSEEN.astype({"c": "category"}),
    ),
    "level by level": (regressor(grow_policy="Depthwise", **ONE_HOT), WORDS, YW, UNSEEN),
    "leaf by leaf": (regressor(grow_policy="Lossguide", **ONE_HOT), WORDS, YW, UNSEEN),
    "leaf by leaf, classes": (
        classifier(grow_policy="Lossguide", **ONE_HOT),
        WORDS,
        CLASSES,
        UNSEEN,
    ),
    "two classes": (classifier(**ONE_HOT), WORDS, BINARY, UNSEEN),
    "classes": (classifier(), HOLES, CLASSES, HOLES),
    "one against all": (classifier(loss_function="MultiClassOneVsAll"), HOLES, CLASSES, HOLES),
    "poisson": (regressor(loss_function="Poisson"), HOLES, abs(Y), HOLES),
    "several outputs": (
        regressor(loss_function="MultiRMSE"),
        HOLES,
        np.column_stack([Y, Y**2]),
        HOLES,
    ),
}


def check(model: Any, table: Any) -> None:
    trees = assay.wrap(model).trees
    margin = trees.forest.margin(trees.encoded(table))
    expected = columns(model.predict(table, prediction_type="RawFormulaVal"))
    np.testing.assert_allclose(margin, expected, rtol=1e-12, atol=1e-12)
    # With texts that it has met the codes of categories can be probed as well.
    trees.verify()


@pytest.mark.parametrize("case", CASES)
def test_the_margin_is_the_librarys(case: str) -> None:
    model, table, y, asked = CASES[case]
    check(model.fit(table, y), asked)


def test_scale_and_bias_count() -> None:
    model = regressor(**ONE_HOT).fit(WORDS, YW)
    model.set_scale_and_bias(2.5, -7.0)
    check(model, WORDS)


def test_statistics_of_targets_are_refused_by_name() -> None:
    model = regressor(cat_features=["c", "k"], one_hot_max_size=2).fit(WORDS, YW)
    with pytest.raises(AbilityError, match="statistics of the target in each category"):
        read_trees(model)


def test_what_is_not_fitted_is_refused() -> None:
    with pytest.raises(ModelError, match="Call fit"):
        read_trees(regressor())


@pytest.mark.parametrize("form", ["cbm", "json"])
def test_a_model_and_its_file_are_one_function(tmp_path: Path, form: str) -> None:
    model = regressor().fit(HOLES, Y)
    file = tmp_path / f"model.{form}"
    model.save_model(str(file), format=form)
    trees = assay.wrap(file).trees
    margin = trees.forest.margin(trees.encoded(HOLES))[:, 0]
    np.testing.assert_allclose(margin, model.predict(HOLES), rtol=1e-12)


def test_categories_outlive_the_file(tmp_path: Path) -> None:
    model = regressor(**ONE_HOT).fit(WORDS, YW)
    file = tmp_path / "model.cbm"
    model.save_model(str(file))
    check(catboost.CatBoost().load_model(str(file)), UNSEEN)
