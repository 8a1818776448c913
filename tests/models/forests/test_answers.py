"""What boosters answer with follows from the margin by the link that is read: probabilities of two and of
several classes, one against all, numbers behind a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import assay
from tree_tables import columns, numbers, response

TABLE = numbers()
Y = response(TABLE)
BINARY, CLASSES = (Y > 1).astype(int), np.asarray(TABLE.i)
FEW: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 4, "max_depth": 3, "n_jobs": 1},
    "lightgbm": {"n_estimators": 4, "min_child_samples": 5, "verbose": -1, "n_jobs": 1},
    "catboost": {
        "iterations": 4, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False,
    },
}  # fmt: skip


def fitted(library: str, name: str, y: Any, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        kind = getattr(pytest.importorskip(library), name)
        return kind(**FEW[library], **settings).fit(TABLE, y)

    return make


MODELS: dict[str, Callable[[], Any]] = {
    "XGBoost, two": fitted("xgboost", "XGBClassifier", BINARY),
    "XGBoost, classes": fitted("xgboost", "XGBClassifier", CLASSES),
    "XGBoost, counts": fitted("xgboost", "XGBRegressor", abs(Y), objective="count:poisson"),
    "XGBoost, shares": fitted("xgboost", "XGBRegressor", BINARY, objective="reg:logistic"),
    "LightGBM, two": fitted("lightgbm", "LGBMClassifier", BINARY),
    "LightGBM, steep": fitted("lightgbm", "LGBMClassifier", BINARY, sigmoid=2.5),
    "LightGBM, classes": fitted("lightgbm", "LGBMClassifier", CLASSES),
    "LightGBM, one against all": fitted(
        "lightgbm", "LGBMClassifier", CLASSES, objective="multiclassova"
    ),
    "LightGBM, counts": fitted("lightgbm", "LGBMRegressor", abs(Y), objective="poisson"),
    "LightGBM, roots": fitted("lightgbm", "LGBMRegressor", abs(Y), reg_sqrt=True),
    "CatBoost, two": fitted("catboost", "CatBoostClassifier", BINARY),
    "CatBoost, classes": fitted("catboost", "CatBoostClassifier", CLASSES),
    "CatBoost, one against all": fitted(
        "catboost", "CatBoostClassifier", CLASSES, loss_function="MultiClassOneVsAll"
    ),
    "CatBoost, counts": fitted("catboost", "CatBoostRegressor", abs(Y), loss_function="Poisson"),
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_follow_from_the_margin(name: str) -> None:
    model = MODELS[name]()
    trees = assay.wrap(model).trees
    assert trees.answers is not None
    made = trees.answers(trees.forest.margin(trees.encoded(TABLE)))
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    expected = columns(getattr(model, method)(TABLE))
    # XGBoost answers in single precision.
    tolerance = 1e-5 if name.startswith("XGBoost") else 1e-9
    np.testing.assert_allclose(made, expected, rtol=0, atol=tolerance * abs(expected).max())
    assert not trees.answers.is_linear
