"""Which raw column each encoded column is made of: what is said of a step is what the step does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from assay.errors import ModelError
from assay.models.forests.pipelines import source_columns
from assay.models.forests.reading import read_trees
from tree_tables import numbers, response, with_words

HOLES = numbers()
WHOLE = numbers(missing=False)
Y = response(HOLES)
CLASSES = np.asarray(HOLES.i)
WORDS = with_words(HOLES)
EMPTY = HOLES.assign(e=np.nan, a2=HOLES.a * 2)[["e", "a", "b", "a2"]]


def tried(step: Any, table: pd.DataFrame) -> list[int]:
    """For each encoded column the raw column whose change changes it, each tried by itself."""

    def encoded(rows: pd.DataFrame) -> np.ndarray:
        made = step.transform(rows)
        return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=float)

    before = encoded(table)
    found = np.full(before.shape[1], -1)
    for place in range(table.shape[1]):
        other = table.copy()
        other.isetitem(place, table.iloc[::-1, place].set_axis(table.index))
        changed = ~np.isclose(encoded(other), before, equal_nan=True).all(axis=0)
        assert (found[changed] == -1).all()
        found[changed] = place
    return found.tolist()


def chosen(*parts: Any, **more: Any) -> ColumnTransformer:
    return make_column_transformer(*parts, verbose_feature_names_out=False, **more)


ONE_HOT = OneHotEncoder(sparse_output=False)
STEPS: dict[str, tuple[Any, pd.DataFrame]] = {
    "scaler": (StandardScaler(), WHOLE),
    "one hot": (OneHotEncoder(), WORDS[["c", "d", "i"]]),
    "one hot, first dropped": (OneHotEncoder(drop="first"), WORDS[["c", "d", "i"]]),
    "one hot, rare together": (OneHotEncoder(min_frequency=70), WORDS[["c", "d", "i"]]),
    "imputed": (SimpleImputer(), EMPTY),
    "imputed, empty kept": (SimpleImputer(keep_empty_features=True, add_indicator=True), EMPTY),
    "imputed, marked": (SimpleImputer(add_indicator=True), EMPTY[["b", "e", "a", "a2"]]),
    "marks alone": (MissingIndicator(features="missing-only"), EMPTY[["b", "a", "a2"]]),
    "bins": (KBinsDiscretizer(3, encode="onehot", strategy="uniform"), WHOLE),
    "bins, one column each": (KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), WHOLE),
    "union": (FeatureUnion([("s", StandardScaler()), ("o", ONE_HOT)]), WORDS[["i"]]),
    "union of two": (
        FeatureUnion([("s", MinMaxScaler()), ("b", KBinsDiscretizer(2)), ("d", "drop")]),
        WHOLE,
    ),
    "selected": (SelectKBest(f_regression, k=2), WHOLE[["b", "a", "i"]]),
    "constant left out": (VarianceThreshold(), WHOLE.assign(k=1.0)[["k", "a", "i"]]),
    "names": (chosen((StandardScaler(), ["b", "i"]), (ONE_HOT, ["d", "c"])), WORDS),
    "numbers from the end": (chosen((StandardScaler(), [-3, 1]), (ONE_HOT, [-1])), WORDS),
    "truth values": (
        chosen((StandardScaler(), [False, True, True, False, False]), remainder="drop"),
        WORDS,
    ),
    "slice of names": (chosen((StandardScaler(), slice("i", "b")), (ONE_HOT, ["c"])), WORDS),
    "slice to the end": (chosen((OrdinalEncoder(), slice("c", None))), WORDS),
    "slice of numbers": (chosen((StandardScaler(), slice(1, 3)), (ONE_HOT, slice(4, None))), WORDS),
    "slice with steps": (chosen((StandardScaler(), slice(0, 3, 2))), WORDS),
    "one left out": (
        chosen((MinMaxScaler(), ["b"]), ("drop", ["a"]), remainder="passthrough"),
        WHOLE,
    ),
    "nothing of some": (chosen((StandardScaler(), []), (MinMaxScaler(), ["b"])), WORDS),
    "nothing of one that mixes": (chosen((PCA(1), []), (MinMaxScaler(), ["b", "i"])), WORDS),
    "one in another": (
        chosen(
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["b", "a"]),
            (make_pipeline(OrdinalEncoder(), ONE_HOT), ["d", "c"]),
            (FunctionTransformer(np.square), ["i"]),
        ),
        WORDS,
    ),
    "means of the target": (chosen((TargetEncoder(), ["d", "c"]), remainder="passthrough"), WORDS),
}


@pytest.mark.parametrize("name", STEPS)
def test_columns_are_made_of_those_that_change_them(name: str) -> None:
    step, table = STEPS[name]
    step.fit(table, Y)
    found = source_columns([step], table.shape[1]).tolist()
    # What never changes says nothing of where it comes from.
    expected = [said if other == -1 else other for said, other in zip(found, tried(step, table))]
    assert found == expected
    assert tried(step, table).count(-1) <= 2


def test_means_of_several_classes_stand_column_by_column() -> None:
    step = TargetEncoder(target_type="multiclass").fit(WORDS[["d", "c"]], CLASSES)
    assert source_columns([step], 2).tolist() == tried(step, WORDS[["d", "c"]])


def test_steps_one_after_another() -> None:
    first = chosen((OrdinalEncoder(), ["d", "c"]), (MinMaxScaler(), ["i"])).fit(WORDS)
    second = OneHotEncoder().fit(first.transform(WORDS))
    both = make_pipeline(first, second)
    assert source_columns([first, second], 5).tolist() == tried(both, WORDS)


def test_columns_that_come_as_a_sparse_matrix_are_read() -> None:
    words = WORDS[["c", "d"]]
    model = make_pipeline(OneHotEncoder(), RandomForestRegressor(4, random_state=0)).fit(words, Y)
    trees = read_trees(model)
    margin = trees.forest.margin(trees.encoded(words))
    np.testing.assert_allclose(margin[:, 0], model.predict(words), rtol=1e-12)
    np.testing.assert_array_equal(trees.source_in(words), [0] * 4 + [1] * 3)


def doubled(table: Any) -> np.ndarray:
    return np.hstack([table, table])


def test_a_step_that_makes_more_columns_than_its_kind_does_is_refused() -> None:
    step = type("StandardScaler", (FunctionTransformer,), {})(doubled)
    model = make_pipeline(step, RandomForestRegressor(2)).fit(WHOLE, Y)
    with pytest.raises(ModelError, match=r"6 columns for RandomForestRegressor .*, got 3"):
        read_trees(model)
