"""What is read is compared with the library, and what differs is refused with its likely cause."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

import assay
from assay.errors import InputError, ModelError
from assay.models.forests.forest import Forest
from assay.models.forests.reading import read_trees
from assay.models.forests.tree_model import TreeModel
from assay.models.forests.verification import check_margins
from tree_tables import mixed, numbers, response


@pytest.fixture(scope="module")
def read() -> TreeModel:
    table = numbers()
    model = RandomForestRegressor(5, max_depth=4, random_state=0).fit(table, response(table))
    return read_trees(model)


def changed(trees: TreeModel, **fields: Any) -> TreeModel:
    return dataclasses.replace(trees, forest=dataclasses.replace(trees.forest, **fields))


def test_what_is_read_rightly_passes(read: TreeModel) -> None:
    assert read.verify() is read


def test_another_intercept_is_refused_by_name(read: TreeModel) -> None:
    with pytest.raises(ModelError, match="the intercept"):
        changed(read, base=read.forest.base + 1e-6).verify()


def test_another_way_for_missing_values_is_refused_by_name(read: TreeModel) -> None:
    with pytest.raises(ModelError, match="missing values: rows without NaN agree"):
        changed(read, default_left=~read.forest.default_left).verify()


def test_a_threshold_beside_the_right_one_is_refused(read: TreeModel) -> None:
    threshold = read.forest.threshold.copy()
    root = read.forest.roots[0]
    threshold[root] = np.nextafter(np.float32(threshold[root]), np.float32(9))
    with pytest.raises(ModelError, match="splits: some rows agree"):
        changed(read, threshold=threshold).verify()


def test_another_weight_is_refused(read: TreeModel) -> None:
    with pytest.raises(ModelError, match=r"differ, by .* likely cause"):
        changed(read, value=read.forest.value * (1 + 1e-9)).verify()


def test_a_margin_that_is_no_number_is_refused(read: TreeModel) -> None:
    value = read.forest.value.copy()
    value[np.flatnonzero(read.forest.feature < 0)[0]] = np.nan
    for fields in ({"value": value}, {"base": read.forest.base + np.nan}):
        with pytest.raises(ModelError, match="rows that differ, by nan at most"):
            changed(read, **fields).verify()


def test_another_precision_of_inputs_is_refused(read: TreeModel) -> None:
    with pytest.raises(ModelError, match="splits"):
        changed(read, single=False).verify()


def test_another_category_is_refused_by_name() -> None:
    table = mixed()
    model = HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype")
    trees = read_trees(model.fit(table, response(table)))
    bits = trees.forest.category_bits ^ np.uint64(1)
    with pytest.raises(ModelError, match="categories"):
        changed(trees, category_bits=bits).verify()


def test_rows_are_compared_before_they_are_explained(read: TreeModel) -> None:
    """A model that was fitted anew after it was read answers otherwise."""
    table = numbers()
    model = RandomForestRegressor(5, random_state=0).fit(table, response(table))
    wrapped = assay.wrap(model)
    wrapped.trees.encoded(table)
    model.fit(table, -response(table))
    with pytest.raises(ModelError, match="to give its own margin"):
        wrapped.trees.encoded(table)


def test_what_cannot_be_asked_is_refused(read: TreeModel) -> None:
    table = numbers()
    with pytest.raises(InputError, match="finite numbers, or NaN"):
        read.encoded(table.assign(b=np.inf))
    with pytest.raises(InputError, match=r"rows of 3 columns .* got a table of shape \(300, 2\)"):
        read.encoded(table[["a", "i"]])
    with pytest.raises(ModelError, match="Call fit"):
        read_trees(RandomForestRegressor())


def test_a_wrapper_travels_whether_its_trees_were_read_or_not() -> None:
    table = numbers()
    wrapped = assay.wrap(RandomForestRegressor(3, random_state=0).fit(table, response(table)))
    codes = wrapped.trees.encoded(table)
    for other in (pickle.loads(pickle.dumps(wrapped)), copy.copy(wrapped)):
        np.testing.assert_array_equal(other.trees.encoded(table), codes)


def test_what_a_library_cannot_be_asked_is_a_refusal_of_this_one() -> None:
    table = mixed()
    model = HistGradientBoostingRegressor(max_iter=2, categorical_features="from_dtype")
    trees = assay.wrap(model.fit(table, response(table))).trees
    with pytest.raises(InputError, match=r"can be asked about, got \w+Error"):
        trees.encoded(table.assign(a="text"))


def test_columns_are_found_by_name() -> None:
    table = numbers()
    wrapped = assay.wrap(RandomForestRegressor(3).fit(table, response(table)))
    turned = table[["b", "a", "i"]]
    np.testing.assert_array_equal(wrapped.trees.source_in(turned), [1, 2, 0])
    np.testing.assert_array_equal(wrapped.trees.encoded(turned), table.to_numpy(float))
    with pytest.raises(ModelError, match="fitted on"):
        wrapped.trees.encoded(turned.rename(columns={"a": "other"}))


def test_nullable_columns_have_nan_for_what_is_missing() -> None:
    table = numbers()
    trees = read_trees(RandomForestRegressor(3, random_state=0).fit(table, response(table)))
    nullable = table.astype({"a": "Float64", "i": "Int64"})
    nullable["a"] = nullable["a"].mask(table["a"].isna(), pd.NA)
    np.testing.assert_array_equal(trees.encode(nullable), trees.encode(table))


def test_hundreds_of_rows_at_thresholds_and_with_gaps_are_compared(read: TreeModel) -> None:
    asked: list[np.ndarray] = []

    def noted(rows: np.ndarray) -> np.ndarray:
        asked.append(rows)
        return read.margin_of_codes(rows)

    dataclasses.replace(read, margin_of_codes=noted).verify()
    (rows,) = asked
    assert len(rows) >= 200
    assert np.isnan(rows).any()
    thresholds = read.forest.threshold[read.forest.feature >= 0]
    # Of very many thresholds of a column some are drawn.
    assert np.isin(thresholds, rows).mean() > 0.5


def stump(**fields: Any) -> Forest:
    """Numbers up to 1 go left, to 3; the others to 5."""
    forest = Forest.of_tree(
        feature=[0, -1, -1], threshold=[1.0, 0, 0], left=[1, -1, -1], right=[2, -1, -1],
        value=[0.0, 3.0, 5.0], features=1,
    )  # fmt: skip
    return dataclasses.replace(forest, **fields)


def test_zeros_that_count_as_missing_are_refused_by_name() -> None:
    rows = np.array([[0.0], [0.5], [2.0], [np.nan]])
    misread = stump(zero_missing=np.array([True, False, False]))
    with pytest.raises(ModelError, match="zeros that count as missing: rows without a zero agree"):
        check_margins(misread, rows, stump().margin(rows), single_sums=False, who="it")


def test_another_number_of_outputs_is_refused() -> None:
    rows = np.array([[0.0], [2.0]])
    native = np.repeat(stump().margin(rows), 2, axis=1)
    with pytest.raises(ModelError, match=r"a margin of shape \(2, 1\) from it, got \(2, 2\)"):
        check_margins(stump(), rows, native, single_sums=False, who="it")
