"""Shapley values of trees beside shap, XGBoost's and LightGBM's own, and woodelf.

Compiling is reported apart: the first call of a fresh process whose compiled loops are not on disk yet.
Peers are imported where they are asked: the processes whose memory is measured import this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
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
    rows = bench_trees.many(int(sys.argv[2]))
    before = harness.peak_megabytes()
    answer = assay.TreeShap("path_dependent")(assay.Question(model, rows))
    print(json.dumps([harness.peak_megabytes(), before]))
"""


def table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of which twenty matter, some of them together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    y = (x[:, :10] ** 2).sum(1) + x[:, 0] * x[:, 1] + np.sin(x[:, 10:20]).sum(1)
    return x, y + rng.normal(size=rows)


def many(rows: int) -> np.ndarray:
    """Rows of single precision that are drawn as such: no doubles beside them at any time."""
    return np.random.default_rng(1).standard_normal((rows, COLUMNS), dtype=np.float32)


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


def frame(rows: np.ndarray) -> pd.DataFrame:
    """Rows as woodelf takes them, which matches trees to columns by name."""
    return pd.DataFrame(rows, columns=[f"f{column}" for column in range(COLUMNS)])


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """woodelf prints as it goes."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def woodelf_values(
    booster: xgboost.Booster, rows: np.ndarray, background: np.ndarray | None = None
) -> Callable[[], Any]:
    """woodelf's side."""
    import woodelf

    data = [] if background is None else [frame(background)]
    table = frame(rows)

    def work() -> object:
        with quietly():
            return woodelf.WoodelfExplainer(booster, *data).shap_values(table)

    return work


def beside(
    bench: harness.Bench, name: str, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any],
    target: float, settings: str, *, times: int = 1, pairs: int = 3,
) -> None:  # fmt: skip
    """Both in turn, in processor seconds; ours once before, since its kernels are compiled then."""
    ours()
    bench.pair(
        name, peer, ours, theirs, target,
        settings=settings, pairs=pairs, times=times, warm=False, clock="processor",
    )  # fmt: skip


def path_dependent(bench: harness.Bench) -> None:
    name = f"path-dependent, {TREES} trees of depth {DEPTH}"
    if not bench.wanted(name):
        return
    import lightgbm
    import shap

    settings = f"{COLUMNS} columns, {ROWS} rows"
    rows = table(ROWS, 1)[0]
    few = rows[: ROWS // 20]
    booster = boosted()
    matrix = xgboost.DMatrix(few)
    ours = explained(assay.wrap(booster), rows)
    natives = {
        "XGBoost pred_contribs": lambda: booster.predict(matrix, pred_contribs=True),
        "shap TreeExplainer": lambda: shap.TreeExplainer(booster).shap_values(
            few, check_additivity=False
        ),
    }
    for peer, work in natives.items():
        beside(bench, name, peer, ours, work, 0.2, settings, times=20)
    light = lightgbm.train(
        {"num_leaves": 2**DEPTH, "max_depth": DEPTH, "num_threads": harness.THREADS, "verbose": -1},
        lightgbm.Dataset(*table(ROWS, 0)),
        TREES,
    )
    beside(
        bench, name, "LightGBM pred_contrib, of its own trees",
        explained(assay.wrap(light), rows),
        lambda: light.predict(few, pred_contrib=True), 0.2, settings, times=20,
    )  # fmt: skip
    work = woodelf_values(booster, rows)
    beside(bench, name, "woodelf", ours, work, 0.2, settings, pairs=1)


def interventional(bench: harness.Bench) -> None:
    name = "interventional, 100 trees of depth 6"
    if not bench.wanted(name):
        return
    import shap

    booster = boosted(100)
    model = assay.wrap(booster)
    rows = table(ROWS, 1)[0]
    background = table(ROWS, 2)[0]

    def with_shap(count: int, draws: int) -> Callable[[], Any]:
        masker = shap.maskers.Independent(background[:draws], max_samples=draws)
        explainer = shap.TreeExplainer(booster, masker, feature_perturbation="interventional")
        return lambda: explainer.shap_values(rows[:count], check_additivity=False)

    for count, few, target in ((100, 100, 1.0), (1000, 50, 0.01)):
        work = explained(model, rows[:count], background[:count])
        settings = f"{COLUMNS} columns, {count} rows, {count} of the background"
        peer = f"shap TreeExplainer, {count} x {count}"
        theirs = with_shap(few, count)
        beside(bench, name, peer, work, theirs, target, settings, times=count // few)
    settings = f"{COLUMNS} columns, {ROWS} rows, {ROWS} of the background"
    work = explained(model, rows, background)
    theirs = woodelf_values(booster, rows, background)
    beside(bench, name, "woodelf", work, theirs, 0.5, settings)


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
    peak, before = json.loads(harness.child(CHILD, "memory", "1000000"))
    settings = (
        f"20 trees, {COLUMNS} columns of single precision; the peak of the whole process, libraries, rows "
        f"and answer included; {before:.0f} MB before the question"
    )
    bench.keep(harness.Result(name, "1 GiB", peak, 1024.0, peak / 1024.0, 1.0, "MB", settings))


def main() -> None:
    harness.conditions()
    bench = harness.Bench("trees", harness.arguments(__doc__))
    for case in (path_dependent, interventional, first_call, memory):
        case(bench)
    bench.save()


if __name__ == "__main__":
    main()
