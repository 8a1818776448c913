"""Pictures at their usual sizes: half a second each; swarm and dependence plot beside shap's."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

import assay
import harness
from assay import pictures
from assay.answers.attribution import Attribution
from assay.comparison.comparing import compare
from assay.metrics.calibration import calibration
from assay.pictures.drawing.drawing import Drawing

INPUTS = 1000
FEATURES = 20
DOTS = 100  # to the inch, shap's too


def answer(inputs: int = INPUTS, features: int = FEATURES, errors: bool = False) -> Attribution:
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.normal(size=(inputs, features)) * np.linspace(2, 0.1, features))
    return Attribution(
        values=values,
        base=torch.zeros(inputs, dtype=torch.float64),
        prediction=values.sum(1),
        names=tuple(f"x{k}" for k in range(features)),
        shape=(features,),
        kind="contribution",
        standard_error=torch.full_like(values, 0.1) if errors else None,
        provenance={"method": "KernelShap()"},
    )


def drawn(make: Callable[[], Drawing]) -> Callable[[], None]:
    """A picture from its answer to the pixels of a page."""

    def work() -> None:
        make().figure().savefig(io.BytesIO(), format="png", dpi=DOTS)

    return work


def photograph() -> tuple[assay.Question, Attribution]:
    net = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(147, 2))
    question = assay.Question(net, torch.rand(2, 3, 224, 224), target=0)
    return question, assay.InputXGradient()(question)


def usual() -> dict[str, Callable[[], Drawing]]:
    """Every kind of picture, from answers that are there already."""
    sampled, many = answer(errors=True), answer()
    question, maps = photograph()
    text = Attribution(
        **{**vars(answer(1, 60)), "names": tuple(f"word{k}" for k in range(60)), "index": None}
    )
    return {
        "ladder": lambda: pictures.ladder(sampled, 0),
        "bars": lambda: pictures.bars(sampled, 0),
        "importance": lambda: pictures.importance(sampled),
        "image_map": lambda: pictures.image_map(maps, 0, question=question),
        "contours": lambda: pictures.contours(maps, 0, question=question),
        "words": lambda: pictures.words(text, 0),
        "heat": lambda: pictures.heat(answer(300)),
        "groups": lambda: pictures.groups(many, np.arange(INPUTS) < 400),
        "drift": lambda: pictures.drift(answer(300), top=3),
        "embedding": lambda: pictures.embedding(many),
        "duel": lambda: pictures.duel(sampled, many, 0),
        "agreement": lambda: pictures.agreement({"one": many, "other": answer(), "third": many}),
    }


def digits() -> assay.Question:
    """Forty pictures of 28 x 28, to a network of ten classes."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(49, 10))
    return assay.Question(
        net, torch.rand(40, 1, 28, 28), features=assay.Patches(4), removal=assay.Baseline(0.0)
    )


def of_models() -> dict[str, Callable[[], Drawing]]:
    """Pictures of methods, models and certificates, from what is there already."""
    question = digits()
    part = question.part(0, 1)
    chosen = torch.arange(49) < 25
    certificates = assay.MultiplicativeSmoothing(kept=1, levels=8).certify(question, chosen)
    rates = assay.SoftStability(radius=(1, 2, 4, 8), samples=100).certify(part, chosen)
    attacks = assay.Attack(side="incremental").search(part, chosen)
    answers = [method(question) for method in (assay.Gradient(), assay.InputXGradient())]
    scores = {f"method {k}": assay.Deletion()(question, each) for k, each in enumerate(answers)}
    methods = [assay.InputXGradient(), assay.IntegratedGradients(4), assay.KernelShap(budget=128)]
    compared = compare(question, methods, [assay.Infidelity()])
    ranking = compared.rankings["Infidelity()"]
    rng = np.random.default_rng(0)
    p = rng.uniform(size=2000)
    outcome = (rng.uniform(size=2000) < p).astype(int)
    calibrated = calibration(p, outcome, kind="probabilities", bins=15)
    changes = assay.Score("MaxSensitivity", torch.tensor(rng.gamma(2.0, size=200)), "lower")
    return {
        "retina": lambda: pictures.retina(answers[1], 0, question=question),
        "faithfulness": lambda: pictures.faithfulness(answers[1], question=question, draws=1000),
        "curves": lambda: pictures.curves(scores),
        "stability": lambda: pictures.stability(changes),
        "reliability": lambda: pictures.reliability(calibrated),
        "standing": lambda: pictures.standing(ranking),
        "differences": lambda: pictures.differences(ranking),
        "radius": lambda: pictures.radius(certificates[0], attacks),
        "selection": lambda: pictures.selection(certificates[0], question=part, attacks=attacks),
        "votes": lambda: pictures.votes(certificates[0]),
        "certified_curve": lambda: pictures.certified_curve(certificates),
        "soft_stability": lambda: pictures.soft_stability(rates[0]),
    }


def of_shapes() -> dict[str, Callable[[], Drawing]]:
    """Pictures of series, molecules, pairs and tokens, and of single features."""
    series = assay.Question(
        lambda x: x.sum((1, 2)), torch.randn(2, 1000, 6), features=assay.Elements()
    )
    credit = answer(2, 6000)
    ring = [(k, (k + 1) % 24) for k in range(24)]
    atoms = answer(1, 48)
    pairs = replace(answer(1, 144), shape=(12, 12))
    tokens = {f"out {k}": answer(1, 40) for k in range(30)}
    x = torch.tensor(np.random.default_rng(1).normal(size=(20_000, 2)))
    table = assay.Question(lambda rows: rows.sum(1), x)
    many = answer(20_000, 2)
    budgets = {
        f"of {k}": replace(answer(100, errors=True), facts={"forwards": 100 * k})
        for k in range(1, 7)
    }
    return {
        "series": lambda: pictures.series(credit, 0, question=series),
        "molecule": lambda: pictures.molecule(atoms, 0, edges=ring),
        "interactions": lambda: pictures.interactions(pairs),
        "tokens": lambda: pictures.tokens(tokens),
        "what_if": lambda: pictures.what_if(table, 0, 0),
        "dependence, 20,000 inputs": lambda: pictures.dependence(many, 0, question=table),
        "swarm, 20,000 inputs": lambda: pictures.swarm(many, question=table),
        "convergence": lambda: pictures.convergence(budgets),
    }


def beside_shap(bench: harness.Bench) -> None:
    """The same answers and values, drawn by both."""
    names = ("swarm, 1,000 x 20", "dependence plot, 1,000 dots")
    if not any(bench.wanted(name) for name in names):
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import shap

    many = answer()
    x = np.random.default_rng(1).normal(size=(INPUTS, FEATURES))
    # As features that are read, so that both colour the same dots.
    question = assay.Question(lambda rows: rows.sum(1), torch.tensor(x))
    other = shap.Explanation(
        values=many.values.numpy(),
        base_values=np.zeros(INPUTS),
        data=x,
        feature_names=list(many.names),
    )

    def shap_swarm() -> None:
        shap.plots.beeswarm(other, max_display=FEATURES, show=False)
        plt.gcf().savefig(io.BytesIO(), format="png", dpi=DOTS)
        plt.close("all")

    def shap_scatter() -> None:
        shap.plots.scatter(other[:, 0], color=other[:, 1], show=False)
        plt.gcf().savefig(io.BytesIO(), format="png", dpi=DOTS)
        plt.close("all")

    swarm = drawn(lambda: pictures.swarm(many, question=question, top=FEATURES))
    dots = drawn(lambda: pictures.dependence(many, 0, question=question, colour=1))
    size = f"{INPUTS} inputs, {FEATURES} features, PNG at {DOTS} dots to the inch"
    bench.pair(names[0], "shap beeswarm", swarm, shap_swarm, 0.5, settings=size)
    bench.pair(names[1], "shap scatter", dots, shap_scatter, 0.5, settings=size)


def at_usual_sizes(bench: harness.Bench) -> None:
    """Beside half a second, the most that a picture may take."""
    for name, make in {**usual(), **of_models(), **of_shapes()}.items():
        case = f"picture: {name}"
        if not bench.wanted(case):
            continue
        work = drawn(make)
        work()
        took = [harness.clocks(work) for _ in range(1 if bench.options.quick else 5)]
        # By the processor's time: other programs stretch the clock on the wall.
        wall, middle = (statistics.median(column) for column in zip(*took))
        bench.keep(
            harness.Result(
                case,
                "half a second",
                middle,
                0.5,
                middle / 0.5,
                1.0,
                "s",
                "drawn to PNG; processor seconds",
                facts={"wall": wall},
            )
        )


def main() -> None:
    options = harness.arguments("pictures at their usual sizes, and beside shap's")
    harness.conditions()
    bench = harness.Bench("pictures", options)
    beside_shap(bench)
    at_usual_sizes(bench)
    bench.save()


if __name__ == "__main__":
    main()
