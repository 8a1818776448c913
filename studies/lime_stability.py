"""LIME on real tables: how often repeated runs pick the same five columns, at a tenth of the
original's samples.

Random forests on three tables, and the four trained networks of OpenXAI on theirs.

`python studies/lime_stability.py` writes docs/studies/lime_stability.json, .png and the table of
the .md page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import assay
import zoo
from assay.numerics.statistics import interval, paired
from page import Page, conditions, merged

PAGE = Page("lime_stability")
KEY = ("table", "library", "samples")  # what tells a record from the others
Floats = NDArray[np.float64]
SIZES = (500, 1000, 5000)  # lime's samples; the tenth is ours
KEEP = 5
FRESH = 20000  # perturbations on which every surrogate is judged


@dataclass(frozen=True)
class Case:
    """A table, a model trained on it, and the rows that are explained."""

    name: str
    about: str
    train: Floats
    rows: Floats
    both: Callable[[Floats], Floats]  # the probabilities of both classes

    def probability(self, rows: Any) -> Floats:
        return self.both(np.asarray(rows))[:, 1]


@dataclass(frozen=True)
class Surrogate:
    """What one run found for one row: weights of the columns that were picked, others zero."""

    weights: Floats
    intercept: float
    reported: float  # the run's own R^2

    @property
    def picked(self) -> frozenset[int]:
        return frozenset(np.flatnonzero(self.weights).tolist())


def fitted(name: str, x: Floats, y: NDArray[np.int64], count: int) -> Case:
    train, test, label, truth = train_test_split(x, y, random_state=0)
    model = RandomForestClassifier(100, min_samples_leaf=3, random_state=0).fit(train, label)
    about = f"{x.shape[1]} columns, random forest of 100 trees, test accuracy {model.score(test, truth):.3f}"
    return Case(name, about, train, test[:count], model.predict_proba)


def breast_cancer(count: int) -> Case:
    data = load_breast_cancer()
    return fitted("breast cancer", data.data, data.target, count)


def adult(count: int) -> Case:
    """The census table, its words as numbers, the first 8,000 rows."""
    table, label = zoo.adult()
    table = table[:8000].copy()
    words = table.select_dtypes(exclude="number").columns
    table[words] = table[words].apply(lambda column: column.astype("category").cat.codes)
    return fitted("Adult", table.to_numpy(np.float64), label[:8000].to_numpy(), count)


def california(count: int) -> Case:
    """Whether a house is dearer than the median, the first 8,000 rows."""
    table, value = zoo.california()
    dear = (value > value.median()).to_numpy(np.int64)
    return fitted("California", table.to_numpy(np.float64)[:8000], dear[:8000], count)


def network(name: str) -> Callable[[int], Case]:
    """A trained network of OpenXAI on its own table."""

    def made(count: int) -> Case:
        net = zoo.openxai_network(name)
        train = zoo.openxai(name, "train")[0]
        (test, truth) = zoo.openxai(name)

        def both(rows: Floats) -> Floats:
            with torch.inference_mode():
                return net(torch.as_tensor(rows, dtype=torch.float32)).softmax(1).double().numpy()

        right = float((both(test.to_numpy(np.float64)).argmax(1) == truth.to_numpy()).mean())
        about = (
            f"{train.shape[1]} columns, the trained network of OpenXAI, test accuracy {right:.3f}"
        )
        rows = test.to_numpy(np.float64)[:count]
        return Case(f"{name}, network", about, train.to_numpy(np.float64), rows, both)

    return made


CASES = {"breast cancer": breast_cancer, "Adult": adult, "California": california} | {
    f"{name}, network": network(name) for name in ("adult", "compas", "german", "heloc")
}


def ours(case: Case, samples: int, seed: int, proxy: bool = False) -> list[Surrogate]:
    """assay.Lime for all rows at once: they share the draws, so the model answers `samples` times
    for all of them.
    """
    question = assay.Question(case.probability, case.rows)
    answer = assay.Lime(assay.Quartiles(case.train, samples=samples), keep=KEEP, proxy=proxy)(
        question, seed=seed
    )
    facts = zip(answer.values.numpy(), answer.facts["intercept"], answer.facts["r2"])
    return [Surrogate(weights, intercept, r2) for weights, intercept, r2 in facts]


def theirs(case: Case, samples: int, seed: int) -> list[Surrogate]:
    """lime's explainer, row by row."""
    from lime.lime_tabular import LimeTabularExplainer

    found = []
    for row in case.rows:
        explainer = LimeTabularExplainer(case.train, random_state=seed)
        answer = explainer.explain_instance(row, case.both, num_features=KEEP, num_samples=samples)
        weights = np.zeros(case.train.shape[1])
        for column, weight in answer.local_exp[1]:
            weights[column] = weight
        found.append(Surrogate(weights, float(answer.intercept[1]), float(answer.score)))
    return found


def agreement(sets: list[frozenset[int]]) -> float:
    """The mean Jaccard similarity over all pairs of runs."""
    return float(
        np.mean([len(one & other) / len(one | other) for one, other in combinations(sets, 2)])
    )


def judge(case: Case) -> Callable[[int, Surrogate], float]:
    """R^2 of a row's surrogate on perturbations that no run has seen, drawn and weighted as both
    libraries do.
    """
    question = assay.Question(case.probability, case.rows)
    fresh = assay.Quartiles(case.train, samples=FRESH, design="independent").sample(
        question, seed=10**6
    )
    weights = fresh.weights.numpy()
    answers = fresh.answers.numpy()

    def score(row: int, surrogate: Surrogate) -> float:
        left = answers[row] - surrogate.intercept - fresh.design[row].numpy() @ surrogate.weights
        spread = answers[row] - np.average(answers[row], weights=weights[row])
        return float(
            1
            - np.average(left**2, weights=weights[row])
            / np.average(spread**2, weights=weights[row])
        )

    return score


TENTHS = tuple(size // 10 for size in SIZES)
RUNS = {
    "assay": (ours, sorted({*TENTHS, *SIZES})),
    "assay, proxy": (partial(ours, proxy=True), TENTHS),
    "lime": (theirs, SIZES),
}


def measure(case: Case, seeds: int, libraries: tuple[str, ...]) -> list[dict[str, Any]]:
    """One record per library and number of samples: agreement of every row, R^2 reported and on
    fresh draws.
    """
    records = []
    score = judge(case)
    for library in libraries:
        run, sizes = RUNS[library]
        for samples in sizes:
            start = time.process_time()
            runs = [run(case, samples, seed) for seed in range(seeds)]
            spent = (time.process_time() - start) / seeds
            rows = list(zip(*runs))
            records.append({
                "table": case.name, "library": library, "samples": samples, "seconds": spent,
                "agreement": [agreement([one.picked for one in row]) for row in rows],
                "reported": float(np.mean([one.reported for row in rows for one in row])),
                "fresh": float(np.mean([score(at, one) for at, row in enumerate(rows) for one in row])),
            })  # fmt: skip
            print(
                case.name,
                library,
                samples,
                f"{np.mean(records[-1]['agreement']):.3f}",
                f"{spent:.2f} s",
                flush=True,
            )
    return records


def find(records: list[dict[str, Any]], *key: Any) -> dict[str, Any]:
    return next(one for one in records if tuple(one[part] for part in KEY) == key)


def table(records: list[dict[str, Any]]) -> str:
    """The markdown table: lime, and ours at a tenth of its samples (with and without a proxy), and
    shared by all rows.
    """
    head = [
        "table",
        "lime's samples N",
        "lime",
        "N / 10 by way of a proxy",
        "difference",
        "N / 10",
        "difference",
    ]
    head += ["N, shared by ten rows", "difference", "R² of the four"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in dict.fromkeys(one["table"] for one in records):
        for size in SIZES:
            keys = (
                ("lime", size),
                ("assay, proxy", size // 10),
                ("assay", size // 10),
                ("assay", size),
            )
            four = [find(records, name, *key) for key in keys]
            cells = [name, f"{size:,}", mean(four[0]["agreement"])]
            for one in four[1:]:
                gap = paired(one["agreement"], four[0]["agreement"])
                cells += [
                    mean(one["agreement"]),
                    f"{gap.difference:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})",
                ]
            lines.append(
                "| " + " | ".join([*cells, ", ".join(f"{one['fresh']:.2f}" for one in four)]) + " |"
            )
    return "\n".join(lines)


def mean(values: list[float]) -> str:
    """An agreement and its interval, which ends where no agreement can be."""
    low, high = np.clip(interval(values), 0, 1)
    return f"{np.mean(values):.2f} ({low:.2f}–{high:.2f})"


def draw(records: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(one["table"] for one in records))
    figure, axes = plt.subplots(2, 4, figsize=(14, 6.4), sharey=True, layout="constrained")
    for axis, name in zip(axes.flat, names):
        for library, style in (("assay", "C0-"), ("assay, proxy", "C2-"), ("lime", "C1--")):
            some = sorted((one for one in records if (one["table"], one["library"]) == (name, library)),
                          key=lambda one: one["samples"])  # fmt: skip
            at = [one["samples"] for one in some]
            low, high = np.clip([interval(one["agreement"]) for one in some], 0, 1).T
            axis.plot(
                at,
                [np.mean(one["agreement"]) for one in some],
                style,
                marker="o",
                ms=4,
                label=library,
            )
            axis.fill_between(at, low, high, color=style[:2], alpha=0.15, lw=0)
        axis.set(xscale="log", title=name, xlabel="draws (assay: shared by ten rows)", ylim=(0, 1))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    axes[0, 0].set_ylabel("agreement of top-5 sets (Jaccard)")
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def publish(records: list[dict[str, Any]]) -> None:
    """The picture and the page's table."""
    draw(records, PAGE.picture)
    PAGE.fill(table(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10, help="rows explained per table")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--only", choices=tuple(CASES), help="one table; what is kept of the others stays"
    )
    parser.add_argument("--library", choices=tuple(RUNS), help="one of the libraries")
    parser.add_argument(
        "--render", action="store_true", help="picture and table alone, from the kept records"
    )
    options = parser.parse_args()
    if options.render:
        return publish(PAGE.kept()["records"])
    conditions()
    kept = PAGE.kept() if options.only or options.library else {"tables": {}, "records": []}
    libraries = (options.library,) if options.library else tuple(RUNS)
    with assay.quiet():
        for name in [options.only] if options.only else CASES:
            case = CASES[name](options.rows)
            kept["tables"][name] = case.about
            kept["records"] = merged(kept["records"], measure(case, options.seeds, libraries), *KEY)
    PAGE.keep(kept | {"rows": options.rows, "seeds": options.seeds, "keep": KEEP})
    return publish(kept["records"])


if __name__ == "__main__":
    main()
