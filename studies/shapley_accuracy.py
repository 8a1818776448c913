"""Shapley values on real models: the error against exact values at the same number of coalitions,
beside peers.

`python studies/shapley_accuracy.py` asks every model about every coalition once, lets each
estimator look its coalitions up in that table, and writes docs/studies/shapley_accuracy.json, .png
and the table of the .md page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from torch import Tensor

import assay
import zoo
from page import Page, conditions

PAGE = Page("shapley_accuracy")
TIMES = (5, 20, 100)  # coalitions per feature
BACKGROUND = 20
Floats = NDArray[np.float64]
OURS = ("KernelShap", "ProxyShap")
PEERS = ("shap KernelExplainer", "shapiq KernelSHAP", "shapiq KernelSHAP, paired")


@dataclass(frozen=True)
class Game:
    """One input of one model: the model's answer to every coalition, coalition c holding feature i
    where bit i is set.
    """

    table: Floats

    @property
    def features(self) -> int:
        return int(self.table.size).bit_length() - 1

    def __call__(self, coalitions: Any) -> Floats:
        return self.table[np.asarray(coalitions).astype(np.int64) @ (1 << np.arange(self.features))]

    def question(self) -> assay.Question:
        """The same game as a question: a feature is 1 where present."""
        return assay.Question(self, np.ones((1, self.features)))


@dataclass(frozen=True)
class Case:
    """A model, what is said of it, its questions (each about one input), and model evaluations
    behind one answer.
    """

    name: str
    about: str
    questions: list[assay.Question]
    rows: int = 1
    crowd: assay.Question | None = None  # all inputs in one question


def adult(count: int) -> Case:
    """Log-odds of a high income: gradient-boosted trees on 14 columns, absent columns taken from
    training rows.
    """
    table, label = zoo.adult()
    words = table.select_dtypes(exclude="number").columns
    table[words] = table[words].apply(lambda column: column.astype("category").cat.codes)
    train, test, y, truth = train_test_split(
        table.to_numpy(np.float64), label.to_numpy(), random_state=0
    )
    model = HistGradientBoostingClassifier(random_state=0).fit(train, y)
    removal = assay.Background(train[:BACKGROUND])
    crowd = assay.Question(model.decision_function, test[:count], removal=removal)
    questions = [crowd.part(row, row + 1) for row in range(count)]
    accuracy = f"test accuracy {model.score(test, truth):.3f}"
    about = f"gradient-boosted trees, {accuracy}; log-odds; {BACKGROUND} background rows"
    return Case("Adult", about, questions, BACKGROUND, crowd)


def sentiment(count: int) -> Case:
    """Log-odds of a favourable phrase: logistic regression on TF-IDF of words and pairs of words;
    absent words dropped.
    """
    texts, labels = zoo.sst2("train")
    held, truth = zoo.sst2("test")
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(vectors, LogisticRegression(C=10, max_iter=300)).fit(texts, labels)
    questions: list[assay.Question] = []
    for text in held:
        if 12 <= len(text.split()) <= 16 and len(questions) < count:
            question = assay.Question(
                model.decision_function, [text], features=assay.Words(), removal=assay.MaskToken()
            )
            if 12 <= question.partition.count <= 14:
                questions.append(question)
    accuracy = f"test accuracy {model.score(held, truth):.3f}"
    about = f"TF-IDF of words and pairs, logistic regression, {accuracy}; log-odds"
    return Case("SST-2", about, questions)


def pictures(count: int) -> Case:
    """The predicted class's logit of ResNet-20 on superpixels; absent ones take the picture's mean
    colour.
    """
    net = zoo.cifar_resnet(20)
    (images, _) = zoo.cifar10("test", 200)
    questions: list[assay.Question] = []
    for image in images.split(1):
        question = _picture(net, image)
        if question.partition.count == 12 and len(questions) < count:
            questions.append(question)
    return Case(
        "CIFAR-10",
        "ResNet-20, logit of the predicted class, superpixels that become the mean colour",
        questions,
    )


def _picture(net: torch.nn.Module, image: Tensor) -> assay.Question:
    mean = image.mean(dim=(2, 3), keepdim=True).expand_as(image)
    return assay.Question(net, image, features=assay.Superpixels(14), removal=assay.Baseline(mean))


CASES = {"adult": adult, "sst2": sentiment, "cifar10": pictures}


def game(question: assay.Question) -> Game:
    """The table of one question: every coalition asked once."""
    features = question.partition.count
    masks = torch.arange(2**features)[:, None] >> torch.arange(features) & 1
    return Game(question.value(masks.bool())[0].to(torch.float64).numpy())


def ours(
    method: Callable[[int, int], assay.Method], played: Game, budget: int, seed: int
) -> Floats:
    return method(budget, played.features)(played.question(), seed=seed).values[0].numpy()


def by_shap(played: Game, budget: int, seed: int) -> Floats:
    import shap

    np.random.seed(seed)  # noqa: NPY002  the peer draws from the global generator
    explainer = shap.KernelExplainer(played, np.zeros((1, played.features)))
    return explainer.shap_values(
        np.ones((1, played.features)), nsamples=budget, l1_reg=False, silent=True
    )[0]


def by_shapiq(played: Game, budget: int, seed: int, paired: bool) -> Floats:
    from shapiq.approximator import KernelSHAP

    approximator = KernelSHAP(played.features, pairing_trick=paired, random_state=seed)
    return approximator.approximate(budget + 2, played).get_n_order_values(1)


def kernel(budget: int, features: int, weighting: Any = "mixture") -> assay.Method:
    return assay.KernelShap(budget, weighting=weighting)


def proxy(budget: int, features: int, weighting: Any = "mixture") -> assay.Method:
    return assay.ProxyShap(budget, weighting=weighting)


def permutation(budget: int, features: int) -> assay.Method:
    return assay.PermutationShapley(orderings=budget // (features - 1) // 2 * 2)


def lime(budget: int, features: int) -> assay.Method:
    return assay.Lime(assay.CoinMasks(samples=budget))


def sampling(budget: int, features: int) -> assay.Method:
    return assay.SamplingShapley(draws=budget // (2 * features - 1))


Estimator = Callable[[Game, int, int], Floats]
ESTIMATORS: dict[str, Estimator] = {
    "KernelShap": partial(ours, kernel),
    "KernelShap, weighting='leverage'": partial(ours, partial(kernel, weighting="leverage")),
    "KernelShap, weighting='kernel'": partial(ours, partial(kernel, weighting="kernel")),
    "ProxyShap": partial(ours, proxy),
    "PermutationShapley": partial(ours, permutation),
    "SamplingShapley": partial(ours, sampling),
    "Lime": partial(ours, lime),
    "shap KernelExplainer": by_shap,
    "shapiq KernelSHAP": partial(by_shapiq, paired=False),
    "shapiq KernelSHAP, paired": partial(by_shapiq, paired=True),
}


def one_row_a_draw(case: Case) -> Callable[[int, int], Floats]:
    """SamplingShapley asks single background rows: as many evaluations of the model as the
    coalitions cost the others.

    A function of budget and seed that returns the values of all inputs.
    """

    @cache
    def estimate(budget: int, seed: int) -> Floats:
        method = assay.SamplingShapley(
            draws=budget * case.rows // (2 * case.crowd.partition.count - 1)
        )
        return method(case.crowd, seed=seed).values.numpy()

    return estimate


def apart(found: Floats, exact: Floats) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def measure(case: Case, seeds: int) -> Iterator[dict[str, Any]]:
    """One record per input, budget and estimator: the relative errors of all seeds."""
    by_rows = one_row_a_draw(case)
    for number, question in enumerate(case.questions):
        played = game(question)
        exact = assay.ExactShapley()(played.question()).values[0].numpy()
        for times in TIMES:
            budget = min(times * played.features, len(played.table) - 2)
            for name, estimator in ESTIMATORS.items():
                if name == "SamplingShapley" and case.crowd is not None:
                    found = [by_rows(budget, seed)[number] for seed in range(seeds)]
                elif name == "SamplingShapley" and budget // (2 * played.features - 1) < 3:
                    continue
                else:
                    found = [estimator(played, budget, seed) for seed in range(seeds)]
                record = {
                    "model": case.name,
                    "input": number,
                    "features": played.features,
                    "times": times,
                }
                errors = [float(f"{apart(one, exact):.4g}") for one in found]
                yield record | {"budget": budget, "estimator": name, "errors": errors}


def summary(records: list[dict[str, Any]]) -> dict[str, dict[int, dict[str, list[float]]]]:
    """Model, coalitions per feature, estimator -> mean over inputs, then over seeds: mean, 10th and
    90th percentile.
    """
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    for model in dict.fromkeys(record["model"] for record in records):
        for times in TIMES:
            for name in ESTIMATORS:
                errors = [
                    record["errors"]
                    for record in records
                    if (record["model"], record["times"], record["estimator"])
                    == (model, times, name)
                ]
                if errors:
                    each = np.mean(errors, axis=0)
                    row = [
                        float(each.mean()),
                        *(float(part) for part in np.percentile(each, (10, 90))),
                    ]
                    found.setdefault(model, {}).setdefault(times, {})[name] = row
    return found


def tables(found: dict[str, dict[int, dict[str, list[float]]]]) -> str:
    """Markdown: our mean errors as shares of the peers', then each model's errors with percentiles
    over seeds.
    """
    heads = [(model, times) for model in found for times in TIMES]
    lines = [
        "| our error / theirs | "
        + " | ".join(f"{model} {times} d" for model, times in heads)
        + " |"
    ]
    lines.append("|---" * (len(heads) + 1) + "|")
    for one, peer in product(OURS, PEERS):
        shares = [
            found[model][times][one][0] / found[model][times][peer][0] for model, times in heads
        ]
        lines.append(f"| {one} / {peer} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    for model, of_times in found.items():
        lines += [
            "",
            f"| {model} | " + " | ".join(f"{times} d" for times in TIMES) + " |",
            "|---" * (len(TIMES) + 1) + "|",
        ]
        for name in ESTIMATORS:
            cells = [of_times[times].get(name) for times in TIMES]
            shown = [
                "–" if cell is None else "{:.2g} ({:.2g}–{:.2g})".format(*cell) for cell in cells
            ]
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def draw(found: dict[str, dict[int, dict[str, list[float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = ["KernelShap", "ProxyShap", "PermutationShapley", "SamplingShapley", "Lime", *PEERS]
    figure, axes = plt.subplots(
        1, len(found), figsize=(4.2 * len(found), 4.4), sharey=True, layout="constrained"
    )
    for axis, (model, of_times) in zip(np.atleast_1d(axes), found.items()):
        for colour, name in enumerate(shown):
            at = [times for times in TIMES if name in of_times[times]]
            middle, low, high = np.array([of_times[times][name] for times in at]).T
            style = "--" if name in PEERS else "-"
            axis.plot(at, middle, style, marker="o", ms=4, color=f"C{colour}", label=name)
            axis.fill_between(at, low, high, color=f"C{colour}", alpha=0.15, lw=0)
        axis.set(xscale="log", yscale="log", title=model, xlabel="coalitions per feature")
        axis.set_xticks(TIMES, [f"{times} d" for times in TIMES])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("relative error (L2)")
    figure.legend(
        *np.atleast_1d(axes)[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    figure.savefig(path, dpi=120)


def publish(kept: dict[str, Any]) -> None:
    """The picture and the page's tables."""
    found = summary(kept["records"])
    draw(found, PAGE.picture)
    PAGE.fill(tables(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=8, help="inputs per model")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=tuple(CASES), help="one model, without writing anything")
    parser.add_argument(
        "--render", action="store_true", help="picture and tables alone, from the kept errors"
    )
    options = parser.parse_args()
    if options.render:
        return publish(PAGE.kept())
    conditions()
    records = []
    abouts = {}
    with assay.quiet():
        for name in [options.only] if options.only else CASES:
            case = CASES[name](options.inputs)
            counts = sorted({question.partition.count for question in case.questions})
            abouts[case.name] = (
                f"{case.about}; {len(case.questions)} inputs of {counts[0]} to {counts[-1]} features"
            )
            records += measure(case, options.seeds)
            print(f"{case.name}: {time.process_time():.0f} s of processor time", flush=True)
    print(tables(summary(records)))
    if not options.only:
        kept = {"models": abouts, "seeds": options.seeds, "records": records}
        PAGE.keep(kept)
        publish(kept)
    return None


if __name__ == "__main__":
    main()
