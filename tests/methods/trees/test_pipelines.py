"""Raw columns of a pipeline play as one, with all columns that are made of them: the values are those
of all coalitions, by the pipeline's own answers.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import assay
from tree_tables import generator, numbers, response

HOLES = numbers()
TABLE = HOLES.assign(
    c=generator(3).choice(list("zyxw"), len(HOLES)), d=generator(4).choice(list("uvr"), len(HOLES))
)
Y = response(HOLES) + 3.0 * (TABLE.c == "z") - 2.0 * (TABLE.d == "u") * (TABLE.c != "x")
ORDERS = [["a", "i", "b", "c", "d"], ["d", "c", "b", "a", "i"]]


@pytest.fixture(scope="module", params=[RandomForestRegressor, GradientBoostingRegressor])
def pipeline(request: pytest.FixtureRequest) -> Any:
    """Encoded columns in another order than the raw ones, and several of some."""
    imputed = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    steps = ColumnTransformer(
        [
            ("one hot", OneHotEncoder(), ["c"]),
            ("numbers", imputed, ["b", "a"]),
            ("ordinal", OrdinalEncoder(), ["d"]),
        ],
        remainder="passthrough",
    )
    trees = request.param(n_estimators=8, max_depth=5, random_state=0)
    fitted = Pipeline([("encode", steps), ("trees", trees)]).fit(TABLE, Y)
    return assay.wrap(fitted, missing=True)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_raw_columns_play_with_all_that_is_made_of_them(pipeline: Any, order: list[str]) -> None:
    table = TABLE[order]
    question = assay.Question(pipeline, table.iloc[:6], removal=assay.Background(table.iloc[40:50]))
    found, exact = assay.TreeShap()(question), assay.ExactShapley()(question)
    assert list(found.names) == order
    close(found.values, exact.values)
    # Every raw column has a say, that of texts too.
    assert bool((found.values.abs().mean(0) > 0.01).all())
    close(assay.TreeInteractions()(question).values, assay.ExactInteractions()(question).values)
    along = assay.TreeShap("path_dependent")(question)
    close(along.base + along.values.sum(1), question.prediction)


def test_raw_columns_in_groups(pipeline: Any) -> None:
    features = assay.Columns(groups={"words": ["c", "d"], "rest": ["b", "i"]})
    question = assay.Question(
        pipeline, TABLE.iloc[:6], features=features, removal=assay.Background(TABLE.iloc[40:60])
    )
    close(assay.TreeShap()(question).values, assay.ExactShapley()(question).values)
