"""Figure 3 of Lundberg and Lee (2017) again: how fast estimates of one feature's credit settle, on a
decision tree that uses all of 10 features and on one that uses 3 of 100.

`python studies/sample_efficiency.py` writes docs/studies/sample_efficiency.json, .png and the table of
the .md page. The exact values are those of `TreeShap`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor

import assay
from page import Page, conditions

PAGE = Page("sample_efficiency")
REPLICATES = 200
BUDGETS = (40, 80, 160, 320, 640, 1280)


@dataclass(frozen=True)
class Case:
    """A tree, the input that is explained, and the feature whose credit is shown."""

    name: str
    question: assay.Question
    exact: float
    feature: int


def grown(features: int, used: int, seed: int) -> Case:
    """A tree on `features` columns of which `used` matter, and one input of it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, features))
    weights = np.zeros(features)
    weights[:used] = np.linspace(2.0, 1.0, used)
    y = (x > 0) @ weights + (x[:, 0] > 0) * (x[:, 1] > 0) * 2.0
    tree = DecisionTreeRegressor(max_depth=used, max_leaf_nodes=2**used).fit(x, y)
    taken = np.unique(tree.tree_.feature[tree.tree_.feature >= 0])
    assert len(taken) == used, taken
    question = assay.Question(tree, x[:1], removal=assay.Baseline(np.median(x, axis=0)[None]))
    exact = assay.TreeShap()(question).values[0]
    feature = int(exact.abs().argmax())
    name = f"all {features} features" if used == features else f"{used} of {features} features"
    return Case(name, question, float(exact[feature]), feature)


METHODS: dict[str, Callable[[int, int], assay.Method]] = {
    "KernelSHAP": lambda budget, d: assay.KernelShap(budget=max(budget - 2, 3 * d)),
    "Shapley sampling": lambda budget, d: assay.SamplingShapley(draws=max(2, budget // (2 * d))),
    "permutations": lambda budget, d: assay.PermutationShapley(orderings=max(2, budget // d)),
    "LIME": lambda budget, d: assay.Lime(assay.CoinMasks(samples=budget)),
}


def spread(case: Case, make: Callable[[int, int], assay.Method], budget: int) -> dict[str, Any]:
    """Percentiles over the replicates, and the evaluations that were made for one."""
    method = make(budget, case.question.partition.count)
    estimates, asked = [], 0
    for seed in range(REPLICATES):
        answer = method(case.question, seed=seed)
        estimates.append(float(answer.values[0, case.feature]))
        asked = int(answer.facts["forwards"])
    low, middle, high = np.percentile(estimates, [10, 50, 90])
    return {"asked": asked, "low": low, "middle": middle, "high": high}


def measured(case: Case) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, make in METHODS.items():
        rows[name] = []
        for budget in BUDGETS:
            found = spread(case, make, budget)
            # Smaller budgets than a method can take are the smallest that it takes.
            if not rows[name] or found["asked"] > rows[name][-1]["asked"]:
                rows[name].append(found)
    return {"exact": case.exact, "feature": case.feature, "methods": rows}


def draw(figures: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(figures), figsize=(11, 4), layout="constrained")
    for axis, (name, case) in zip(axes, figures.items(), strict=True):
        axis.axhline(case["exact"], color="black", linewidth=1, label="TreeShap")
        for method, rows in case["methods"].items():
            asked = [row["asked"] for row in rows]
            (line,) = axis.plot(asked, [row["middle"] for row in rows], marker="o", label=method)
            low, high = ([row[end] for row in rows] for end in ("low", "high"))
            axis.fill_between(asked, low, high, color=line.get_color(), alpha=0.2)
        axis.set(title=name, xscale="log", xlabel="evaluations", ylabel="credit of one feature")
    axes[0].legend()
    figure.savefig(PAGE.picture, dpi=120)


def text(figures: dict[str, Any]) -> str:
    lines = ["| tree | method | evaluations | 10th percentile | median | 90th percentile | exact |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, case in figures.items():
        for method, rows in case["methods"].items():
            for row in rows:
                cells = (row["low"], row["middle"], row["high"], case["exact"])
                numbers = " | ".join(f"{cell:.3f}" for cell in cells)
                lines.append(f"| {name} | {method} | {row['asked']} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    conditions()
    figures = {}
    for features, used in ((10, 10), (100, 3)):
        case = grown(features, used, seed=0)
        figures[case.name] = measured(case)
    PAGE.keep(figures)
    draw(figures)
    PAGE.fill(text(figures))


if __name__ == "__main__":
    main()
