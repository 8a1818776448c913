"""Beside what the libraries say of their own trees, by the training rows' shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.normal(size=(400, 6)).round(2), columns=list("abcdef"))
NUMBER = TABLE["a"] * TABLE["b"] + TABLE["c"].abs() * 2 + RNG.normal(size=400) * 0.1
CLASS = pd.cut(NUMBER, [-99, 0.5, 2.0, 99], labels=False)
GAPS = TABLE.mask(RNG.random(TABLE.shape) < 0.1)
ROWS = GAPS.iloc[:40]


def check(answer: assay.Attribution, native: Any) -> None:
    """Credit and base of an answer beside (rows, features + 1), whose last column is the base."""
    expected = torch.from_numpy(np.asarray(native, dtype=np.float64))
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(answer.values, expected[:, :-1], rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(answer.base, expected[:, -1], rtol=0, atol=1e-4 * scale)


def along(model: Any, **more: Any) -> assay.Attribution:
    return assay.TreeShap("path_dependent")(assay.Question(model, ROWS, **more))


def test_xgboost() -> None:
    xgboost = pytest.importorskip("xgboost")
    settings = {"n_estimators": 30, "max_depth": 5, "n_jobs": 1}
    model = xgboost.XGBRegressor(**settings).fit(GAPS, NUMBER)
    matrix = xgboost.DMatrix(ROWS)
    answer = along(model)
    check(answer, model.get_booster().predict(matrix, pred_contribs=True))
    # It adds in single precision, and is held to no more.
    between = assay.TreeShap()(assay.Question(model, ROWS, removal=assay.Background(GAPS[50:90])))
    assert between.gap is not None
    assert float(between.gap.abs().max()) < 1e-4
    binary = xgboost.XGBClassifier(**settings).fit(GAPS, CLASS > 1)
    native = binary.get_booster().predict(matrix, pred_contribs=True)
    check(along(binary, target=assay.LogOdds(1)), native)
    several = xgboost.XGBClassifier(**settings).fit(GAPS, CLASS).get_booster()
    native = several.predict(matrix, pred_contribs=True)
    question = assay.Question(assay.wrap(several, output="margin"), ROWS, target=0)
    for answer, expected in zip(
        assay.TreeShap("path_dependent").for_outputs(question), native.transpose(1, 0, 2)
    ):
        check(answer, expected)


def test_lightgbm() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"n_estimators": 30, "num_leaves": 20, "n_jobs": 1, "verbose": -1}
    model = lightgbm.LGBMRegressor(**settings).fit(GAPS, NUMBER)
    check(along(model), model.predict(ROWS, pred_contrib=True))
    binary = lightgbm.LGBMClassifier(**settings).fit(GAPS, CLASS > 1)
    check(along(binary, target=assay.LogOdds(1)), binary.predict(ROWS, pred_contrib=True))


def test_catboost() -> None:
    catboost = pytest.importorskip("catboost")
    settings = {"iterations": 30, "depth": 5, "thread_count": 1, "verbose": 0}
    model = catboost.CatBoostRegressor(**settings, allow_writing_files=False).fit(TABLE, NUMBER)
    rows = TABLE.iloc[:40]
    native = model.get_feature_importance(catboost.Pool(rows), type="ShapValues")
    check(assay.TreeShap("path_dependent")(assay.Question(model, rows)), native)
