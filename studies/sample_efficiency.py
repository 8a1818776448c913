"""Figure 3 of Lundberg and Lee (2017) again: how fast estimates of one feature's credit settle, on a
decision tree that uses all of 10 features and on one that uses 3 of 100.

`python studies/sample_efficiency.py` writes docs/studies/sample_efficiency.json, .png and the table of
the .md page. The exact values are those of `TreeShap`; shap's KernelExplainer and SamplingExplainer and
the lime package stand beside. With names of estimators, or from a budget on, only these are measured,
and the rest is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

import assay
from page import Page, conditions

PAGE = Page("sample_efficiency")
ROWS = 2000
BUDGETS = {10: (40, 80, 160, 320, 640, 1024), 100: (300, 600, 1200, 2400, 4800)}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A tree, the input that is explained, the row that stands in for what is absent, and the feature
    whose credit is shown.
    """

    name: str
    tree: DecisionTreeRegressor
    x: Floats
    absent: Floats
    exact: float
    feature: int
    question: assay.Question

    @property
    def features(self) -> int:
        return len(self.x)


@dataclass
class Counted:
    """The tree as a function, and of how many rows it was asked."""

    tree: DecisionTreeRegressor
    rows: int = 0

    def __call__(self, rows: Floats) -> Floats:
        self.rows += len(rows)
        return np.asarray(self.tree.predict(rows))


def grown(features: int, used: int) -> Case:
    """A tree on `features` columns of 0 and 1 of which it uses `used`, and the row of ones."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(ROWS, features)).astype(np.float64)
    weights = np.zeros(features)
    weights[:used] = np.linspace(2.0, 1.0, used)
    # Three columns together: what pairs of coalitions alone would get exactly is less than there is.
    y = x @ weights + 4.0 * x[:, :3].prod(axis=1) + 0.5 * rng.normal(size=ROWS)
    tree = DecisionTreeRegressor(max_depth=used, random_state=0).fit(x, y)
    taken = np.unique(tree.tree_.feature[tree.tree_.feature >= 0])
    if len(taken) != used:
        raise RuntimeError(f"the tree uses the columns {taken}, and not {used} of them")
    ones = np.ones(features)
    question = assay.Question(tree, ones[None], removal=assay.Baseline(0.0))
    exact = assay.TreeShap()(question).values[0]
    feature = int(exact.abs().argmax())
    name = f"all {features} features" if used == features else f"{used} of {features} features"
    return Case(name, tree, ones, 0.0 * ones, float(exact[feature]), feature, question)


Estimator = Callable[[Case, int, int], tuple[float, int]]
"""A case, a number of evaluations and a seed to the feature's credit, and what was evaluated."""


def ours(method: Callable[[int, int], assay.Method], case: Case, budget: int, seed: int) -> Any:
    answer = method(budget, case.features)(case.question, seed=seed)
    # The question was asked before: prediction and base are evaluations, too.
    return float(answer.values[0, case.feature]), int(answer.facts["forwards"]) + 2


def kernel(budget: int, features: int) -> assay.Method:
    return assay.KernelShap(budget=max(budget - 2, 3 * features - 2))


def sampling(budget: int, features: int) -> assay.Method:
    return assay.SamplingShapley(draws=max(3, budget // (2 * features - 1)))


def permutation(budget: int, features: int) -> assay.Method:
    # In pairs, an ordering and its reverse.
    return assay.PermutationShapley(orderings=max(2, budget // (2 * features - 2) * 2))


def lime(budget: int, features: int) -> assay.Method:
    return assay.Lime(assay.CoinMasks(samples=budget - 2))


def proxy(budget: int, features: int) -> assay.Method:
    return assay.ProxyShap(budget=max(budget - 2, 5 * features))


def by_shap_sampling(case: Case, budget: int, seed: int) -> tuple[float, int]:
    """In one round, the evaluations shared among the features: its two rounds begin with 100 each."""
    import shap

    np.random.seed(seed)  # noqa: NPY002  the peer draws from the global generator
    counted = Counted(case.tree)
    explainer = shap.SamplingExplainer(counted, case.absent[None])
    counted.rows = 0
    # A sample is an evaluation of an ordering with the feature, and one without it.
    most = max(budget // 2, 2 * case.features)
    values = explainer.shap_values(
        case.x[None], nsamples=most, min_samples_per_feature=most, silent=True
    )
    return float(values[0, case.feature]), counted.rows


def by_lime(case: Case, budget: int, seed: int) -> tuple[float, int]:
    """Its columns as categories, each there in half of the rows, and all of them kept."""
    from lime.lime_tabular import LimeTabularExplainer

    counted = Counted(case.tree)
    # As often 0 as 1, as in the rows that the tree has learnt from.
    halves = np.stack([case.absent, case.x])
    explainer = LimeTabularExplainer(
        halves,
        mode="regression",
        categorical_features=list(range(case.features)),
        feature_selection="none",
        random_state=seed,
    )
    answer = explainer.explain_instance(
        case.x, counted, num_features=case.features, num_samples=budget
    )
    return float(dict(answer.as_map()[1])[case.feature]), counted.rows


def by_shap_kernel(case: Case, budget: int, seed: int) -> tuple[float, int]:
    """As the library comes: a lasso path keeps ten features."""
    import shap

    np.random.seed(seed)  # noqa: NPY002  the peer draws from the global generator
    counted = Counted(case.tree)
    explainer = shap.KernelExplainer(counted, case.absent[None])
    counted.rows = 0
    values = explainer.shap_values(case.x[None], nsamples=budget, silent=True)
    return float(values[0, case.feature]), counted.rows


ESTIMATORS: dict[str, Estimator] = {
    "KernelShap": partial(ours, kernel),
    "SamplingShapley": partial(ours, sampling),
    "Lime": partial(ours, lime),
    "PermutationShapley": partial(ours, permutation),
    "ProxyShap": partial(ours, proxy),
    "shap KernelExplainer": by_shap_kernel,
    "shap SamplingExplainer": by_shap_sampling,
    "lime package": by_lime,
}


TICKS = (50, 100, 200, 500, 1000, 2000, 5000)
PEERS = ("shap KernelExplainer", "shap SamplingExplainer", "lime package")


def spread(estimates: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(estimates, [10, 50, 90])
    return float(low), float(middle), float(high)


def measured(case: Case, name: str, replicates: int, least: int) -> list[dict[str, Any]]:
    """Of an estimator the evaluations that it made, and all its estimates, at each budget from the
    least on.
    """
    found: list[dict[str, Any]] = []
    start = time.process_time()
    for budget in BUDGETS[case.features]:
        if budget < least:
            continue
        each = [ESTIMATORS[name](case, budget, seed) for seed in range(replicates)]
        asked = float(np.mean([rows for _, rows in each]))
        # Budgets that an estimator cannot take all become the least that it takes.
        if not found or asked > found[-1]["asked"]:
            estimates = [float(f"{value:.6g}") for value, _ in each]
            found.append({"asked": asked, "estimates": estimates})
    spent = time.process_time() - start
    print(f"{case.name}, {name}: {spent:.0f} s of processor time", flush=True)
    return found


def all_measured(
    names: Sequence[str], features: Sequence[int], replicates: int, least: int
) -> None:
    """Of some estimators, on some of the trees; what is known of others is kept."""
    figures = PAGE.kept()
    for case in (grown(count, {10: 10, 100: 3}[count]) for count in features):
        kept = figures.setdefault(
            case.name, {"exact": case.exact, "feature": case.feature, "estimators": {}}
        )
        for name in names:
            fewer = [one for one in kept["estimators"].get(name, []) if one["asked"] < 0.9 * least]
            kept["estimators"][name] = fewer + measured(case, name, replicates, least)
            # After each estimator: a run that is ended early has not been for nothing.
            PAGE.keep(figures)


def draw(figures: Mapping[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(
        2, len(figures), figsize=(11, 8), sharex="col", sharey="col", layout="constrained"
    )
    for column, (name, case) in zip(axes.T, figures.items(), strict=True):
        for axis in column:
            axis.axhline(case["exact"], color="black", linewidth=1, label="TreeShap, exact")
            axis.set(xscale="log", ylabel="credit of one feature")
            # As they are: of powers of ten there are few in so short a range, and between them crowds.
            axis.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
            axis.xaxis.set_minor_formatter(NullFormatter())
            asked = [point["asked"] for each in case["estimators"].values() for point in each]
            axis.set_xlim(0.8 * min(asked), 1.25 * max(asked))
            axis.grid(alpha=0.3)
        column[0].set_title(name)
        column[1].set_xlabel("evaluations of the tree")
        for colour, (estimator, points) in enumerate(case["estimators"].items()):
            # Peers in a row of their own: too many bands on one another say nothing.
            axis = column[int(estimator in PEERS)]
            asked = [point["asked"] for point in points]
            low, middle, high = np.transpose([spread(point["estimates"]) for point in points])
            axis.plot(asked, middle, marker="o", ms=3, color=f"C{colour}", label=estimator)
            axis.fill_between(asked, low, high, color=f"C{colour}", alpha=0.15, lw=0)
            for edge in (low, high):
                axis.plot(asked, edge, color=f"C{colour}", linewidth=0.8)
    for axis in axes[:, -1]:
        axis.legend(fontsize=8)
    figure.savefig(PAGE.picture, dpi=120)


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        "| tree | estimator | evaluations | replicates | 10th percentile | median | 90th percentile | "
        "width of the band / exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in figures.items():
        lines.append(f"| {name} | TreeShap | 0 | 1 | | {case['exact']:.3f} | | 0 |")
        for estimator, points in case["estimators"].items():
            for point in points:
                low, middle, high = spread(point["estimates"])
                width = (high - low) / abs(case["exact"])
                numbers = f"{low:.3f} | {middle:.3f} | {high:.3f} | {width:.2g}"
                counts = f"{point['asked']:.0f} | {len(point['estimates'])}"
                lines.append(f"| {name} | {estimator} | {counts} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the estimators; all where none is said")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--least", type=int, default=0, help="only budgets from this one on")
    parser.add_argument("--features", type=int, nargs="*", default=list(BUDGETS))
    parser.add_argument(
        "--render", action="store_true", help="picture and table alone, from the kept estimates"
    )
    options = parser.parse_args()
    if not options.render:
        conditions()
        with assay.quiet():
            names = options.names or list(ESTIMATORS)
            all_measured(names, options.features, options.replicates, options.least)
    figures = PAGE.kept()
    draw(figures)
    PAGE.fill(table(figures))


if __name__ == "__main__":
    main()
