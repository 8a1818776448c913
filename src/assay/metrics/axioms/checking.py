"""Axioms checked on one question: a gap for each, and the input that shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from assay.answers.named import Named
from assay.errors import AssayError, KindError, SettingError
from assay.methods.base import Method
from assay.metrics.axioms.kinds import KINDS, Check, Observation
from assay.question.question import Question
from assay.settings import checked_seed


@final
@dataclass(frozen=True, eq=False, repr=False)
class Finding:
    """How far an explanation is from an axiom.

    Fields:
        axiom: its name.
        claimed: whether the method claims it; None for axioms that no method can claim.
        gap: the largest distance from what the axiom says, in the unit of the values; NaN where it
            was not asked.
        allowed: what rounding and, where the method samples, five standard errors excuse there.
        size: of the numbers that are compared, for a relative gap.
        input, feature: where the gap is; feature is None where the axiom speaks of all together.
        evidence: the input that shows it and what was answered, by name.
        why: how it was asked, or why it was not.
    """

    axiom: str
    claimed: bool | None
    gap: float
    allowed: float = 0.0
    size: float = 0.0
    input: int | None = None
    feature: int | None = None
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", Named(self.evidence))

    @property
    def asked(self) -> bool:
        """Whether it could be asked."""
        return not math.isnan(self.gap)

    @property
    def kept(self) -> bool | None:
        """Whether nothing was found against it; None where it was not asked."""
        return self.gap <= self.allowed if self.asked else None

    @property
    def relative(self) -> float:
        """The gap against the size of what is compared."""
        return self.gap / self.size if self.size > 0 else 0.0

    def __repr__(self) -> str:
        if not self.asked:
            return f"{self.axiom}: not asked ({self.why})"
        where = f" at input {self.input}" if self.input is not None else ""
        where += f", feature {self.feature}" if self.feature is not None else ""
        word = "kept" if self.kept else "not kept"
        claimed = ", claimed" if self.claimed else ""
        return f"{self.axiom}: {word}{claimed}, gap {self.gap:.3g}{where}"


@final
@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What was found of a method, axiom by axiom.

    Fields:
        method: its repr.
        findings: by the axiom's name.
    """

    method: str
    findings: Mapping[str, Finding]

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", Named(self.findings))

    def __getitem__(self, axiom: str) -> Finding:
        return self.findings[axiom]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    @property
    def broken_claims(self) -> tuple[str, ...]:
        """The axioms that the method claims and does not keep."""
        return tuple(
            name
            for name, finding in self.findings.items()
            if finding.claimed and finding.kept is False
        )

    def __repr__(self) -> str:
        return "\n".join([self.method, *(f"  {finding!r}" for finding in self.findings.values())])


def check(
    method: Method,
    question: Question,
    *,
    axioms: Sequence[str] | None = None,
    twin: Any = None,
    features: int = 3,
    seed: int = 0,
) -> Report:
    """How far a method's answer to a question, and to questions made from it, is from each axiom.

    Settings:
        method: whose axioms are checked.
        question: about a network or a function of one tensor; a few inputs are enough.
        axioms: names of some; all where nothing is said: completeness, sensitivity (a), sensitivity
            (b), linearity, symmetry, implementation invariance, missingness, consistency, local
            accuracy, input invariance.
        twin: the same function as the model, written differently, for implementation invariance;
            where nothing is said it is made from the model.
        features: how many features are tried where an axiom speaks of single ones.
        seed: of the method.

    Cost: some 10 + 4 `features` explanations per input. Errors: KindError for what is no method or
    question, SettingError for axioms that have no check, InputError for a model of anything but one
    tensor of numbers.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    >>> question = assay.Question(net.double(), torch.ones(2, 3, dtype=torch.float64))
    >>> report = check(assay.Gradient(), question)
    >>> report["completeness"].kept, report["sensitivity (b)"].kept
    (False, True)
    """
    if not isinstance(method, Method) or not isinstance(question, Question):
        raise KindError(
            expected="a method and a Question",
            got=f"{type(method).__name__} and {type(question).__name__}",
            advice="Write assay.axioms.check(Gradient(), question).",
        )
    seed = checked_seed(seed, "check")
    names = list(KINDS) if axioms is None else list(axioms)
    unknown = [name for name in names if name not in KINDS]
    if unknown or features < 1:
        raise SettingError(
            expected=f"axioms among {', '.join(KINDS)}, and at least one feature",
            got=f"{', '.join(map(repr, unknown)) or 'these'}, features={features}",
            advice="Leave axioms out for all of them.",
        )
    asked = Check.of(method, question, features, seed, twin)
    return Report(repr(method), {name: _finding(name, asked) for name in names})


def _finding(name: str, check: Check) -> Finding:
    axiom, observe = KINDS[name]
    # Some axioms cannot be claimed: `Axiom` has no word for them.
    claimed = None if axiom is None else axiom in check.method.axioms
    try:
        observation = observe(check)
    except AssayError as refusal:
        # Refused is not broken: there is no gap, and the first line of the refusal says why.
        return Finding(name, claimed, math.nan, why=str(refusal).partition("\n")[0])
    if observation is None:
        return Finding(name, claimed, math.nan, why="the question has nothing to ask it of")
    return _worst(name, claimed, observation)


def _worst(name: str, claimed: bool | None, observation: Observation) -> Finding:
    """The place where least is excused."""
    # Not the largest gap: one that rounding or draws excuse is no counterexample.
    beyond = observation.gap - observation.allowed
    place = int(beyond.flatten().argmax())
    row, column = divmod(place, beyond.shape[1])
    # A single column may be one feature, or one number of a whole input.
    named = len(observation.features) == beyond.shape[1]
    return Finding(
        name,
        claimed,
        float(observation.gap[row, column]),
        float(observation.allowed[row, column]),
        float(observation.size[row].max()),
        row,
        observation.features[column] if named else None,
        {label: part[row] for label, part in observation.evidence.items()},
        observation.why,
    )
