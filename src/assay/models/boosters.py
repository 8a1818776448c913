"""Boosters of XGBoost and LightGBM without their scikit-learn clothes, asked as estimators are; and
the margin of those in such clothes.

XGBoost wants a `DMatrix`; LightGBM takes tables as they are, but matches columns by place. Both give
what their objective says (a probability of the positive class, one column for each class, a number),
or the margin before the link.
"""

from __future__ import annotations

import json
from typing import Any

MARGIN = "margin"
"""What the trees add up to, before the link."""

BOOSTER_ANSWERS = ("predict", MARGIN)
"""What a booster can be asked for: its own prediction first."""

_PROBABILITIES = {
    "binary:logistic",
    "multi:softprob",
    "reg:logistic",
    "binary",
    "multiclass",
    "multiclassova",
    "cross_entropy",
}


def is_booster(predictor: Any) -> bool:
    """Whether a predictor is a native booster."""
    return type(predictor).__name__ == "Booster" and _library(predictor) in ("xgboost", "lightgbm")


def has_margin(estimator: Any) -> bool:
    """Whether an estimator of XGBoost, LightGBM or CatBoost tells its margin when it is asked to."""
    library = _library(estimator)
    if library == "xgboost":
        return hasattr(estimator, "get_booster")
    # Asked of the class: of an estimator that is not fitted the property itself raises.
    if library == "lightgbm":
        return hasattr(type(estimator), "booster_")
    return library == "catboost" and hasattr(estimator, "calc_leaf_indexes")


def asked_margin(estimator: Any, table: Any) -> Any:
    """The margin of such an estimator."""
    library = _library(estimator)
    if library == "xgboost":
        return estimator.predict(table, output_margin=True)
    if library == "lightgbm":
        return estimator.predict(table, raw_score=True)
    return estimator.predict(table, prediction_type="RawFormulaVal")


def asked_booster(booster: Any, answer: str, table: Any) -> Any:
    """What a booster says of a table, a frame or an array."""
    margin = answer == "margin"
    if _library(booster) == "lightgbm":
        return booster.predict(table, raw_score=margin)
    import xgboost

    beside: dict[str, Any] = {}
    # Columns of an array take the names and types of the fit, category codes among them.
    if not hasattr(table, "columns"):
        beside = {"feature_names": booster.feature_names, "feature_types": booster.feature_types}
    matrix = xgboost.DMatrix(table, enable_categorical=True, **beside)
    return booster.predict(matrix, output_margin=margin)


def gives_probabilities(booster: Any, answer: str) -> bool | None:
    """Whether the numbers are probabilities, by the booster's objective; None where it has none."""
    if answer == "margin":
        return False
    objective = _objective(booster)
    return objective in _PROBABILITIES if objective else None


def gives_labels(booster: Any, answer: str) -> bool:
    """Whether the numbers are those of classes, which are not more or less."""
    return answer == "predict" and _objective(booster) == "multi:softmax"


def _objective(booster: Any) -> str:
    """The name of what a booster was trained for; empty for a function of one's own."""
    if _library(booster) == "xgboost":
        try:
            return str(json.loads(booster.save_config())["learner"]["objective"]["name"])
        except Exception:  # never trained: the call will tell
            return ""
    # As its file says it, whatever alias it was trained by: "objective=binary sigmoid:1".
    for line in booster.model_to_string(num_iteration=1).splitlines():
        if line.startswith("objective="):
            return str(line.removeprefix("objective=").split()[0])
    return ""


def _library(predictor: Any) -> str:
    return type(predictor).__module__.partition(".")[0]
