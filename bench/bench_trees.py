"""Shapley values of trees beside shap, XGBoost's and LightGBM's own, and woodelf.

Compiling is reported apart: the first call of a fresh process whose compiled loops are not on disk yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
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
    data = [] if background is None else [frame(background)]
    table = frame(rows)

    def work() -> object:
        with quietly():
            return woodelf.WoodelfExplainer(booster, *data).shap_values(table)

    return work


def scaled(
    bench: harness.Bench,
    name: str,
    peer: str,
    ours: Callable[[], Any],
    few: Callable[[], Any],
    times: int,
    target: float,
    settings: str,
) -> None:
    """A peer whose time grows with the rows alone is timed at few of them, once; processor seconds,
    of all threads of both sides.
    """
    if not bench.wanted(name):
        return
    few()
    theirs = times * harness.clocks(few)[1]
    mine = float("nan")
    if not bench.options.peers:
        ours()
        mine = min(harness.clocks(ours)[1] for _ in range(3))
    said = f"{settings}; processor seconds; the peer timed at 1/{times} of the rows"
    bench.keep(harness.Result(name, peer, mine, theirs, mine / theirs, target, "s", said))


def path_dependent(bench: harness.Bench) -> None:
    name = f"path-dependent, {TREES} trees of depth {DEPTH}"
    if not bench.wanted(name):
        return
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
        scaled(bench, name, peer, ours, work, 20, 0.2, settings)
    light = lightgbm.train(
        {"num_leaves": 2**DEPTH, "max_depth": DEPTH, "num_threads": harness.THREADS, "verbose": -1},
        lightgbm.Dataset(*table(ROWS, 0)),
        TREES,
    )
    scaled(
        bench, name, "LightGBM pred_contrib, of its own trees",
        explained(assay.wrap(light), rows),
        lambda: light.predict(few, pred_contrib=True), 20, 0.2, settings,
    )  # fmt: skip
    bench.pair(
        name, "woodelf", ours, woodelf_values(booster, rows), 0.2, settings=settings, pairs=1, warm=False
    )  # fmt: skip


def interventional(bench: harness.Bench) -> None:
    name = "interventional, 100 trees of depth 6"
    if not bench.wanted(name):
        return
    booster = boosted(100)
    model = assay.wrap(booster)
    rows = table(ROWS, 1)[0]
    background = table(ROWS, 2)[0]

    def with_shap(count: int, draws: int) -> Callable[[], Any]:
        masker = shap.maskers.Independent(background[:draws], max_samples=draws)
        explainer = shap.TreeExplainer(booster, masker, feature_perturbation="interventional")
        return lambda: explainer.shap_values(rows[:count], check_additivity=False)

    for count, few, target in ((100, 100, 1.0), (1000, 20, 0.01)):
        work = explained(model, rows[:count], background[:count])
        settings = f"{COLUMNS} columns, {count} rows, {count} of the background"
        peer = f"shap TreeExplainer, {count} x {count}"
        scaled(bench, name, peer, work, with_shap(few, count), count // few, target, settings)
    bench.pair(
        name,
        "woodelf",
        explained(model, rows, background),
        woodelf_values(booster, rows, background),
        0.5,
        settings=f"{COLUMNS} columns, {ROWS} rows, {ROWS} of the background",
        pairs=1,
        warm=False,
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
