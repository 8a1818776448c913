"""Estimators of every make: a frame stays a frame, in the order of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import assay
from assay.errors import InputError, KindError, ModelError

TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
TURNED = TABLE[["c", "b", "a"]]
Y = (TABLE.a > 0).astype(int)


def prediction(model: Any, rows: Any, target: Any = None) -> Any:
    return assay.Question(model, rows, target).prediction.numpy()


class Own:
    def predict(self, frame: pd.DataFrame) -> Any:
        return 2 * frame["a"].to_numpy()


class OnArrays:
    def predict(self, array: Any) -> Any:
        return 2 * array[:, 0]


class Picked(TransformerMixin, BaseEstimator):
    def fit(self, rows: Any, labels: Any = None) -> Picked:
        self.fitted_ = True
        return self

    def transform(self, rows: pd.DataFrame) -> Any:
        return rows[["a", "b"]].to_numpy()


def test_a_class_of_ones_own_gets_the_frame() -> None:
    np.testing.assert_array_equal(prediction(Own(), TURNED[:3]), 2 * TABLE.a[:3])
    with pytest.raises(ModelError, match=r"frame\.to_numpy\(\)"):
        prediction(OnArrays(), TABLE[:3])


@pytest.mark.parametrize(
    "model", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())]
)
def test_columns_that_the_fit_had_are_asked_for_by_name(model: Any) -> None:
    model.fit(TABLE, Y)
    first = TABLE.columns[0]
    lacking = TABLE[:3].rename(columns={first: "other"})
    with pytest.raises(ModelError, match=rf"was fitted on, got a table lacking \['{first}'\]"):
        prediction(model, lacking, 1)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(Picked(), LogisticRegression()),
        GridSearchCV(make_pipeline(Picked(), LogisticRegression()), {}, cv=2),
        LogisticRegression(),
    ],
    ids=["pipeline", "search", "estimator"],
)
def test_the_order_of_the_columns_is_that_of_the_fit(model: Any) -> None:
    model.fit(TABLE, Y)
    wanted = model.predict_proba(TABLE[:3])[:, 1]
    for rows in (TABLE, TURNED):
        np.testing.assert_allclose(prediction(model, rows[:3], 1), wanted, rtol=1e-12)


def test_columns_of_another_name_are_refused_before_they_are_read() -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="needs the extra 'test'")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(TABLE, Y)
    with pytest.raises(ModelError, match=r"lacking \['c'\], with \['z'\] too many"):
        prediction(model, TABLE[:3].rename(columns={"c": "z"}))


def test_catboost_finds_its_columns_in_any_order() -> None:
    catboost = pytest.importorskip("catboost", reason="needs the extra 'test'")
    model = catboost.CatBoostRegressor(iterations=9, verbose=0, allow_writing_files=False)
    model.fit(TABLE, TABLE.a)
    np.testing.assert_allclose(prediction(model, TURNED[:3]), model.predict(TABLE[:3]))


def test_a_text_pipeline_reads_the_column_and_not_its_name() -> None:
    texts = pd.DataFrame({"text": ["good film", "bad film", "good day", "bad day"]})
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts.text, [1, 0, 1, 0])
    question = assay.Question(
        assay.wrap(model, batch_size=1),
        texts[:1].astype("category"),
        1,
        removal=assay.Background(texts[:1].astype("category")),
    )
    wanted = model.predict_proba(["good film"])[:, 1]
    np.testing.assert_allclose(question.prediction.numpy(), wanted)


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        (TABLE.iloc[0], r"frame\.iloc\[\[0\]\]"),
        (TABLE.to_numpy()[0], r"x\[None\]"),
        ([TABLE.to_numpy()[0]], r"x\[None\]"),
        ([TABLE.to_numpy()[0], TABLE.to_numpy()[1]], r"numpy\.stack"),
        ([{"a": 1.0, "b": 2.0, "c": 3.0}], r"pandas\.DataFrame\(rows\)"),
        ([TABLE.iloc[0], TABLE.iloc[1]], r"pandas\.DataFrame\(rows\)"),
        (TABLE.to_records(), r"from_records"),
        (pd.Series({"a": 1.0, "b": "x"}), r"a text as every input"),
        (pd.DataFrame({"a": [[1, 2], [3]]}), r"a list"),
        (pd.DataFrame({"a": [(1, 2), (3, 4)]}), r"a tuple"),
        (pd.DataFrame({"a": [np.ones(2), np.ones(2)]}), r"a ndarray"),
        (pd.DataFrame(index=[1, 2]), r"frame\[columns\]"),
    ],
)
def test_what_is_no_table_is_refused_with_the_line_that_makes_one(raw: Any, advice: str) -> None:
    model = LinearRegression().fit(TABLE, TABLE.a)
    with pytest.raises((InputError, KindError, ModelError), match=advice):
        prediction(model, raw)


def test_frames_of_polars_are_refused_with_the_line_that_makes_one() -> None:
    polars = pytest.importorskip("polars", reason="needs the extra 'test'")
    with pytest.raises(KindError, match=r"to_pandas\(\)"):
        prediction(Own(), polars.DataFrame({"a": [1.0]}))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_native_booster_gives_its_own_prediction(library: str) -> None:
    booster, wanted = made_booster(library)
    for rows in (TABLE[:4], TURNED[:4], TABLE.to_numpy()[:4]):
        np.testing.assert_allclose(prediction(booster, rows), wanted, rtol=1e-6)
    odds = assay.Question(booster, TABLE[:4], assay.LogOdds(0)).prediction
    np.testing.assert_allclose(odds, np.log(wanted / (1 - wanted)), rtol=1e-4)
    holes = TABLE[:4].copy()
    holes.iloc[0, 1] = np.nan
    assert np.isfinite(prediction(booster, holes)).all()


def made_booster(library: str) -> tuple[Any, Any]:
    peer = pytest.importorskip(library, reason="needs the extra 'test'")
    if library == "xgboost":
        booster = peer.train({"objective": "binary:logistic"}, peer.DMatrix(TABLE, Y), 5)
        return booster, booster.predict(peer.DMatrix(TABLE[:4]))
    booster = peer.train({"objective": "binary", "verbose": -1}, peer.Dataset(TABLE, Y), 5)
    return booster, booster.predict(TABLE[:4])


HOLES = np.where(np.arange(180).reshape(60, 3) == 1, np.nan, TABLE.to_numpy())


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (make_pipeline(SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
        (
            make_pipeline(
                make_column_transformer((SimpleImputer(), [0, 1]), remainder="drop"),
                LogisticRegression(),
            ),
            True,
        ),
        (
            make_pipeline(
                make_column_transformer((SimpleImputer(), [0]), remainder="passthrough"),
                LogisticRegression(),
            ),
            False,
        ),
        (make_pipeline(SimpleImputer(missing_values=-1), LogisticRegression()), False),
    ],
)
def test_pipelines_say_whether_they_take_what_is_missing(model: Any, takes: bool) -> None:
    model.fit(TABLE.to_numpy(), Y)
    if takes:
        wanted = model.predict_proba(HOLES[:3])[:, 1]
        np.testing.assert_allclose(prediction(model, HOLES[:3], 1), wanted)
        return
    with pytest.raises(InputError, match=r"wrap\(model, missing=True\)"):
        prediction(model, HOLES[:3])


def test_a_function_says_that_it_takes_what_is_missing() -> None:
    def filled(array: Any) -> Any:
        return np.nan_to_num(array).sum(1)

    with pytest.raises(InputError, match=r"wrap\(model, missing=True\)"):
        prediction(filled, HOLES[:3])
    wrapped = assay.wrap(filled, missing=True)
    np.testing.assert_allclose(prediction(wrapped, HOLES[:3]), filled(HOLES[:3]))


def test_one_of_several_targets_is_picked_by_its_number() -> None:
    labels = np.c_[np.where(Y, "yes", "no"), np.where(TABLE.b > 0, "up", "down")]
    model = RandomForestClassifier(5, random_state=0).fit(TABLE.to_numpy(), labels)
    rows = TABLE.to_numpy()[:3]
    made = assay.explain(assay.wrap(model, output=1), rows, "down")
    np.testing.assert_allclose(made.prediction, model.predict_proba(rows)[1][:, 0])
    assert made.target == "down"
    alone = LogisticRegression().fit(TABLE.to_numpy(), Y)
    with pytest.raises(InputError, match="several arrays"):
        prediction(assay.wrap(alone, output=0), rows)
