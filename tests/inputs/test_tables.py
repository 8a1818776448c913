"""Numbers of tables: none is rounded on the way, and a column's type does not depend on the chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import assay
from assay.errors import AssayError, InputError, KindError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2**53 + 1, 3], "int64"),
        ([-(2**53) - 1, 3], "int64"),
        ([2**63 + 2, 3], "uint64"),
        ([2**53 + 1, None], "Int64"),
    ],
)
def test_whole_numbers_that_a_float_does_not_hold_are_refused(values: Any, dtype: str) -> None:
    frame = pd.DataFrame({"id": pd.array(values, dtype=dtype)})
    with pytest.raises(InputError, match=r"2\*\*53 in column 'id', got -?9.*astype\(str\)"):
        assay.Question(lambda f: f["id"].to_numpy() % 10, frame)


def test_whole_numbers_up_to_there_stay_exact() -> None:
    frame = pd.DataFrame({"id": [2**53, 2**53 - 1, -(2**53)]})
    last = assay.Question(lambda f: (f["id"] % 10).to_numpy(), frame)
    assert last.prediction.tolist() == [(number % 10) for number in frame["id"]]


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
@pytest.mark.parametrize(
    "removal",
    [
        assay.Mean(pd.DataFrame({"a": [1, 2], "b": [1, 3]})),
        assay.Baseline(0.5),
        assay.Conditional(pd.DataFrame({"a": range(9), "b": [3, 1, 2] * 3}), draws=2),
    ],
)
def test_the_type_of_a_column_does_not_depend_on_the_chunk(
    removal: assay.Removal, batch_size: int | str
) -> None:
    frame = pd.DataFrame({"a": [5, 6, 7], "b": [1, 2, 3]})
    seen = set()

    def letters(rows: pd.DataFrame) -> np.ndarray:
        seen.add(tuple(map(str, rows.dtypes)))
        return rows["a"].astype(str).str.len().to_numpy(dtype=float)

    model = assay.wrap(letters, batch_size=batch_size)
    question = assay.Question(model, frame, removal=removal)
    question.value(torch.tensor([[True, True], [True, False], [False, True], [False, False]]))
    assert len(seen) == 1, seen


def test_whole_replacements_leave_whole_columns() -> None:
    frame = pd.DataFrame({"a": [5, 6], "b": [0.5, 1.0]})
    seen = []

    def model(rows: pd.DataFrame) -> np.ndarray:
        seen.append(rows["a"].dtype)
        return rows["a"].to_numpy(dtype=float)

    question = assay.Question(model, frame, removal=assay.Background(frame))
    assert question.base.tolist() == [5.5, 5.5]
    assert set(seen) == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("frame", "kind", "match"),
    [
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), InputError, "'a' more than once"),
        (pd.DataFrame(index=[0, 1]), InputError, "at least one column"),
        (pd.DataFrame({"z": [1 + 2j]}), KindError, "real numbers in column 'z'"),
        (pd.DataFrame({"s": pd.arrays.SparseArray([0.0, 1.0])}), KindError, r"to_dense\(\)"),
    ],
)
def test_columns_that_cannot_be_read_are_refused(frame: Any, kind: Any, match: str) -> None:
    with pytest.raises(kind, match=f"^Expected .*{match}"):
        assay.Question(lambda f: np.ones(len(f)), frame)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_background_with_gaps_is_refused_where_the_model_takes_none(value: float) -> None:
    rows = torch.tensor([[1.0, value], [1.0, 2.0]])
    with pytest.raises(AssayError, match="NaN or infinity in 1 of 2 rows"):
        assay.Question(lambda x: x.nan_to_num().sum(1), rows[1:], removal=assay.Background(rows))
    from sklearn.ensemble import HistGradientBoostingClassifier

    fitted = HistGradientBoostingClassifier(max_iter=1).fit(np.eye(2), [0, 1])
    background = assay.Background(np.array([[np.nan, 1.0]]))
    if value != value:
        assert assay.Question(fitted, np.eye(2), removal=background).base.shape == (2,)


def test_a_base_that_is_no_number_names_the_absent_input() -> None:
    question = assay.Question(lambda x: x.log().sum(1), torch.ones(2, 3) * 2)
    with pytest.raises(
        AssayError, match=r"rows with everything removed\. The absent.*another base"
    ):
        question.base  # noqa: B018


def test_a_background_of_other_columns_names_those_that_differ() -> None:
    rows = pd.DataFrame({"age": [1.0, 2.0], "city": ["Rome", "Bonn"]})
    removal = assay.Background(rows)
    with pytest.raises(InputError, match="rows with 'city' as well"):
        assay.Question(lambda frame: frame.age, rows[["age"]], removal=removal)
    with pytest.raises(InputError, match="rows without 'zip'"):
        assay.Question(lambda frame: frame.age, rows.assign(zip=1.0), removal=removal)


def test_one_row_of_a_table_is_no_list_of_texts() -> None:
    row = pd.DataFrame({"age": [1.0], "city": ["Rome"]}).iloc[0]
    with pytest.raises(InputError, match=r"frame\.iloc\[\[i\]\]"):
        assay.Question(lambda frame: frame.age, row)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "Int8", "UInt8", "float16", "Float32"])
@pytest.mark.parametrize("number", [300.0, -129.0, 1e30, 1e39])
@pytest.mark.parametrize("removal", [assay.Baseline, assay.Background])
def test_numbers_beyond_a_small_type_arrive_as_they_are(
    removal: Any, number: float, dtype: str
) -> None:
    """A background of a larger table holds what the inputs' small type does not."""
    frame = pd.DataFrame({"a": pd.array([1, 2, 3], dtype=dtype), "b": [0.5, 1.0, 2.0]})
    stand_in = pd.DataFrame({"a": [number], "b": [0.0]})
    question = assay.Question(
        lambda f: f["a"].to_numpy(dtype=float), frame, removal=removal(stand_in)
    )
    exact = np.float32(number) if dtype == "Float32" and number < 1e39 else number
    assert question.base.tolist() == [float(exact)] * 3
    assert question.prediction.tolist() == [1.0, 2.0, 3.0]
