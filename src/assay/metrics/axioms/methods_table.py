"""Every method against every axiom: the page of the docs, written by the checks themselves.

Asked of two small networks with fixed weights: one of rows, and one of pictures for methods that
need places. What a method claims stands beside what was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import AssayError
from assay.methods import METHODS
from assay.methods.base import Axiom, Method
from assay.methods.gradients.gradient import Gradient
from assay.methods.influence.distributions import LineDistribution
from assay.methods.influence.internal_influence import InternalInfluence
from assay.methods.optimal.optimal import Optimal
from assay.methods.wrappers import Absolute, Smoothed, TimesInput
from assay.metrics.axioms.checking import Finding, Report, check
from assay.metrics.axioms.kinds import KINDS
from assay.numerics import rng
from assay.perturbations import ShapleyKernel
from assay.question.question import Question

_WRITTEN = "implementation invariance"

_WIDTH = 4  # features of the question about rows

_PLACES = (3, 4)  # of the question about pictures: exact methods ask 2^12 coalitions

# Methods that cannot be made without settings, with some.
_WITH_SETTINGS: dict[str, Method] = {
    "Absolute": Absolute(Gradient()),
    "TimesInput": TimesInput(Gradient()),
    "Smoothed": Smoothed(Gradient(), draws=8),
    "InternalInfluence": InternalInfluence(LineDistribution(steps=16)),
    "Optimal": Optimal(ShapleyKernel()),
}

_INTRODUCTION = """# Methods and axioms

This page is written by `make docs` from `assay.axioms`: every method was asked about a small network,
and about models made from it in which the axiom says what the answer has to be. A number is the gap
that was found, relative to the size of what is compared: a counterexample. "kept" says that none was
found, which is no proof. **Bold** is what the method claims (`method.axioms`), and tests hold it to
that. A dash: not asked, since the method cannot answer such a question. `assay.axioms.check(method,
question)` asks the same of your model, and shows the input.

"""


def standard_questions() -> tuple[Question, Question]:
    """A question about rows and one about pictures, to networks whose weights are drawn once."""
    rows = nn.Sequential(nn.Linear(_WIDTH, 8), nn.Tanh(), nn.Linear(8, 3))
    pictures = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    x = _drawn("inputs", 3, _WIDTH)
    about_rows = Question(_weighted(rows, "rows"), x, target=1)
    about_pictures = Question(
        _weighted(pictures, "pictures"), _drawn("pictures", 3, 1, *_PLACES), target=1
    )
    return about_rows, about_pictures


def _weighted(net: nn.Module, name: str) -> nn.Module:
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            # Scaled by the inputs of each unit, so that the hyperbolic tangents do not saturate.
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.copy_(_drawn(f"{name} {number}", *parameter.shape) / fan**0.5)
    # In double precision, so that a gap is the method's own and not rounding.
    return net.double().eval()


def _drawn(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(rng.shared(0, name).normal(size=shape))


def reports(methods: Mapping[str, type[Method]] | None = None) -> dict[str, Report | None]:
    """What was found of every method; None where no standard question can be asked."""
    questions = standard_questions()
    found: dict[str, Report | None] = {}
    for name, kind in (METHODS if methods is None else methods).items():
        method = _made(name, kind)
        found[name] = None if method is None else _first_answered(method, questions)
    return found


def _made(name: str, kind: type[Method]) -> Method | None:
    if name in _WITH_SETTINGS:
        return _WITH_SETTINGS[name]
    try:
        made: Any = kind()
    except TypeError:  # settings without defaults
        return None
    return made  # type: ignore[no-any-return]


def _first_answered(method: Method, questions: Iterable[Question]) -> Report | None:
    """The report of the first question that the method can answer, with the larger gap of both where
    one is about how a network is written: rules look at rectifiers.
    """
    report: Report | None = None
    for question in questions:
        try:
            if report is None:
                report = check(method, question)
            else:
                again = check(method, question, axioms=[_WRITTEN])[_WRITTEN]
                report = (
                    Report(report.method, {**report.findings, _WRITTEN: again})
                    if (again.kept is False)
                    else report
                )
        except AssayError:
            # Methods that refuse rows may need places: the next question is about pictures.
            continue
    return report


def table(methods: Mapping[str, type[Method]] | None = None) -> dict[str, dict[str, str]]:
    """What stands in the table of the docs: by method, by axiom."""
    return {
        name: {axiom: _cell(report, axiom) for axiom in KINDS}
        for name, report in reports(methods).items()
    }


def _cell(report: Report | None, axiom: str) -> str:
    if report is None:
        return "-"
    finding = report[axiom]
    word = _word(finding)
    return f"**{word}**" if finding.claimed and finding.asked else word


def _word(finding: Finding) -> str:
    if not finding.asked:
        return "-"
    if finding.kept:
        return "kept"
    # One digit: what rounding moves is not shown.
    return f"{finding.relative:.1g}"


def page() -> str:
    """The page `docs/axioms.md`, whole."""
    names = list(KINDS)
    lines = [f"| method | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    for method, cells in table().items():
        lines.append(f"| {method} | {' | '.join(cells[name] for name in names)} |")
    claims = {axiom.value for axiom in Axiom}
    note = f"\nWhat can be claimed: {', '.join(sorted(claims))} (dummy is sensitivity (b)).\n"
    return _INTRODUCTION + "\n".join(lines) + "\n" + note
