"""Real networks under rules: answered or refused, and what was absorbed on the way.

`python studies/rules_networks.py` asks trained image networks and small transformers with random
weights by GuidedBackprop, Deconvnet, LRP with every composite and DeepLift with every rule, and
writes docs/studies/rules_networks.csv and the tables of docs/studies/rules_networks.md. It needs the
data and the extra `architectures` (transformers).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import assay
import zoo
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
from page import REPOSITORY, Page, conditions

PAGE = Page("rules_networks")
INPUTS = 4
PHOTOGRAPHS = 2  # of 224 x 224


@dataclass(frozen=True)
class Subject:
    """A network and its inputs; the embedding that it is asked behind, and the inputs' bounds."""

    net: nn.Module
    inputs: Tensor
    behind: str | None = None
    bounds: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,), (1.0,))
    context: dict[str, Tensor] = field(default_factory=dict)


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


def _picture(make: Callable[[], nn.Module], inputs: Tensor) -> Subject:
    net = make()
    normalise = net.get_submodule("normalise")
    # The box rule asks for the bounds of inputs as the first convolution sees them.
    shape = (1, inputs.shape[1], 1, 1)
    ends = [normalise(torch.full(shape, value)).flatten().tolist() for value in (0.0, 1.0)]
    low = tuple(min(pair) for pair in zip(*ends))
    high = tuple(max(pair) for pair in zip(*ends))
    return Subject(net, inputs, bounds=(low, high))


def _bert() -> Subject:
    from architectures.catalogue import build

    subject = build("transformers BERT")
    layer = "net.bert.embeddings.word_embeddings"
    return Subject(subject.net, subject.inputs, layer, ((-1.0,), (1.0,)), subject.context)


def _gpt() -> Subject:
    from architectures.catalogue import build

    subject = build("transformers GPT-2")
    layer = "net.transformer.wte"
    return Subject(subject.net, subject.inputs, layer, ((-1.0,), (1.0,)), subject.context)


def networks() -> dict[str, Callable[[], Subject]]:
    """By name, each built when it is asked."""

    def small(make: Callable[[], nn.Module]) -> Callable[[], Subject]:
        return lambda: _picture(make, zoo.cifar10(count=INPUTS)[0])

    def large(make: Callable[[], nn.Module], side: int) -> Callable[[], Subject]:
        return lambda: _picture(make, zoo.photographs(size=side, count=PHOTOGRAPHS)[0])

    resnets = {
        f"ResNet-{depth}": small(lambda depth=depth: zoo.cifar_resnet(depth))
        for depth in (20, 32, 44, 56)
    }
    return {
        **resnets,
        "SqueezeNet 1.1": large(zoo.squeezenet, 227),
        "MobileNet V2": large(zoo.mobilenet_v2, 224),
        "ViT, MNIST": lambda: _picture(zoo.mnist_vit, zoo.mnist(count=INPUTS)[0]),
        "ViT, CIFAR-10": small(zoo.cifar_vit),
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


def ask(network: str, name: str, method: Method, subject: Subject) -> Case:
    """One network asked by one method, in single precision, with the class that it predicts."""
    start = time.process_time()
    try:
        question = assay.Question(
            subject.net,
            subject.inputs,
            removal=assay.Baseline(0.0),
            context={key: assay.Aligned(value) for key, value in subject.context.items()},
        )
        if subject.behind is not None:
            question = question.after(subject.behind)
        answer = method(question)
    except AssayError as refusal:
        spent = time.process_time() - start
        return Case(network, name, "refused", seconds=spent, detail=str(refusal))
    except Exception as error:
        spent = time.process_time() - start
        return Case(network, name, "foreign", seconds=spent, detail=repr(error))
    spent = time.process_time() - start
    if not bool(answer.values.isfinite().all()):
        return Case(network, name, "not finite", seconds=spent)
    gap, absorbed = _account(answer)
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


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the networks; all where none is said")
    options = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY / part) for part in ("tests", "bench")]
    import torchvision_names  # noqa: F401

    conditions()
    cases: list[Case] = []
    for network, build in networks().items():
        if options.names and network not in options.names:
            continue
        torch.manual_seed(0)
        subject = build()
        for name, method in methods(subject).items():
            case = ask(network, name, method, subject)
            print(asdict(case), flush=True)
            cases.append(case)
    print(tables(cases))
    if options.names:
        return
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(asdict(cases[0])), lineterminator="\n")
        writer.writeheader()
        rows: list[dict[str, Any]] = [asdict(case) for case in cases]
        writer.writerows({**row, "detail": row["detail"][:200]} for row in rows)
    PAGE.fill(tables(cases))


if __name__ == "__main__":
    main()
