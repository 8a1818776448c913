"""Shapley values of trees beside shap, XGBoost's and LightGBM's own, and woodelf.

Compiling is reported apart: the first call of a fresh process whose compiled loops are not on disk yet.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import shap
import woodelf
import xgboost

import assay
import harness

COLUMNS = 30
ROWS = 20_000
TREES = 300
DEPTH = 6

CHILD = """
import json, sys, time
import harness
import numpy as np, xgboost
harness.conditions()
import assay
import bench_trees
booster = bench_trees.boosted(20)
model = assay.wrap(booster)
if sys.argv[1] == "compile":
    small = bench_trees.table(8, 1)[0]
    question = assay.Question(model, small, removal=assay.Background(small))
    start = time.perf_counter()
    assay.TreeShap()(question)
    assay.TreeShap("path_dependent")(question)
    print(json.dumps(time.perf_counter() - start))
else:
    count = int(sys.argv[2])
    rows = bench_trees.table(count, 1)[0]
    booster.predict(xgboost.DMatrix(rows))
    before = harness.peak_megabytes()
    answer = assay.TreeShap("path_dependent")(assay.Question(model, rows))
    size = answer.values.numel() * answer.values.element_size() / (1 << 20)
    print(json.dumps(harness.peak_megabytes() - before - size))
"""


def table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of which twenty matter, some of them together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    y = (x[:, :10] ** 2).sum(1) + x[:, 0] * x[:, 1] + np.sin(x[:, 10:20]).sum(1)
    return x, y + rng.normal(size=rows)


def boosted(trees: int = TREES) -> xgboost.Booster:
    x, y = table(ROWS, 0)
    settings = {"max_depth": DEPTH, "eta": 0.1, "nthread": harness.THREADS}
    return xgboost.train(settings, xgboost.DMatrix(x, y), trees)


def explained(
    model: assay.Model, rows: np.ndarray, background: np.ndarray | None = None
) -> Callable[[], Any]:
    """Our side: a new question every time."""

    def work() -> object:
        if background is None:
            return assay.TreeShap("path_dependent")(assay.Question(model, rows))
        question = assay.Question(model, rows, removal=assay.Background(background))
        return assay.TreeShap()(question)

    return work


def path_dependent(bench: harness.Bench) -> None:
    name = f"path-dependent, {TREES} trees of depth {DEPTH}"
    if not bench.wanted(name):
        return
    settings = f"{COLUMNS} columns, {ROWS} rows"
    rows = table(ROWS, 1)[0]
    booster = boosted()
    matrix = xgboost.DMatrix(rows)
    ours = explained(assay.wrap(booster), rows)
    theirs = {
        "XGBoost pred_contribs": lambda: booster.predict(matrix, pred_contribs=True),
        "shap TreeExplainer": lambda: shap.TreeExplainer(booster).shap_values(
            rows, check_additivity=False
        ),
        "woodelf": lambda: woodelf.WoodelfExplainer(booster).shap_values(rows),
    }
    for peer, work in theirs.items():
        bench.pair(name, peer, ours, work, 0.2, settings=settings, pairs=2)
    light = lightgbm.train(
        {"num_leaves": 2**DEPTH, "max_depth": DEPTH, "num_threads": harness.THREADS, "verbose": -1},
        lightgbm.Dataset(*table(ROWS, 0)),
        TREES,
    )
    bench.pair(
        name,
        "LightGBM pred_contrib",
        explained(assay.wrap(light), rows),
        lambda: light.predict(rows, pred_contrib=True),
        0.2,
        settings=settings,
        pairs=2,
    )


def interventional(bench: harness.Bench) -> None:
    booster = boosted(100)
    model = assay.wrap(booster)
    rows = table(ROWS, 1)[0]
    background = table(ROWS, 2)[0]

    def with_shap(count: int, draws: int) -> Callable[[], Any]:
        masker = shap.maskers.Independent(background[:draws], max_samples=draws)
        explainer = shap.TreeExplainer(booster, masker, feature_perturbation="interventional")
        return lambda: explainer.shap_values(rows[:count], check_additivity=False)

    name = "interventional, 100 trees of depth 6"
    bench.pair(
        name,
        "shap TreeExplainer",
        explained(model, rows[:100], background[:100]),
        with_shap(100, 100),
        1.0,
        settings=f"{COLUMNS} columns, 100 rows, 100 of the background",
        pairs=3,
    )
    if bench.wanted(name):
        few = 50
        theirs = 1000 / few * harness.seconds(with_shap(few, 1000))
        work = explained(model, rows[:1000], background[:1000])
        work()
        ours = min(harness.seconds(work) for _ in range(3))
        settings = (
            f"{COLUMNS} columns, 1000 rows, 1000 of the background; shap timed at {few} rows, "
            f"times {1000 // few}"
        )
        peer = "shap TreeExplainer, 1000 x 1000"
        bench.keep(harness.Result(name, peer, ours, theirs, ours / theirs, 0.01, "s", settings))
    explainer = woodelf.WoodelfExplainer(booster, background)
    bench.pair(
        name,
        "woodelf",
        explained(model, rows, background),
        lambda: explainer.shap_values(rows),
        0.5,
        settings=f"{COLUMNS} columns, {ROWS} rows, {ROWS} of the background",
        pairs=2,
    )


def first_call(bench: harness.Bench) -> None:
    name = "first call of TreeShap, both modes"
    if not bench.wanted(name) or bench.options.peers:
        return
    with tempfile.TemporaryDirectory() as empty:
        before = os.environ.get("NUMBA_CACHE_DIR")
        os.environ["NUMBA_CACHE_DIR"] = empty
        compiled = json.loads(harness.child(CHILD, "compile"))
        loaded = json.loads(harness.child(CHILD, "compile"))
        os.environ.pop("NUMBA_CACHE_DIR")
        if before is not None:
            os.environ["NUMBA_CACHE_DIR"] = before
    nan = float("nan")
    bench.keep(harness.Result(name, "compiled", compiled, nan, nan, None))
    bench.keep(harness.Result(name, "compiled before, from disk", loaded, nan, nan, None))


def memory(bench: harness.Bench) -> None:
    name = "memory of TreeShap, 1,000,000 rows"
    if not bench.wanted(name) or bench.options.peers:
        return
    grown = json.loads(harness.child(CHILD, "memory", "1000000"))
    settings = f"20 trees, {COLUMNS} columns; above the model's own prediction, less the result"
    bench.keep(harness.Result(name, "1 GiB", grown, 1024.0, grown / 1024.0, 1.0, "MB", settings))


def main() -> None:
    harness.conditions()
    bench = harness.Bench("trees", harness.arguments(__doc__))
    for case in (path_dependent, interventional, first_call, memory):
        case(bench)
    bench.save()


if __name__ == "__main__":
    main()
