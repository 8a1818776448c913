"""Columns are matched by their names, wherever names are known, in whatever form rows come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression

import assay
from assay.errors import InputError, KindError

EXACT = assay.ExactShapley()
WEIGHTS = np.array([1.0, 10.0, 100.0])
FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))
TURNED = FRAME[["c", "a", "b"]]
FITTED = LinearRegression().fit(FRAME, FRAME.to_numpy() @ WEIGHTS)


def credit(model: Any, inputs: Any, removal: Any) -> Any:
    return EXACT(assay.Question(model, inputs, removal=removal)).values.numpy()


REMOVALS = {
    "background": lambda rows: assay.Background(rows.iloc[5:9]),
    "mean": assay.Mean,
    "row": lambda rows: assay.Baseline(rows.iloc[5:6]),
    "means": lambda rows: assay.Baseline(rows.mean()),
    "conditional": lambda rows: assay.Conditional(rows, draws=4),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_an_array_beside_a_frame_in_another_order(name: str) -> None:
    make = REMOVALS[name]
    asked = FRAME.iloc[:2].to_numpy()
    given = credit(FITTED, asked, make(TURNED))
    np.testing.assert_allclose(given, credit(FITTED, asked, make(FRAME)), rtol=0, atol=1e-10)
    if name == "background":
        right = WEIGHTS * (asked - FRAME.iloc[5:9].to_numpy().mean(0))
        np.testing.assert_allclose(given, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", REMOVALS)
def test_names_beside_an_array_of_no_names_are_refused(name: str) -> None:
    def model(rows: np.ndarray) -> np.ndarray:
        return rows @ WEIGHTS

    with pytest.raises(InputError, match=r"\['c', 'a', 'b'\] beside an array without names"):
        credit(model, FRAME.iloc[:2].to_numpy(), REMOVALS[name](TURNED))
    # Numbers are places.
    plain = FRAME.set_axis(range(3), axis=1)
    given = credit(model, FRAME.iloc[:2].to_numpy(), assay.Background(plain))
    right = WEIGHTS * (FRAME.iloc[:2] - FRAME.mean()).to_numpy()
    np.testing.assert_allclose(given, right, rtol=0, atol=1e-10)


def test_other_names_than_those_of_the_fit_are_refused() -> None:
    other = FRAME.rename(columns={"b": "z"})
    with pytest.raises(InputError, match=r"\['a', 'z', 'c'\] beside \['a', 'b', 'c'\]"):
        credit(FITTED, FRAME.iloc[:2].to_numpy(), assay.Background(other))


def test_an_array_in_the_place_of_a_frame_is_refused() -> None:
    with pytest.raises(KindError, match=r"columns=inputs\.columns"):
        credit(FITTED, FRAME.iloc[:2], assay.Background(TURNED.to_numpy()))


def test_objects_come_back_as_objects() -> None:
    words = pd.Series(["a", "b", "a"], dtype=object)
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "w": words})
    frame["c"] = pd.Categorical.from_codes([0, 1, 0], pd.Index(["u", "v"], dtype=object))
    seen = set()

    def model(rows: pd.DataFrame) -> np.ndarray:
        seen.add((str(rows["w"].dtype), str(rows["c"].cat.categories.dtype)))
        return rows["x"].to_numpy() + (rows["w"] == "a").to_numpy()

    for method in (EXACT, assay.Lime(assay.Quartiles(frame, samples=20)), assay.Occlusion()):
        method(assay.Question(model, frame.iloc[:1], removal=assay.Background(frame)))
    assert seen == {("object", "object")}


def test_levels_of_any_kind_have_identities_of_their_own() -> None:
    words = [(1, 2), "a", 3.5, None]
    later = pd.DataFrame({"x": 1.0, "w": pd.Series(pd.Categorical(words))})
    first = pd.DataFrame({"x": [1.0], "w": pd.Series(pd.Categorical(["a"], categories=["a"]))})
    asked = []

    def model(rows: pd.DataFrame) -> np.ndarray:
        asked.extend(rows["w"])
        return rows["x"].to_numpy() + np.array([value == (1, 2) for value in rows["w"]])

    question = assay.Question(
        assay.wrap(model, missing=True), first, removal=assay.Background(later)
    )
    assert EXACT(question).values.tolist() == [[0.0, -0.25]]
    assert set(words[:3]) <= set(asked)
    # The keys of the levels that stand in, among them tuples, do not depend on the rows beside them.
    rows = question.layout.flatten(later)
    together = question.layout.identities(rows)
    apart = torch.cat([question.layout.identities(rows[i : i + 1]) for i in range(len(rows))])
    assert together.tolist() == apart.tolist()
    assert len(set(together.tolist())) == len(words)
    answer = assay.Qii("unary", draws="independent")(question)
    assert answer.values.shape == (1, 2)
