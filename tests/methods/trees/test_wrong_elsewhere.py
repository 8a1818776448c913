"""Models that are explained wrongly elsewhere without a word: here credit is that of all coalitions by the
library's own answers, and adds up to what the library predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

import assay
from assay.errors import AssayError
from tree_tables import generator, mixed, numbers, response

HOLES, CATEGORIES = numbers(), mixed()
WHOLE = HOLES.fillna(1.0)
Y, YC = response(HOLES), response(CATEGORIES)
LEVELS = WHOLE.assign(
    few=pd.Categorical(generator(8).integers(0, 6, 300)),
    many=pd.Categorical(generator(9).integers(0, 60, 300)),
)
YL = Y + np.asarray(LEVELS.few.astype(int)) * 2.0 % 5 + np.asarray(LEVELS.many.astype(int)) % 7
Fitted = tuple[Any, pd.DataFrame, float]
"""A model, rows for it, and what its library may be off by for adding in float32."""


def lightgbm(table: pd.DataFrame, y: Any, asked: pd.DataFrame, **settings: Any) -> Fitted:
    library = pytest.importorskip("lightgbm")
    few = {"n_estimators": 12, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
    return library.LGBMRegressor(**{**few, **settings}).fit(table, y), asked, 1e-9


def xgboost(table: pd.DataFrame, y: Any, **settings: Any) -> Fitted:
    library = pytest.importorskip("xgboost")
    few = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1, "enable_categorical": True}
    return library.XGBRegressor(**{**few, **settings}).fit(table, y), table, 1e-5


def catboost() -> Fitted:
    library = pytest.importorskip("catboost")
    few = {"iterations": 12, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    return library.CatBoostRegressor(**few).fit(HOLES, Y + 100), HOLES, 1e-9


def early_stopped() -> Fitted:
    library = pytest.importorskip("xgboost")
    settings = {"max_depth": 4, "eta": 1.0, "nthread": 1}
    train, test = (library.DMatrix(HOLES[cut], Y[cut]) for cut in (slice(150), slice(150, None)))
    model = library.train(
        settings, train, 30, evals=[(test, "test")], early_stopping_rounds=3, verbose_eval=False
    )
    assert model.best_iteration + 1 < model.num_boosted_rounds()
    return model, HOLES, 1e-5


def histograms(**settings: Any) -> Fitted:
    model = HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5, **settings)
    return model.fit(CATEGORIES, YC), CATEGORIES, 1e-9


CASES: dict[str, Callable[[], Fitted]] = {
    "CatBoost, scale and bias": catboost,
    "histograms, categories": lambda: histograms(categorical_features="from_dtype"),
    "XGBoost, DART": lambda: xgboost(HOLES, Y, booster="dart", rate_drop=0.5),
    "LightGBM, zero as missing": lambda: lightgbm(HOLES, Y, HOLES, zero_as_missing=True),
    "LightGBM, NaN at the prediction alone": lambda: lightgbm(WHOLE, Y, HOLES),
    "LightGBM, random forest": lambda: lightgbm(
        HOLES, Y, HOLES, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5
    ),
    # With so few rows to a level sets of many would not be asked about, had they to hold a hundred.
    "LightGBM, 6 and 60 levels": lambda: lightgbm(
        LEVELS, YL, LEVELS, max_cat_to_onehot=2, min_data_per_group=5, cat_smooth=1.0
    ),
    "XGBoost, categories": lambda: xgboost(LEVELS, YL),
    "XGBoost, early-stopped booster": early_stopped,
}


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", CASES)
def test_credit_is_that_of_the_librarys_own_answers(name: str) -> None:
    model, table, tolerance = CASES[name]()
    rows, background = table.iloc[:6], table.iloc[40:52]
    question = assay.Question(model, rows, removal=assay.Background(background))
    answer, exact = assay.TreeShap()(question), assay.ExactShapley()(question)
    close(answer.values, exact.values, tolerance)
    along = assay.TreeShap("path_dependent")(question)
    for found in (answer, along):
        close(found.base + found.values.sum(1), question.prediction, tolerance)


def test_vectors_in_leaves_and_several_classes_have_credit_of_every_output() -> None:
    classes = np.asarray(HOLES.i)
    boosted = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(WHOLE, classes)
    models = [(assay.wrap(boosted, output="decision_function"), 1e-9)]
    library = pytest.importorskip("xgboost")
    vectors = library.XGBRegressor(
        n_estimators=8, max_depth=3, n_jobs=1, multi_strategy="multi_output_tree"
    )
    models.append((assay.wrap(vectors.fit(WHOLE, np.column_stack([Y, Y**2, -Y]))), 1e-5))
    for model, tolerance in models:
        removal = assay.Background(WHOLE.iloc[40:52])
        question = assay.Question(model, WHOLE.iloc[:6], target=0, removal=removal)
        for answer, exact in zip(
            assay.TreeShap().for_outputs(question),
            assay.ExactShapley().for_outputs(question),
            strict=True,
        ):
            close(answer.values, exact.values, tolerance)


def test_linear_leaves_are_refused_by_name() -> None:
    model, table, _ = lightgbm(WHOLE, Y, WHOLE, linear_tree=True)
    question = assay.Question(model, table.iloc[:6], removal=assay.Background(table.iloc[40:52]))
    with pytest.raises(AssayError, match=r"linear_tree=True"):
        assay.TreeShap()(question)
