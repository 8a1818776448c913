"""Real networks under maps of a layer, attention and influence: answered, or refused by name.

`python studies/maps_networks.py` asks the networks of `rules_networks.py` and a small vision
transformer of transformers by every class activation map, by the guided one, by every method of
attention and by InternalInfluence, and writes docs/studies/maps_networks.csv and the table of
docs/studies/maps_networks.md. It needs the data and the extra `architectures`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

import assay
from assay.errors import AssayError
from assay.methods.base import Method
from page import REPOSITORY, Page, conditions, merged, outcomes
from rules_networks import Subject, networks

PAGE = Page("maps_networks")

# A layer of tokens before the last block's attention, and the grid of its patches.
TOKENS: dict[str, tuple[str, tuple[int, int]]] = {
    "ViT, MNIST": ("norms.10", (4, 4)),
    "ViT, CIFAR-10": ("transformer.layers.4", (8, 8)),
    "ViT, tiny": ("net.vit.layers.0", (4, 4)),
}
INPUTS = 2
MAPS: tuple[type[Method], ...] = (
    assay.CAM, assay.GradCam, assay.GradCamPlusPlus, assay.XGradCam, assay.HiResCam, assay.LayerCam,
    assay.ScoreCam, assay.AblationCam, assay.EigenCam,
)  # fmt: skip
ATTENTION: tuple[type[Method], ...] = (
    assay.RawAttention, assay.AttentionRollout, assay.AttentionRelevance,
    assay.TransformerRelevance,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One network asked by one method."""

    network: str
    method: str
    outcome: str
    layer: str = ""
    seconds: float = 0.0
    detail: str = ""


def subjects() -> dict[str, Callable[[], Subject]]:
    """By name, each built when it is asked."""
    return {**networks(), "ViT, tiny": _vit}


def _vit() -> Subject:
    from architectures.catalogue import build

    subject = build("transformers ViT")
    return Subject(subject.net, subject.inputs)


def maps(network: str) -> dict[str, Method]:
    """By name; maps of tokens know their grid."""
    layer, grid = TOKENS.get(network, (None, None))
    found = {kind.__name__: kind(layer=layer, grid=grid) for kind in MAPS}  # type: ignore[call-arg]
    guided: dict[str, Method] = {
        "Guided": assay.Guided(assay.GradCam(layer=layer, grid=grid, rectify=True)),
        "FullGrad": assay.FullGrad(),
    }
    return {**found, **guided}


def attention(network: str) -> dict[str, Method]:
    """By name. Where patches are not made by a convolution, their grid is said."""
    settings = {"grid": TOKENS[network][1]} if network == "ViT, MNIST" else {}
    return {kind.__name__: kind(**settings) for kind in ATTENTION}


def influences(subject: Subject) -> dict[str, Method]:
    """By name. What is asked behind an embedding has its points there."""
    at = "inputs" if subject.behind is None else "layer"
    return {
        "InternalInfluence, point": assay.InternalInfluence(assay.PointDistribution()),
        "InternalInfluence, line": assay.InternalInfluence(assay.LineDistribution(4, at=at)),
        "InternalInfluence, normal": assay.InternalInfluence(
            assay.GaussianDistribution(0.1, draws=2, at=at)
        ),
    }


def questions(network: str, subject: Subject) -> dict[str, assay.Question]:
    """About the class that a network predicts: for maps, for attention and for influence."""
    question = assay.Question(
        subject.net,
        subject.inputs[:INPUTS],
        removal=assay.Baseline(0.0),
        context={key: assay.Aligned(value[:INPUTS]) for key, value in subject.context.items()},
    )
    if subject.behind is not None:
        # Attention finds the embedding of ids itself.
        embedded = question.after(subject.behind)
        return {"maps": embedded, "attention": question, "influence": embedded}
    layer, _ = TOKENS.get(network, (None, None))
    behind = question.after(layer or question.last_layer_with_places())
    return {"maps": question, "attention": question, "influence": behind}


def ask(network: str, name: str, method: Method, question: assay.Question) -> Case:
    """One network asked by one method."""
    start = time.process_time()

    def case(outcome: str, layer: str = "", detail: str = "") -> Case:
        return Case(network, name, outcome, layer, time.process_time() - start, detail)

    try:
        answer = method(question)
    except AssayError as refusal:
        # Refusals that differ in the method's name alone are one.
        return case("refused", detail=str(refusal).replace(name, "METHOD"))
    except Exception as error:
        return case("foreign", detail=repr(error))
    if not bool(answer.values.isfinite().all()):
        return case("not finite")
    return case("answered", str(answer.facts.get("mapped", "")))


def asked(network: str, subject: Subject, only: list[str]) -> list[Case]:
    """One network asked by every method, or by some."""
    methods = {
        "maps": maps(network),
        "attention": attention(network),
        "influence": influences(subject),
    }
    cases = []
    for family, question in questions(network, subject).items():
        for name, method in methods[family].items():
            if only and name not in only:
                continue
            cases.append(ask(network, name, method, question))
            print(asdict(cases[-1]), flush=True)
    return cases


def kept() -> list[dict[str, Any]]:
    """Cases of earlier runs."""
    with PAGE.file("csv").open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def table(cases: list[Case]) -> str:
    """A row for each method, a column for each network, and the refusals."""
    grid, refusals = outcomes(cases, lambda case: case.outcome)
    return "\n".join(grid + refusals)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the networks; all where none is said")
    parser.add_argument("--only", nargs="*", default=[], help="some of the methods")
    options = parser.parse_args()
    sys.path[:0] = [str(REPOSITORY / part) for part in ("tests", "bench")]
    import torchvision_names  # noqa: F401

    conditions()
    records: list[dict[str, Any]] = []
    for network, build in subjects().items():
        if options.names and network not in options.names:
            continue
        torch.manual_seed(0)
        records += map(asdict, asked(network, build(), options.only))
    if options.names or options.only:
        records = merged(kept(), records, "network", "method")
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    cases = [Case(**record) for record in records]
    PAGE.fill(table(cases))
    print(table(cases))


if __name__ == "__main__":
    main()
