"""Real networks under maps of a layer and influence: answered, or refused by name.

`python studies/maps_networks.py` asks the networks of `rules_networks.py` by every class activation
map, by the guided one and by InternalInfluence, and writes docs/studies/maps_networks.csv and the
table of docs/studies/maps_networks.md. It needs the data and the extra `architectures`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass

import torch

import assay
from assay.errors import AssayError
from assay.methods.base import Method
from page import REPOSITORY, Page, conditions
from rules_networks import Subject, networks

PAGE = Page("maps_networks")

# A layer of tokens before the last block's attention, and the grid of its patches.
TOKENS: dict[str, tuple[str, tuple[int, int]]] = {
    "ViT, MNIST": ("norms.10", (4, 4)),
    "ViT, CIFAR-10": ("transformer.layers.4", (8, 8)),
}
MAPS: tuple[type[Method], ...] = (
    assay.CAM, assay.GradCam, assay.GradCamPlusPlus, assay.XGradCam, assay.HiResCam, assay.LayerCam,
    assay.ScoreCam, assay.AblationCam, assay.EigenCam,
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


def methods(network: str) -> dict[str, Method]:
    """By name; maps of tokens know their grid."""
    layer, grid = TOKENS.get(network, (None, None))
    maps = {kind.__name__: kind(layer=layer, grid=grid) for kind in MAPS}  # type: ignore[call-arg]
    guided: dict[str, Method] = {
        "Guided": assay.Guided(assay.GradCam(layer=layer, grid=grid, rectify=True))
    }
    return {**maps, **guided}


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


def ask(network: str, name: str, method: Method, subject: Subject) -> Case:
    """One network asked by one method, about the class that it predicts."""
    start = time.process_time()

    def case(outcome: str, layer: str = "", detail: str = "") -> Case:
        return Case(network, name, outcome, layer, time.process_time() - start, detail)

    try:
        question = assay.Question(
            subject.net,
            subject.inputs[:2],
            removal=assay.Baseline(0.0),
            context={key: assay.Aligned(value[:2]) for key, value in subject.context.items()},
        )
        if subject.behind is not None:
            question = question.after(subject.behind)
        elif name.startswith("Internal"):
            question = question.after(TOKENS.get(network, (_layer(question), ()))[0])
        answer = method(question)
    except AssayError as refusal:
        return case("refused", detail=str(refusal))
    except Exception as error:
        return case("foreign", detail=repr(error))
    if not bool(answer.values.isfinite().all()):
        return case("not finite")
    return case("answered", str(answer.facts.get("mapped", "")))


def _layer(question: assay.Question) -> str:
    return question.last_layer_with_places()


def table(cases: list[Case]) -> str:
    """A row for each method, a column for each network, and the refusals."""
    names = list(dict.fromkeys(case.network for case in cases))
    rows = list(dict.fromkeys(case.method for case in cases))
    by_place = {(case.network, case.method): case for case in cases}
    details = dict.fromkeys(case.detail for case in cases if case.detail)
    numbers = {detail: number for number, detail in enumerate(details, start=1)}

    def cell(case: Case) -> str:
        return f"{case.outcome} ({numbers[case.detail]})" if case.detail else case.outcome

    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        lines.append(f"| {row} | {' | '.join(cell(by_place[name, row]) for name in names)} |")
    if numbers:
        lines += ["", "Refusals:", ""]
        lines += [f"{number}. {' '.join(text.split())}" for text, number in numbers.items()]
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
        for name, method in {**methods(network), **influences(subject)}.items():
            cases.append(ask(network, name, method, subject))
            print(asdict(cases[-1]), flush=True)
    print(table(cases))
    if options.names:
        return
    with PAGE.file("csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(asdict(cases[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(case), "detail": case.detail[:200]} for case in cases)
    PAGE.fill(table(cases))


if __name__ == "__main__":
    main()
