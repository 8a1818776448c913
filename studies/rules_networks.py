"""Real networks under rules: answered or refused, and what was absorbed on the way.

`python studies/rules_networks.py` asks trained image networks and small transformers with random
weights by GuidedBackprop, Deconvnet, LRP with every composite, DeepLift with every rule and over a
background, and, in double precision, what passes through a layer and one of its units, and exact
integrated gradients. It writes docs/studies/rules_networks.csv and the tables of
docs/studies/rules_networks.md; of some networks, or of some methods (`--methods`), it puts the new
figures in the place of the old. It needs the data and the extra `architectures` (transformers).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import assay
import zoo
from assay import Conductance, ExactIntegratedGradients, IntegratedGradients
from assay.errors import AssayError
from assay.methods.base import Method
from assay.methods.rules import (
    LRP,
    AttentionAware,
    ConservativeAttention,
    Deconvnet,
    DeepLift,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    GuidedBackprop,
)
from page import REPOSITORY, Page, conditions, merged

PAGE = Page("rules_networks")
INPUTS = 4
PHOTOGRAPHS = 2  # of 224 x 224
ROWS = 8  # of the background
STEPS = 32


@dataclass(frozen=True)
class Subject:
    """A network and its inputs; a layer inside, rows of a background, the embedding that it is asked
    behind, the inputs' bounds, and the reference of exact ways, times the input: the whole way of a
    large network has some 100,000 pieces, each a backward pass.
    """

    net: nn.Module
    inputs: Tensor
    inside: str
    rows: Tensor
    behind: str | None = None
    bounds: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,), (1.0,))
    context: dict[str, Tensor] = field(default_factory=dict)
    near: float = 0.999


@dataclass(frozen=True)
class Case:
    """One network asked by one method."""

    network: str
    method: str
    outcome: str
    gap: float = float("nan")
    """Relative: LRP's unaccounted relevance, or what DeepLIFT's sum is off f(x) - f(reference)."""
    absorbed: float = float("nan")
    """Relevance that biases, stabilisers and softmax took, relative to what came in."""
    seconds: float = 0.0
    detail: str = ""


def _picture(
    make: Callable[[], nn.Module], pictures: Tensor, inside: str, count: int = INPUTS
) -> Subject:
    net = make()
    inputs = pictures[:count]
    normalise = net.get_submodule("normalise")
    # The box rule asks for the bounds of inputs as the first convolution sees them.
    shape = (1, inputs.shape[1], 1, 1)
    ends = [normalise(torch.full(shape, value)).flatten().tolist() for value in (0.0, 1.0)]
    low = tuple(min(pair) for pair in zip(*ends))
    high = tuple(max(pair) for pair in zip(*ends))
    return Subject(net, inputs, inside, pictures[-ROWS:], bounds=(low, high))


def _bert() -> Subject:
    from architectures.catalogue import build

    subject = build("transformers BERT")
    layer = "net.bert.embeddings.word_embeddings"
    return Subject(
        subject.net, subject.inputs, "net.bert.encoder.layer.0", subject.inputs.flip(1), layer,
        ((-1.0,), (1.0,)), subject.context,
    )  # fmt: skip


def _gpt() -> Subject:
    from architectures.catalogue import build

    subject = build("transformers GPT-2")
    layer = "net.transformer.wte"
    return Subject(
        subject.net, subject.inputs, "net.transformer.h.0", subject.inputs.flip(1), layer,
        ((-1.0,), (1.0,)), subject.context,
    )  # fmt: skip


def networks() -> dict[str, Callable[[], Subject]]:
    """By name, each built when it is asked."""

    count = INPUTS + ROWS

    def small(make: Callable[[], nn.Module], inside: str) -> Callable[[], Subject]:
        return lambda: _picture(make, zoo.cifar10(count=count)[0], inside)

    def large(
        make: Callable[[], nn.Module], side: int, inside: str, near: float
    ) -> Callable[[], Subject]:
        pictures = partial(zoo.photographs, size=side, count=count)
        return lambda: replace(_picture(make, pictures()[0], inside, PHOTOGRAPHS), near=near)

    resnets = {
        f"ResNet-{depth}": small(lambda depth=depth: zoo.cifar_resnet(depth), "layer2")
        for depth in (20, 32, 44, 56)
    }
    return {
        **resnets,
        "SqueezeNet 1.1": large(zoo.squeezenet, 227, "features.12", 0.9999),
        "MobileNet V2": large(zoo.mobilenet_v2, 224, "op14", 0.99999),
        "ViT, MNIST": lambda: _picture(
            zoo.mnist_vit, zoo.mnist(count=count)[0], "patch_to_embedding"
        ),
        "ViT, CIFAR-10": small(zoo.cifar_vit, "transformer.layers.3"),
        "BERT, tiny": _bert,
        "GPT-2, tiny": _gpt,
    }


def methods(subject: Subject) -> dict[str, Method]:
    """By name."""
    low, high = subject.bounds
    box = EpsilonGammaBox(*((low[0], high[0]) if len(low) == 1 else (low, high)))
    composites = (
        EpsilonPlus(), EpsilonPlusFlat(), EpsilonAlpha2Beta1(), EpsilonAlpha2Beta1Flat(), box,
        AttentionAware(), ConservativeAttention(),
    )  # fmt: skip
    relevance = {f"LRP, {type(composite).__name__}": LRP(composite) for composite in composites}
    rules = ("rescale", "reveal_cancel", "genomics")
    differences: dict[str, Method] = {f"DeepLift, {rule}": DeepLift(rule=rule) for rule in rules}
    return {
        "GuidedBackprop": GuidedBackprop(),
        "Deconvnet": Deconvnet(),
        **relevance,
        **differences,
    }


def asked(subject: Subject, removal: assay.Removal | None = None) -> assay.Question:
    """The class that a network predicts, asked at its inputs, or behind its embedding."""
    question = assay.Question(
        subject.net,
        subject.inputs,
        removal=removal or assay.Baseline(0.0),
        context={key: assay.Aligned(value) for key, value in subject.context.items()},
    )
    return question if subject.behind is None else question.after(subject.behind)


def _near(subject: Subject) -> assay.Question:
    """From the inputs made a little smaller, in double precision."""
    if subject.behind is None:
        return asked(subject, assay.Baseline(subject.near * subject.inputs))
    table = asked(subject)
    removal = assay.Baseline(subject.near * table.x.view(len(table.x), *table.layout.parts[0]))
    return assay.Question(
        subject.net,
        subject.inputs,
        context={key: assay.Aligned(value) for key, value in subject.context.items()},
    ).after(subject.behind, removal=removal)


def _over_rows(subject: Subject) -> assay.Attribution:
    return DeepLift()(asked(subject, assay.Background(subject.rows)))


def _through_a_unit(subject: Subject) -> tuple[assay.Attribution, Tensor]:
    """What of each input passes through the unit of a layer that most passes through, and how much
    that is altogether.
    """
    question = asked(subject)
    through = Conductance(STEPS)(question.after(subject.inside))
    unit = int(through.values[0].abs().argmax())
    place = tuple(map(int, np.unravel_index(unit, through.shape)))
    return IntegratedGradients(STEPS)(question.through(subject.inside, place)), through.values[
        :, unit
    ]


INSIDE: dict[str, Callable[[Subject], Any]] = {
    "DeepLift, over a background (DeepSHAP)": _over_rows,
    f"Conductance({STEPS}) of a layer": lambda subject: Conductance(STEPS)(
        asked(subject).after(subject.inside)
    ),
    "Conductance(exact=True) of a layer": lambda subject: Conductance(exact=True)(
        _near(subject).after(subject.inside)
    ),
    f"IntegratedGradients({STEPS}) through a unit": _through_a_unit,
    "ExactIntegratedGradients": lambda subject: ExactIntegratedGradients()(_near(subject)),
}
"""By name, what is asked of a network about one input in double precision beside the methods."""


def ask(network: str, name: str, call: Callable[[Subject], Any], subject: Subject) -> Case:
    """One network asked in one way."""
    start = time.process_time()
    try:
        given = call(subject)
    except AssayError as refusal:
        spent = time.process_time() - start
        return Case(network, name, "refused", seconds=spent, detail=str(refusal))
    except Exception as error:
        spent = time.process_time() - start
        return Case(network, name, "foreign", seconds=spent, detail=repr(error))
    spent = time.process_time() - start
    answer, whole = given if isinstance(given, tuple) else (given, None)
    if not bool(answer.values.isfinite().all()):
        return Case(network, name, "not finite", seconds=spent)
    gap, absorbed = _account(answer)
    if whole is not None:
        gap = float((answer.values.sum(1) - whole).abs().sum() / whole.abs().sum())
    return Case(network, name, "answered", gap, absorbed, spent)


def _account(answer: assay.Attribution) -> tuple[float, float]:
    if "conservation" in answer.facts:
        report = answer.facts["conservation"]
        came = abs(report["output"])
        lost = report["output"] - report["input"] - report["unaccounted"]
        return abs(report["unaccounted"]) / came, lost / came
    if answer.gap is None:
        return float("nan"), float("nan")
    moved = (answer.prediction - answer.base).abs().sum()
    return float(answer.gap.abs().sum() / moved), float("nan")


def _number(value: float) -> str:
    return "" if value != value else f"{value:.1e}"


def tables(cases: list[Case]) -> str:
    """The gap of each network by each method, what LRP's biases took, and the refusals."""
    names = list(dict.fromkeys(case.network for case in cases))
    columns = list(dict.fromkeys(case.method for case in cases))
    by_place = {(case.network, case.method): case for case in cases}
    sentences = {
        text: number
        for number, text in enumerate(
            dict.fromkeys(case.detail for case in cases if case.detail), start=1
        )
    }

    def cell(case: Case | None, value: Callable[[Case], float]) -> str:
        if case is None:
            return ""
        if case.outcome != "answered":
            return f"{case.outcome} ({sentences.get(case.detail, '')})"
        return _number(value(case)) or "answered"

    def table(value: Callable[[Case], float], rows: list[str]) -> list[str]:
        lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for method in rows:
            cells = " | ".join(cell(by_place.get((name, method)), value) for name in names)
            lines.append(f"| {method} | {cells} |")
        return lines

    relevance = [name for name in columns if name.startswith("LRP")]
    lines = ["The relative gap:", "", *table(lambda case: case.gap, columns), ""]
    lines += ["Absorbed, relative to the output:", ""]
    lines += table(lambda case: case.absorbed, relevance)
    if sentences:
        lines += ["", "Refusals:", ""]
        lines += [f"{number}. {' '.join(text.split())}" for text, number in sentences.items()]
    return "\n".join(lines)


def cases_of(network: str, build: Callable[[], Subject], chosen: list[str]) -> Iterator[Case]:
    """One network in every way whose name begins with one of the chosen, all where none is."""
    torch.manual_seed(0)
    subject = build()

    def wanted(name: str) -> bool:
        return not chosen or any(name.startswith(start) for start in chosen)

    for name, method in methods(subject).items():
        if wanted(name):
            yield ask(network, name, lambda subject, method=method: method(asked(subject)), subject)
    # In double precision, so that the gap of a small difference and of quadrature is not lost in
    # rounding; of one input, since ways are long.
    double = replace(
        subject,
        net=subject.net.double(),
        inputs=_doubled(subject.inputs[:1]),
        rows=_doubled(subject.rows),
        context={key: value[:1] for key, value in subject.context.items()},
    )
    for name, call in INSIDE.items():
        if wanted(name):
            yield ask(network, name, call, double)


def _doubled(inputs: Tensor) -> Tensor:
    return inputs.double() if inputs.is_floating_point() else inputs


def kept() -> list[Case]:
    """The cases of earlier runs."""
    with PAGE.file("csv").open(newline="", encoding="utf-8") as opened:
        return [
            Case(
                row["network"], row["method"], row["outcome"], float(row["gap"]),
                float(row["absorbed"]), float(row["seconds"]), row["detail"],
            )
            for row in csv.DictReader(opened)
        ]  # fmt: skip


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the networks; all where none is said")
    parser.add_argument(
        "--methods", nargs="*", default=[], help="beginnings of some of the methods' names"
    )
    options = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY / part) for part in ("tests", "bench")]
    import torchvision_names  # noqa: F401

    conditions()
    made: list[Case] = []
    for network, build in networks().items():
        if options.names and network not in options.names:
            continue
        for case in cases_of(network, build, options.methods):
            print(asdict(case), flush=True)
            made.append(case)
    rows = [asdict(case) for case in made]
    if options.names or options.methods:
        rows = merged([asdict(case) for case in kept()], rows, "network", "method")
    order = list(networks())
    rows.sort(key=lambda row: order.index(row["network"]))
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "detail": row["detail"][:400]} for row in rows)
    text = tables([Case(**row) for row in rows])
    print(text)
    PAGE.fill(text)


if __name__ == "__main__":
    main()
