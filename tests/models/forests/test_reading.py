"""Predictors, pipelines and files whose trees are read, and what their answers are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

import assay
import zoo
from assay.errors import AbilityError, InputError, KindError, ModelError
from assay.models.base import Ability
from tree_tables import columns, generator, numbers, response, with_words

HOLES = numbers()
WHOLE = numbers(missing=False)
Y = response(HOLES)
BINARY, CLASSES = (Y > 1).astype(int), np.asarray(HOLES.i)
WORDS = with_words(HOLES)


def encoders() -> ColumnTransformer:
    imputed = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    return ColumnTransformer(
        [
            ("numbers", imputed, ["b", "a"]),
            ("one hot", OneHotEncoder(handle_unknown="ignore", min_frequency=2), ["c"]),
            ("ordinal", OrdinalEncoder(), ["d"]),
        ],
        remainder="passthrough",
    )


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=5),
        GradientBoostingClassifier(loss="exponential", n_estimators=5),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=["boosting", "exponential", "histograms"],
)
@pytest.mark.parametrize("labels", [BINARY, CLASSES], ids=["two", "five"])
def test_answers_follow_from_the_margin(model: Any, method: str, labels: Any) -> None:
    if getattr(model, "loss", "") == "exponential":
        labels = BINARY
    wrapped = assay.wrap(model.fit(WHOLE, labels), output=method)
    trees = wrapped.trees
    assert trees.answers is not None
    made = trees.answers(trees.forest.margin(trees.encoded(WHOLE)))
    np.testing.assert_allclose(made, columns(getattr(model, method)(WHOLE)), rtol=1e-10)
    assert trees.answers.is_linear == (method == "decision_function")


def test_labels_have_no_answers() -> None:
    model = GradientBoostingClassifier(n_estimators=2).fit(WHOLE, BINARY)
    assert assay.wrap(model, output="predict").trees.answers is None


def test_one_of_several_targets_is_picked() -> None:
    model = RandomForestClassifier(5).fit(WHOLE, np.column_stack([CLASSES, BINARY]))
    trees = assay.wrap(model, output=1).trees
    assert trees.answers is not None
    assert trees.answers.columns == (5, 6)
    made = trees.answers(trees.forest.margin(trees.encoded(WHOLE)))
    np.testing.assert_allclose(made, model.predict_proba(WHOLE)[1], rtol=1e-12)


def test_a_link_that_is_another_is_refused() -> None:
    import dataclasses

    from assay.models.forests.answers import Answers

    trees = assay.wrap(GradientBoostingClassifier(n_estimators=2).fit(WHOLE, BINARY)).trees
    wrong = dataclasses.replace(trees, answers=Answers("logit", factor=2.0, both=True))
    with pytest.raises(ModelError, match="follow from its margin"):
        wrong.encoded(WHOLE)
    more = dataclasses.replace(trees, answers=Answers("logit", both=True, columns=(0, 1, 1)))
    with pytest.raises(ModelError, match=r"\(256, 2\) numbers instead of \(256, 3\)"):
        more.encoded(WHOLE)


@pytest.mark.parametrize("order", [["a", "i", "b", "c", "d"], ["d", "c", "b", "a", "i"]], ids=str)
@pytest.mark.parametrize("search", [False, True], ids=["pipeline", "search"])
def test_encoded_columns_are_of_raw_ones(order: list[str], search: bool) -> None:
    model: Any = Pipeline([("encode", encoders()), ("trees", RandomForestRegressor(5))])
    if search:
        model = GridSearchCV(model, {"trees__max_depth": [3]}, cv=2)
    wrapped = assay.wrap(model.fit(WORDS, Y))
    assert Ability.TREES in wrapped.abilities
    table = WORDS[order]
    trees = wrapped.trees
    margin = trees.forest.margin(trees.encoded(table))
    np.testing.assert_allclose(margin[:, 0], model.predict(WORDS), rtol=1e-12)
    named = [order[place] for place in trees.source_in(table)]
    # Imputed columns, the indicator of a's holes, four letters, one code, and what was let through.
    assert named == ["b", "a", "a", "c", "c", "c", "c", "d", "i"]


def test_rows_mixed_by_raw_column_are_mixed_after_encoding() -> None:
    model = make_pipeline(encoders(), RandomForestRegressor(5)).fit(WORDS, Y)
    trees = assay.wrap(model).trees
    one, other = WORDS.iloc[:50], WORDS.iloc[50:100].set_axis(WORDS.index[:50])
    mixed = one.assign(c=other.c, a=other.a)
    source = trees.source_in(WORDS)
    taken = np.isin(source, [WORDS.columns.get_loc("c"), WORDS.columns.get_loc("a")])
    expected = np.where(taken, trees.encoded(other), trees.encoded(one))
    np.testing.assert_array_equal(trees.encoded(mixed), expected)


def test_targets_means_and_functions_of_numbers_are_of_single_columns() -> None:
    steps = make_column_transformer(
        (TargetEncoder(), ["c", "d"]),
        (FunctionTransformer(np.square), [2, 1]),
        ("drop", ["a"]),
        verbose_feature_names_out=False,
    )
    model = make_pipeline(steps, HistGradientBoostingRegressor(max_iter=5)).fit(WORDS, Y)
    trees = assay.wrap(model).trees
    np.testing.assert_allclose(
        trees.forest.margin(trees.encoded(WORDS))[:, 0], model.predict(WORDS), rtol=1e-12
    )
    np.testing.assert_array_equal(trees.source_in(WORDS), [3, 4, 2, 1])


def test_classes_have_a_mean_of_the_target_each() -> None:
    steps = make_column_transformer((TargetEncoder(), ["c", "d"]), remainder="passthrough")
    model = make_pipeline(steps, RandomForestClassifier(5)).fit(WORDS.assign(a=0), CLASSES)
    trees = assay.wrap(model).trees
    np.testing.assert_array_equal(trees.source_in(WORDS)[:10], [3] * 5 + [4] * 5)
    trees.encoded(WORDS.assign(a=0))


def turned(table: Any) -> Any:
    return np.asarray(table)[:, ::-1]


@pytest.mark.parametrize(
    ("step", "name"),
    [(PCA(2), "PCA"), (FunctionTransformer(turned), "FunctionTransformer of turned")],
    ids=["components", "function"],
)
def test_steps_that_mix_columns_are_refused_by_name(step: Any, name: str) -> None:
    model = make_pipeline(step, RandomForestRegressor(3)).fit(WHOLE, Y)
    with pytest.raises(AbilityError, match=name):
        assay.wrap(model).trees  # noqa: B018


def test_a_scaler_that_mixes_columns_after_all_is_found_out() -> None:
    """What a step is known for is tried on the rows at hand."""

    class StandardScaler(FunctionTransformer):
        pass

    model = make_pipeline(StandardScaler(turned), RandomForestRegressor(3)).fit(WHOLE, Y)
    with pytest.raises(ModelError, match="that make each column of one raw column"):
        assay.wrap(model).trees.encoded(WHOLE)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x00\x00\x00\x80\x7f\x00", r"xgboost<3\.1"),
        (b"{ not json", "a model as JSON"),
        (b'{"other": 1}', "the JSON of XGBoost or CatBoost"),
        (b"import numpy", "which begins with b'import n'"),
    ],
    ids=["old xgboost", "broken", "other", "text"],
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: bytes, match: str) -> None:
    file = tmp_path / "some.model"
    file.write_bytes(content)
    with pytest.raises(InputError, match=match):
        assay.wrap(file)
    with pytest.raises(InputError, match="no file"):
        assay.wrap(tmp_path / "none.json")
    with pytest.raises(KindError):
        assay.wrap("model")


@zoo.needs_data
@pytest.mark.parametrize("name", ["treelite/mushroom.model", "xgboost_0.82_classification.model"])
def test_published_files_of_before_json_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(InputError, match=r"(?s)before version 1\.7.*saved anew"):
        assay.wrap(zoo.data_root() / "tree_models" / name)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    file = tmp_path / "some.json"
    file.write_text('{"learner": {}}')
    with pytest.raises(ModelError, match="that the installed xgboost can load"):
        assay.wrap(file)


def test_a_model_whose_parts_have_other_names_is_refused() -> None:
    model = HistGradientBoostingRegressor(max_iter=2).fit(WHOLE, Y)
    del model._baseline_prediction
    with pytest.raises(ModelError, match="whose trees can be read, got AttributeError"):
        assay.wrap(model).trees  # noqa: B018


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The packages that a process has loaded once it has read a forest of scikit-learn."""
    code = (
        "import sys, assay, numpy; from sklearn.ensemble import RandomForestRegressor as Forest; "
        "model = Forest(2).fit(numpy.eye(3), [0, 1, 2]); assay.wrap(model).trees; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(asked.stdout.split())


@pytest.mark.parametrize("package", ["numba", "xgboost", "lightgbm", "catboost"])
def test_importing_loads_no_library_of_trees_and_no_compiler(
    package: str, loaded: set[str]
) -> None:
    assert "sklearn" in loaded
    assert package not in loaded


def test_a_tree_of_forty_thousand_nodes_is_read() -> None:
    draws = generator(7)
    table = draws.normal(size=(20_500, 2))
    model = RandomForestRegressor(1, bootstrap=False, random_state=0)
    model.fit(table, draws.normal(size=len(table)))
    trees = assay.wrap(model).trees
    assert len(trees.forest.feature) > 40_000
    np.testing.assert_allclose(
        trees.forest.margin(trees.encoded(table))[:, 0], model.predict(table), rtol=1e-12
    )


def test_frames_with_spare_columns_are_read_where_steps_pick_theirs() -> None:
    model = make_pipeline(encoders(), RandomForestRegressor(3)).fit(WORDS, Y)
    trees = assay.wrap(model).trees
    spare = pd.concat([pd.DataFrame({"spare": np.arange(len(WORDS))}), WORDS], axis=1)
    np.testing.assert_array_equal(trees.encoded(spare), trees.encoded(WORDS))
    np.testing.assert_array_equal(trees.source_in(spare), trees.source_in(WORDS) + 1)
