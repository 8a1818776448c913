"""Dependence plots of boosted trees: each column's Shapley value against the column, one panel for
each, on Boston and California housing.

`python studies/tree_dependence.py` writes docs/studies/tree_dependence.json, .png, _boston.png and the
table of the .md page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xgboost

import assay
import zoo
from page import Page, conditions

PAGE = Page("tree_dependence")
BACKGROUND = 1000
SHOWN = 2000


def answered(table: pd.DataFrame, price: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Rows of a held-out fifth, their values, and the error of the model on them (R^2)."""
    order = np.random.default_rng(0).permutation(len(table))
    cut = len(table) // 5
    test, train = order[:cut], order[cut:]
    model = xgboost.XGBRegressor(n_estimators=300, max_depth=5, learning_rate=0.05, n_jobs=1)
    model.fit(table.iloc[train], price.iloc[train])
    rows = table.iloc[test[:SHOWN]]
    removal = assay.Background(table.iloc[train[:BACKGROUND]])
    answer = assay.TreeShap()(assay.Question(model, rows, removal=removal))
    score = float(model.score(table.iloc[test], price.iloc[test]))
    return rows, answer.to_pandas(), score


def draw(rows: pd.DataFrame, values: pd.DataFrame, path: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = 4
    lines = -(-rows.shape[1] // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(12, 2.6 * lines), sharey=True, layout="constrained"
    )
    for axis in axes.flat[rows.shape[1] :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, rows.columns, strict=False):
        axis.scatter(rows[name], values[name], s=4, alpha=0.5)
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_xlabel(name)
    for axis in axes[:, 0]:
        axis.set_ylabel("Shapley value")
    figure.savefig(path, dpi=110)


def figures_of(rows: pd.DataFrame, values: pd.DataFrame, score: float) -> dict[str, Any]:
    importance = values.abs().mean().sort_values(ascending=False)
    ranks = {name: float(rows[name].corr(values[name], method="spearman")) for name in rows}
    # What is left of a column's value where the column itself is known: what others do to it.
    left = {}
    for name in rows:
        bins = pd.qcut(rows[name], 20, duplicates="drop")
        left[name] = float(values[name].groupby(bins, observed=True).std().mean())
    return {"score": score, "importance": importance.to_dict(), "rank": ranks, "within": left}


def text(figures: dict[str, Any]) -> str:
    lines = [
        "| table | R² on held-out rows | column | mean size of its value | rank correlation with the "
        "column | spread among rows of one twentieth |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures.items():
        for column, size in found["importance"].items():
            rank, within = found["rank"][column], found["within"][column]
            lines.append(
                f"| {name} | {found['score']:.3f} | {column} | {size:.3f} | {rank:.2f} | {within:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    conditions()
    figures = {}
    for name, (table, price), path in (
        ("Boston", zoo.boston(), PAGE.file("png").with_name("tree_dependence_boston.png")),
        ("California", zoo.california(), PAGE.picture),
    ):
        rows, values, score = answered(table, price)
        draw(rows, values, path)
        figures[name] = figures_of(rows, values, score)
    PAGE.keep(figures)
    PAGE.fill(text(figures))


if __name__ == "__main__":
    main()
