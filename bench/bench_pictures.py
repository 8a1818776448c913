"""Pictures at their usual sizes: half a second each; swarm and dependence plot beside shap's."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch

import assay
import harness
from assay import pictures
from assay.answers.attribution import Attribution
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
    for name, make in usual().items():
        case = f"picture: {name}"
        if not bench.wanted(case):
            continue
        work = drawn(make)
        work()
        took = sorted(harness.seconds(work) for _ in range(1 if bench.options.quick else 5))
        middle = took[len(took) // 2]
        bench.keep(
            harness.Result(
                case, "half a second", middle, 0.5, middle / 0.5, 1.0, "s", "drawn to PNG"
            )
        )


def main() -> None:
    options = harness.arguments("pictures at their usual sizes, and beside shap's")
    harness.conditions()
    bench = harness.Bench("pictures", options)
    at_usual_sizes(bench)
    beside_shap(bench)
    bench.save()


if __name__ == "__main__":
    main()
