"""How many rows a method will ask, said beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import assay

TABLE = pd.DataFrame(np.random.RandomState(0).rand(12, 6), columns=list("abcdef")).assign(c=0.5)
REMOVALS = {
    "background": assay.Background(TABLE.iloc[6:9]),
    "zeros": assay.Baseline(0.0),
    "a row each": assay.Baseline(TABLE.iloc[4:8]),
}
EXACT = (
    assay.ExactShapley(),
    assay.KernelShap(),
    assay.KernelShap(budget=20),
    assay.LowOrderShap(),
    assay.PermutationShapley(orderings=4),
    assay.SamplingShapley(draws=7),
    assay.ProxyShap(),
    assay.OwenValues(),
    assay.Qii(),
    assay.Qii("unary"),
    assay.Qii("banzhaf"),
    assay.Qii("marginal", given=(0,)),
    assay.Occlusion(),
    assay.Occlusion(window=2),
    assay.Rise(masks=64),
    assay.Lime(assay.CoinMasks(samples=60)),
    assay.Lime(assay.Gaussian(samples=60)),
)
AT_MOST = (
    assay.KernelShap(until=0.05),
    assay.Qii("unary", quantity=assay.Group()),
    assay.OwenValues(((0, 1), ((2, 3), 4, 5))),
    assay.Lime(assay.Instances(TABLE)),
)


class Counted:
    """A predictor that counts the rows it is handed."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: pd.DataFrame) -> Any:
        self.rows += len(rows)
        wave = np.sin(rows["d"] * rows["e"])
        return (rows["a"] * rows["b"] + rows["c"] + wave * rows["f"]).to_numpy()


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("method", EXACT, ids=repr)
def test_a_forecast_is_what_is_asked(method: assay.Method, removal: str) -> None:
    model = Counted()
    question = assay.Question(model, TABLE.iloc[:4], removal=REMOVALS[removal])
    forecast = method.forecast(question)
    assert model.rows == 0
    answer = method(question)
    assert forecast == model.rows == answer.facts["forecast"]


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("method", AT_MOST, ids=lambda method: repr(method)[:40])
def test_a_forecast_is_no_less_than_what_is_asked(method: assay.Method, removal: str) -> None:
    model = Counted()
    question = assay.Question(model, TABLE.iloc[:4], removal=REMOVALS[removal])
    forecast = method.forecast(question)
    assert model.rows == 0
    method(question)
    assert forecast is not None
    assert forecast >= model.rows > 0


@pytest.mark.parametrize("n", [1, 40])
def test_one_row_and_more_than_a_shard(n: int) -> None:
    rows = pd.concat([TABLE] * 4).iloc[:n]
    model = Counted()
    question = assay.Question(model, rows, removal=REMOVALS["background"])
    forecast = assay.PermutationShapley(orderings=4).forecast(question)
    answer = assay.PermutationShapley(orderings=4)(question)
    assert forecast is not None
    assert 0 <= forecast - model.rows <= question.replacements
    assert answer.facts["forecast"] == forecast


def test_features_that_nothing_changes_are_not_counted() -> None:
    same = TABLE.iloc[:1].assign(a=0.25)
    gone = assay.Background(TABLE.iloc[1:2].assign(a=0.25))
    question = assay.Question(Counted(), same, removal=gone)
    # a and c stay as they are
    assert assay.ExactShapley().forecast(question) == 2**4 + 1 + 1 + 4


def test_where_nobody_can_say() -> None:
    question = assay.Question(Counted(), TABLE.iloc[:1], removal=REMOVALS["zeros"])
    assert assay.Rise(masks="all").forecast(question) is None
