"""One prediction, explained by every way in: the answers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import assay
import zoo

ADULT = ["age", "workclass", "education", "hours", "sex"]
GERMAN = ["duration", "purpose", "amount", "housing", "job"]
WORDS = {"adult": ["workclass", "education", "sex"], "german": ["purpose", "housing", "job"]}


def adult() -> tuple[pd.DataFrame, Any]:
    path = zoo.data_root() / "tabular_raw" / "adult.data"
    raw = pd.read_csv(path, header=None, nrows=400, skipinitialspace=True)
    table = raw[[0, 1, 3, 12, 9]].set_axis(ADULT, axis=1)
    return table, raw[14].eq(">50K").to_numpy()


def german() -> tuple[pd.DataFrame, Any]:
    raw = pd.read_csv(zoo.data_root() / "tabular_raw" / "GermanCredit.csv", nrows=400)
    return raw[GERMAN], raw["credit_risk"].to_numpy() == 1


TABLES = {"adult": adult, "german": german}


@pytest.fixture(params=sorted(TABLES))
def table(request: pytest.FixtureRequest) -> tuple[pd.DataFrame, Any, list[str]]:
    rows, labels = TABLES[request.param]()
    words = WORDS[request.param]
    # Every way in knows every level.
    levels = {name: pd.CategoricalDtype(sorted(rows[name].unique())) for name in words}
    return rows.astype(levels), labels, words


def credit(model: Any, rows: Any, absent: Any, features: Any = None, target: Any = 1) -> Any:
    question = assay.Question(model, rows, target, features, assay.Background(absent))
    return assay.ExactShapley()(question).values.numpy()


def same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def pipeline(words: list[str]) -> Any:
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), words), remainder=StandardScaler()
        ),
        LogisticRegression(max_iter=2000),
    )


@zoo.needs_data
def test_strings_categories_dummies_and_codes_are_one_table(
    table: tuple[pd.DataFrame, Any, list[str]],
) -> None:
    rows, labels, words = table
    model = pipeline(words).fit(rows, labels)
    asked, absent = rows.iloc[:4], rows.iloc[100:107]
    wanted = credit(model, asked, absent)

    # As strings: the same levels, told by one list for inputs and background.
    text = rows.astype(dict.fromkeys(words, str))
    on_text = pipeline(words).fit(text, labels)
    same(on_text.predict_proba(text[:4]), model.predict_proba(asked))

    def by_text(frame: pd.DataFrame) -> Any:
        return on_text.predict_proba(frame.astype(dict.fromkeys(words, str)))

    same(credit(by_text, asked, absent), wanted)

    # As codes of their levels, in a frame and in an array.
    codes = rows.assign(**{name: rows[name].cat.codes for name in words}).astype(float)

    def by_codes(array: Any) -> Any:
        frame = pd.DataFrame(np.asarray(array), columns=rows.columns)
        for name in words:
            frame[name] = pd.Categorical.from_codes(frame[name].astype(int), dtype=rows[name].dtype)
        return model.predict_proba(frame)

    same(credit(by_codes, codes.iloc[:4], codes.iloc[100:107]), wanted)
    same(credit(by_codes, codes.to_numpy()[:4], codes.to_numpy()[100:107]), wanted)

    # As dummies, each word's columns one feature.
    dummies = pd.get_dummies(rows, columns=words, dtype=float)
    groups = {
        name: [column for column in dummies if column == name or column.startswith(f"{name}_")]
        for name in rows.columns
    }

    def by_dummies(frame: pd.DataFrame) -> Any:
        back = frame[[name for name in rows.columns if name not in words]].copy()
        for name in words:
            places = frame[groups[name]].to_numpy().argmax(1)
            back[name] = pd.Categorical.from_codes(places, dtype=rows[name].dtype)
        return model.predict_proba(back[list(rows.columns)])

    features = assay.Columns(groups=groups)
    got = assay.ExactShapley()(
        assay.Question(
            by_dummies, dummies[:4], 1, features, assay.Background(dummies.iloc[100:107])
        )
    )
    order = [list(got.names).index(name) for name in rows.columns]
    same(got.values.numpy()[:, order], wanted)


def forest(words: list[str]) -> Any:
    """Trees of scikit-learn behind codes of the words."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(
        make_column_transformer((codes, words), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=8, random_state=0),
    )


def lightgbm_trees(words: list[str]) -> Any:
    peer = pytest.importorskip("lightgbm", reason="needs the extra 'test'")
    return peer.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1)


def xgboost_trees(words: list[str]) -> Any:
    peer = pytest.importorskip("xgboost", reason="needs the extra 'test'")
    return peer.XGBClassifier(n_estimators=8, enable_categorical=True, n_jobs=1)


def catboost_trees(words: list[str]) -> Any:
    peer = pytest.importorskip("catboost", reason="needs the extra 'test'")
    return peer.CatBoostClassifier(
        iterations=8, verbose=0, thread_count=1, allow_writing_files=False, cat_features=words
    )


MODELS = {
    "pipeline": pipeline,
    "pipeline of trees": forest,
    "LightGBM": lightgbm_trees,
    "XGBoost": xgboost_trees,
    "CatBoost": catboost_trees,
}


@zoo.needs_data
@pytest.mark.parametrize("name", MODELS)
def test_alone_in_a_crowd_and_in_another_order(
    name: str, table: tuple[pd.DataFrame, Any, list[str]]
) -> None:
    rows, labels, words = table
    absent = rows.iloc[100:107]
    turned = list(reversed(rows.columns))
    model = MODELS[name](words).fit(rows, labels)
    wanted = credit(model, rows.iloc[:4], absent)
    same(credit(model, rows.iloc[2:3], absent), wanted[2:3])
    same(credit(model, rows.iloc[:60], absent)[:4], wanted)
    same(credit(model, rows.loc[:3, turned], absent[turned]), wanted[:, ::-1])
    # Its own prediction.
    question = assay.Question(model, rows[:4], 1, removal=assay.Background(absent))
    same(question.prediction, model.predict_proba(rows[:4])[:, 1])
    # The method itself, as a function on frames.
    same(credit(model.predict_proba, rows.iloc[:4], absent), wanted)


@zoo.needs_data
@pytest.mark.parametrize("name", MODELS)
def test_strings_dummies_and_declared_codes_are_the_categories_of_every_model(
    name: str, table: tuple[pd.DataFrame, Any, list[str]]
) -> None:
    rows, labels, words = table
    model = MODELS[name](words).fit(rows, labels)
    asked, absent = rows.iloc[:4], rows.iloc[100:107]
    wanted = credit(model, asked, absent)
    assert np.abs(wanted).max() > 0.01

    # As strings.
    def by_text(frame: pd.DataFrame) -> Any:
        typed = {word: rows[word].dtype for word in words}
        return model.predict_proba(frame.astype(typed))

    strings = rows.astype(dict.fromkeys(words, str))
    same(credit(by_text, strings.iloc[:4], strings.iloc[100:107]), wanted)

    # As codes that are declared to be categories, in a frame and in an array.
    codes = rows.assign(**{word: rows[word].cat.codes for word in words}).astype(float)

    def by_codes(table: Any) -> Any:
        return model.predict_proba(decoded(pd.DataFrame(np.asarray(table)), rows, words))

    declared = assay.Columns(categorical=words)
    same(credit(by_codes, codes.iloc[:4], codes.iloc[100:107], declared), wanted)
    places = assay.Columns(categorical=[rows.columns.get_loc(word) for word in words])
    array = codes.to_numpy()
    same(credit(by_codes, array[:4], array[100:107], places), wanted)

    # As dummies, each word's columns one feature.
    dummies = pd.get_dummies(rows, columns=words, dtype=float)
    groups = {
        column: [one for one in dummies if one == column or one.startswith(f"{column}_")]
        for column in rows.columns
    }

    def by_dummies(frame: pd.DataFrame) -> Any:
        numbers = {column: frame[groups[column]].to_numpy() for column in rows.columns}
        columns = [numbers[c].argmax(1) if c in words else numbers[c][:, 0] for c in rows.columns]
        return model.predict_proba(decoded(pd.DataFrame(dict(enumerate(columns))), rows, words))

    question = assay.Question(
        by_dummies,
        dummies[:4],
        1,
        assay.Columns(groups=groups),
        assay.Background(dummies.iloc[100:107]),
    )
    got = assay.ExactShapley()(question)
    order = [list(got.names).index(column) for column in rows.columns]
    same(got.values.numpy()[:, order], wanted)


def decoded(table: pd.DataFrame, rows: pd.DataFrame, words: list[str]) -> pd.DataFrame:
    """Codes of words as the words themselves, every column of its own kind."""
    table = table.set_axis(rows.columns, axis=1)
    for word in words:
        table[word] = pd.Categorical.from_codes(table[word].astype(int), dtype=rows[word].dtype)
    return table.astype({c: rows[c].dtype for c in rows.columns if c not in words})


@zoo.needs_data
def test_a_lightgbm_booster_is_its_estimator(table: tuple[pd.DataFrame, Any, list[str]]) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="needs the extra 'test'")
    rows, labels, _ = table
    model = lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1).fit(rows, labels)
    check_booster(model, model.booster_, rows)


@zoo.needs_data
def test_an_xgboost_booster_is_its_estimator(table: tuple[pd.DataFrame, Any, list[str]]) -> None:
    xgboost = pytest.importorskip("xgboost", reason="needs the extra 'test'")
    rows, labels, _ = table
    model = xgboost.XGBClassifier(n_estimators=8, enable_categorical=True, n_jobs=1)
    model.fit(rows, labels)
    check_booster(model, model.get_booster(), rows)


def check_booster(model: Any, booster: Any, rows: pd.DataFrame) -> None:
    absent = rows.iloc[100:107]
    wanted = credit(model, rows.iloc[:4], absent)
    turned = list(reversed(rows.columns))
    same(credit(booster, rows.iloc[:4], absent, target=0), wanted)
    same(credit(booster, rows.loc[:3, turned], absent[turned], target=0), wanted[:, ::-1])
    removal = assay.Background(absent)
    odds = assay.Question(booster, rows[:4], assay.LogOdds(0), removal=removal).prediction
    margin = assay.Question(
        assay.wrap(booster, output="margin"), rows[:4], 0, removal=removal
    ).prediction
    np.testing.assert_allclose(odds, margin, rtol=1e-4, atol=1e-5)  # trees in single precision
