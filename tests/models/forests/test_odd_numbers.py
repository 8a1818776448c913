"""Thresholds at zero, at the ends of float32 and between zero and its least number are read as any
other, also where the caller has NumPy raise what it would ignore.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

import assay
from assay.errors import ModelError
from assay.models.forests.forest import Forest
from assay.models.forests.probes import probe_rows
from assay.models.forests.reading import read_trees
from tree_tables import generator

MOST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).smallest_subnormal)


def odd(*, gaps: bool) -> pd.DataFrame:
    """Columns of such numbers, with holes and columns that are mostly holes where they may be."""
    draws = generator(5)
    table = pd.DataFrame(
        {
            "usual": draws.normal(size=300),
            "zero": draws.integers(-1, 2, 300) * 1.0,
            "ends": draws.choice([-MOST, 0.0, MOST], 300),
            "large": draws.normal(size=300) * 1e38,
            "least": draws.choice([-LEAST, 0.0, LEAST, 2 * LEAST], 300),
            "small": draws.normal(size=300) * 1e-42,
        }
    )
    if gaps:
        table = table.mask(draws.random(table.shape) < 0.2)
        table["hole"] = np.where(draws.random(300) < 0.5, np.nan, 1.0)
    return table


def response(table: pd.DataFrame) -> np.ndarray:
    """Whether each column is above 0, or missing, weighs."""
    above = (table.fillna(1.0) > 0) @ np.arange(1.0, len(table.columns) + 1)
    return np.asarray(above + generator(6).normal(size=len(table)) * 0.1)


def boosted(library: str, name: str, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        return getattr(pytest.importorskip(library), name)(**settings)

    return make


CAT = {"iterations": 60, "depth": 5, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
MODELS: dict[str, Callable[[], Any]] = {
    "CatBoost, NaN below all": boosted("catboost", "CatBoostRegressor", nan_mode="Min", **CAT),
    "CatBoost, NaN above all": boosted("catboost", "CatBoostRegressor", nan_mode="Max", **CAT),
    "XGBoost": boosted("xgboost", "XGBRegressor", n_estimators=30, n_jobs=1),
    "XGBoost, 0 missing": boosted("xgboost", "XGBRegressor", n_estimators=30, missing=0.0),
    "LightGBM": boosted(
        "lightgbm", "LGBMRegressor", n_estimators=30, min_child_samples=3, verbose=-1
    ),
    "LightGBM, 0 missing": boosted(
        "lightgbm", "LGBMRegressor", n_estimators=30, zero_as_missing=True, verbose=-1
    ),
    "histograms": lambda: HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=3),
    "a tree": lambda: DecisionTreeRegressor(random_state=0),
}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_odd_thresholds_are_read_and_explained(name: str, gaps: bool) -> None:
    table = odd(gaps=gaps)
    if gaps and name == "XGBoost, 0 missing":
        table = table.fillna(0.0)
    # What scikit-learn sums to look for infinities would be infinite itself.
    if name == "a tree":
        table = table.drop(columns=["ends", "large"])
    with np.errstate(all="ignore"):
        model = MODELS[name]().fit(table, response(table))
    # Of scikit-learn the predictor itself casts what underflows: it is asked as it is.
    cautious: Any = {} if name == "a tree" else {"all": "raise"}
    with np.errstate(**cautious):
        trees = read_trees(model)
        assert trees.forest.trees
        question = assay.Question(model, table[:8], removal=assay.Background(table[20:40]))
        answer = assay.TreeShap()(question)
    assert answer.gap is not None
    assert float(answer.gap.abs().max()) < 1e-4


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_probes_stand_beside_any_threshold(single: bool) -> None:
    kind = np.float32 if single else np.float64
    info = np.finfo(kind)
    for threshold in (0.0, -0.0, info.smallest_subnormal, info.tiny, info.max, -info.max):
        forest = Forest.of_tree(
            feature=[0, -1, -1], threshold=[float(threshold), 0, 0], left=[1, -1, -1],
            right=[2, -1, -1], value=[0.0, 1.0, 2.0], features=1, single=single,
        )  # fmt: skip
        with np.errstate(all="raise"):
            rows = probe_rows(forest, 64, missing=False, unknown=False)
            margins = forest.margin(rows)
        assert np.isfinite(rows).all()
        # Nothing is above the largest number; of all others both sides are tried.
        assert len(np.unique(margins)) == (1 if threshold == info.max else 2)


def test_borders_that_are_infinite_are_refused_by_name() -> None:
    catboost = pytest.importorskip("catboost")
    # Between -inf and 0, as single precision has them, lies -inf.
    huge = generator(7).choice([-1e300, 0.0, 1e300], (300, 1))
    model = catboost.CatBoostRegressor(**CAT).fit(huge, huge[:, 0] > 0)
    with pytest.raises(ModelError, match=r"(?s)borders are finite.*beyond single precision"):
        read_trees(model)
