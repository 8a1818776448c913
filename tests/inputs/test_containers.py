"""What people hold instead of an array or a frame: it works, or is refused with the line that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import assay
from assay.errors import AssayError, KindError

EXACT = assay.ExactShapley()
FRAME = pd.DataFrame({"x": [1.0, 2.0, 4.0], "town": ["Rome", "Bonn", "Rome"]})


class Results:
    """As statsmodels' results of a formula: a frame in, whose columns are known by name alone."""

    def predict(self, exog: Any) -> Any:
        return exog["x"] * 2 + (exog["town"] == "Rome")


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([float(len(text.split())) for text in texts])


def test_an_object_with_predict_is_handed_the_frame_itself() -> None:
    turned = FRAME[["town", "x"]].iloc[1:]
    question = assay.Question(Results(), FRAME.iloc[:1], removal=assay.Background(turned))
    np.testing.assert_allclose(EXACT(question).values, [[-4.0, 0.5]], rtol=0, atol=1e-12)


def test_a_formula_of_statsmodels() -> None:
    formulas = pytest.importorskip("statsmodels.formula.api", reason="needs the extra 'test'")
    rows = pd.concat([FRAME, FRAME.assign(x=[5.0, 7.0, 9.0])], ignore_index=True)
    rows["y"] = 2 * rows["x"] + (rows["town"] == "Rome")
    fitted = formulas.ols("y ~ x + town", rows).fit()
    question = assay.Question(fitted, FRAME.iloc[:1], removal=assay.Background(FRAME.iloc[1:]))
    np.testing.assert_allclose(EXACT(question).values, [[-4.0, 0.5]], rtol=0, atol=1e-9)


def test_a_frame_of_polars_is_refused_with_the_line_that_converts_it() -> None:
    polars = pytest.importorskip("polars", reason="needs the extra 'test'")
    with pytest.raises(KindError, match=r"frame\.to_pandas\(\)"):
        assay.Question(Results(), polars.DataFrame({"x": [1.0], "town": ["Rome"]}))


class Foreign:
    """A frame of another library, as far as it is asked."""

    columns = ("x", "town")

    def to_pandas(self) -> pd.DataFrame:
        return FRAME


def test_a_frame_of_another_library_is_refused_with_the_line_that_converts_it() -> None:
    for ask in (
        lambda: assay.Question(Results(), Foreign()),
        lambda: assay.Question(Results(), FRAME, removal=assay.Background(Foreign())),
        lambda: assay.Question(lambda x: x[:, 0], np.ones((1, 2)), removal=assay.Mean(Foreign())),
    ):
        with pytest.raises(AssayError, match=r"pandas|pd\."):
            ask()


def test_sparse_matrices_are_refused_with_the_line_that_fills_them() -> None:
    for matrix in (sparse.csr_matrix(np.eye(3)), sparse.csc_array(np.eye(3))):
        for ask in (
            lambda m=matrix: assay.Question(lambda x: x.sum(1), m),
            lambda m=matrix: assay.Question(
                lambda x: x.sum(1), np.eye(3), removal=assay.Background(m)
            ),
        ):
            with pytest.raises(KindError, match=r"x\.toarray\(\)"):
                ask()


def test_a_series_of_texts_is_texts() -> None:
    texts = ["so good", "a bad film"]
    given = EXACT(assay.Question(lengths, pd.Series(texts, index=[7, 3])))
    wanted = EXACT(assay.Question(lengths, texts))
    assert given.values.tolist() == wanted.values.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_a_frame_of_one_column_of_texts_is_refused_with_the_line_that_takes_it_out() -> None:
    with pytest.raises(KindError, match=r"frame\['text'\]\.tolist\(\)"):
        assay.Question(lengths, pd.DataFrame({"text": ["so good", "a bad film"]}))
