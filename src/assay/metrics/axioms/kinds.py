"""One check for each axiom: what is asked, and how far the answer is from what it has to be.

- completeness: values add up to f(x) - f(absent) (Sundararajan et al. 2017, section 2.1)
- sensitivity (a): where input and absent input differ in one feature and in their outputs, that
  feature has credit (ibid.)
- sensitivity (b), the dummy axiom: a feature that the model does not depend on has none (ibid.)
- linearity: the answer for a f + b g is a times that for f and b times that for g (ibid., section 3)
- symmetry: features that enter the model alike, and are alike, have the same credit (ibid.)
- implementation invariance: two ways of writing one function have one answer (ibid.)
- missingness: a feature that is as it is when it is absent has none (Lundberg and Lee 2017)
- consistency: where a feature counts for more, whatever else is present, its credit does not fall
  (ibid., property 3)
- local accuracy: the base of the answer and its values add up to f(x) (ibid., property 1)
- input invariance: a constant added to all inputs and taken off again by the model, changes nothing
  (Kindermans et al. 2019)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from assay.answers.attribution import Attribution, Kind
from assay.errors import InputError
from assay.methods.base import Axiom, Method
from assay.metrics.axioms.derived_models import (
    Combined,
    Exchanging,
    Ignoring,
    Raised,
    Reordered,
    Shifted,
    predictor_of,
    twin_of,
)
from assay.metrics.faithfulness.units import check_adds_up
from assay.question.question import Question

_ERRORS = 5.0  # standard errors that a sampled value may be off by
_PRECISION = 0.6  # power of the rounding unit: 4e-10 in double, 7e-5 in single
_SHIFT = 0.5  # added to all inputs
_WEIGHTS = (2.0, 3.0)  # of a sum of models
_RAISE = 0.5  # of the output's size, that a feature counts for more


@final
@dataclass(frozen=True, eq=False)
class Observation:
    """Gaps of n inputs at k places: features, or one for all of them.

    Settings:
        gap, allowed, size: (n, k) or (n, 1), float64.
        features: the numbers of the features, where the places are that.
        evidence: by name, one entry for each input.
        why: how it was asked.
    """

    gap: Tensor
    allowed: Tensor
    size: Tensor
    features: tuple[int, ...] = ()
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""


@final
@dataclass(frozen=True, eq=False)
class Check:
    """A method and a question, from which other questions are made.

    Settings:
        method, question, seed: what is asked.
        answer: of the method to the question.
        predictor: the model as a function of a tensor.
        features: the numbers of the features that are tried one by one.
        twin: the same function written differently, and how.
    """

    method: Method
    question: Question
    seed: int
    answer: Attribution
    predictor: Any
    features: tuple[int, ...]
    twin: tuple[Any, str]

    @classmethod
    def of(cls, method: Method, question: Question, features: int, seed: int, twin: Any) -> Check:
        """Everything that several checks need."""
        predictor = predictor_of(question)
        count = question.partition.count
        # Spread over all of them.
        places = torch.linspace(0, count - 1, min(features, count)).round().long().unique()
        written = twin_of(predictor) if twin is None else (twin, "as handed over")
        answer = method(question, seed=seed)
        return cls(method, question, seed, answer, predictor, tuple(places.tolist()), written)

    # --- questions made from the question

    def ask(self, model: Any = None, x: Tensor | None = None) -> Attribution:
        """The method's answer about another model, or other inputs (n, elements)."""
        return self.method(self._asked(model, x), seed=self.seed)

    def _asked(self, model: Any, x: Tensor | None) -> Question:
        question = self.question
        points = question.x if x is None else x
        (inputs,) = question.layout.fold(points)
        return Question(
            self.predictor if model is None else model,
            inputs,
            target=question.fixed_target,
            features=question.features,
            removal=question.removal,
        )

    @property
    def absent(self) -> Tensor:
        """The one absent input of all, (elements,); refused where there is none."""
        fixed = self.question.fixed_replacements
        if fixed is None or len(fixed) != 1 or self.question.replacements != 1:
            raise InputError(
                expected="one absent input for all, such as Baseline(0.0)",
                got=repr(self.question.removal),
                advice="Ask Question(..., removal=Baseline(0.0)).",
            )
        return self.question.absent[0]

    def elements_of(self, feature: int) -> Tensor:
        """Which elements a feature owns, (elements,), bool; refused where inputs differ in that."""
        labels = self.question.partition.labels
        if len(labels) > 1:
            raise InputError(
                expected="features that own the same elements in every input",
                got=repr(self.question.features),
                advice="Ask about Elements() or Pixels().",
            )
        return labels[0] == feature

    # --- what is compared

    def error(self, answer: Attribution) -> Tensor:
        """Standard errors of values, (n, features), float64; 0 where nothing is drawn."""
        if answer.standard_error is None:
            return torch.zeros_like(answer.values, dtype=torch.float64)
        return answer.standard_error.to(torch.float64)

    def allowed(self, size: Tensor, errors: Tensor) -> Tensor:
        """What is excused of numbers of a size."""
        # A power below 1 of the rounding unit: methods add many terms, each rounded by itself.
        rounding: float = torch.finfo(self.question.precision).eps ** _PRECISION
        return rounding * size + _ERRORS * errors

    def size(self, *answers: Attribution) -> Tensor:
        """The largest numbers that are compared, (n, 1)."""
        # Rounding is relative to the largest number around: all values together, or the output.
        sizes = [answer.values.abs().sum(1) for answer in answers]
        sizes += [answer.prediction.abs() for answer in answers]
        return torch.stack(sizes).to(torch.float64).amax(0).unsqueeze(1)

    def compared(
        self, ours: Attribution, theirs: Tensor, errors: Tensor, size: Tensor, why: str
    ) -> Observation:
        """All values of an answer against what they have to be."""
        gap = (ours.values.to(torch.float64) - theirs).abs()
        allowed = self.allowed(size, self.error(ours) + errors)
        features = tuple(range(gap.shape[1]))
        evidence = {"x": self.question.x, "values": ours.values, "expected": theirs}
        return Observation(gap, allowed, size.expand_as(gap), features, evidence, why)


def _values(answer: Attribution) -> Tensor:
    return answer.values.to(torch.float64)


def _sum_against(check: Check, change: Tensor, why: str) -> Observation:
    """The sum of all values against a change (n,)."""
    answer = check.answer
    check_adds_up([answer], f"the {why} of {check.method!r}")
    total = _values(answer).sum(1, keepdim=True)
    size = torch.maximum(check.size(answer), change.abs().unsqueeze(1))
    # At worst the errors of values go together.
    errors = check.error(answer).sum(1, keepdim=True)
    gap = (total - change.unsqueeze(1)).abs()
    evidence = {"x": check.question.x, "sum": total[:, 0], "expected": change}
    return Observation(gap, check.allowed(size, errors), size, (), evidence, why)


def completeness(check: Check) -> Observation:
    """Values against f(x) - f(absent)."""
    question = check.question
    # From the question's own f(absent); the base that the answer states is for local accuracy.
    change = question.prediction.to(torch.float64) - question.base.to(torch.float64)
    return _sum_against(check, change, "completeness")


def local_accuracy(check: Check) -> Observation:
    """Values and the answer's own base against f(x)."""
    change = check.question.prediction.to(torch.float64) - check.answer.base.to(torch.float64)
    return _sum_against(check, change, "local accuracy")


def sensitivity_a(check: Check) -> Observation:
    """Inputs that differ from the absent one in a single feature."""
    absent = check.absent
    gaps, sizes, errors, shown = [], [], [], []
    for feature in check.features:
        owned = check.elements_of(feature)
        # All else as it is when absent, so that the whole change is this feature's.
        x = torch.where(owned, check.question.x, absent)
        answer = check.ask(x=x)
        change = (answer.prediction - answer.base).to(torch.float64).abs()
        credit = _values(answer)[:, feature]
        rounding = check.allowed(change, torch.zeros_like(change))
        # What changes the output and is given nothing goes without an explanation.
        gaps.append(torch.where(credit.abs() <= rounding, change, 0.0))
        sizes.append(change)
        errors.append(check.error(answer)[:, feature])
        shown.append(x)
    size = torch.stack(sizes, dim=1)
    gap = torch.stack(gaps, dim=1)
    evidence = {"x": torch.stack(shown, dim=1)}
    allowed = check.allowed(check.size(check.answer).expand_as(gap), torch.stack(errors, dim=1))
    return Observation(gap, allowed, size, check.features, evidence, "one feature differs")


def _must_be_zero(
    check: Check, ask: Callable[[int], tuple[Attribution, Tensor]], why: str
) -> Observation:
    """The credit of each tried feature where it has to be 0: `ask` gives the answer and the inputs."""
    gaps, sizes, errors, shown, values = [], [], [], [], []
    for feature in check.features:
        answer, x = ask(feature)
        gaps.append(_values(answer)[:, feature].abs())
        sizes.append(check.size(answer)[:, 0])
        errors.append(check.error(answer)[:, feature])
        shown.append(x)
        values.append(answer.values)
    size = torch.stack(sizes, dim=1)
    allowed = check.allowed(size, torch.stack(errors, dim=1))
    evidence = {"x": torch.stack(shown, dim=1), "values": torch.stack(values, dim=1)}
    return Observation(torch.stack(gaps, dim=1), allowed, size, check.features, evidence, why)


def sensitivity_b(check: Check) -> Observation:
    """A model that ignores a feature."""
    absent = check.absent

    def ask(feature: int) -> tuple[Attribution, Tensor]:
        # The model itself is made blind to the feature, so that nothing has to be known of it.
        present = ~check.elements_of(feature)
        model = Ignoring(check.predictor, present, absent)
        return check.ask(model), check.question.x

    return _must_be_zero(check, ask, "a model that ignores the feature")


def missingness(check: Check) -> Observation:
    """Inputs in which a feature is as it is when it is absent."""
    absent = check.absent

    def ask(feature: int) -> tuple[Attribution, Tensor]:
        x = torch.where(check.elements_of(feature), absent, check.question.x)
        return check.ask(x=x), x

    return _must_be_zero(check, ask, "the feature is absent already")


def linearity(check: Check) -> Observation:
    """A sum of the model and of the model read backwards."""
    # Another function of the same inputs, so that no second network has to be handed over.
    order = torch.arange(check.question.x.shape[1], device=check.question.x.device).flip(0)
    other = Reordered(check.predictor, order)
    a, b = _WEIGHTS
    # A target that is not linear in the outputs has no reason to be explained linearly.
    if not check.question.fixed_target.linear:
        raise InputError(
            expected="a target that is linear in the outputs for linearity in the model",
            got=repr(check.question.fixed_target),
            advice="Ask about an output: target=0.",
        )
    second = check.ask(other)
    # The same seed for all three: where draws are shared, their errors can cancel in the gap.
    both = check.ask(Combined(check.predictor, other, a, b))
    expected = a * _values(check.answer) + b * _values(second)
    errors = a * check.error(check.answer) + b * check.error(second)
    size = a * check.size(check.answer) + b * check.size(second)
    return check.compared(both, expected, errors, size, "2 f(x) + 3 f(x read backwards)")


def symmetry(check: Check) -> Observation | None:
    """A model that two features enter alike, at inputs in which they are alike."""
    if len(check.features) < 2:
        return None
    first, last = check.features[0], check.features[-1]
    places = [check.elements_of(feature).nonzero()[:, 0] for feature in (first, last)]
    absent = check.absent
    # Exchanging them has to leave the absent input as it is, too.
    alike = len(places[0]) == len(places[1]) and torch.equal(absent[places[0]], absent[places[1]])
    if not alike:
        return None
    order = torch.arange(check.question.x.shape[1], device=absent.device)
    order[places[0]] = places[1]
    order[places[1]] = places[0]
    # Features have to be equal as well: a model that is symmetric in them is not enough.
    x = check.question.x.clone()
    x[:, places[1]] = x[:, places[0]]
    answer = check.ask(Exchanging(check.predictor, order), x)
    credit = _values(answer)
    gap = (credit[:, [first]] - credit[:, [last]]).abs()
    # Both may come from the same draws: errors are added, and not their squares.
    error = check.error(answer)[:, [first, last]].sum(1, keepdim=True)
    size = check.size(answer)
    evidence = {"x": x, "values": answer.values}
    why = f"a model that features {first} and {last} enter alike"
    return Observation(gap, check.allowed(size, error), size, (), evidence, why)


def implementation_invariance(check: Check) -> Observation:
    """The model and its twin."""
    twin, how = check.twin
    answer = check.ask(twin)
    expected = _values(check.answer)
    size = check.size(check.answer, answer)
    # A twin that is another function shows nothing.
    apart = (answer.prediction - check.answer.prediction).to(torch.float64).abs()
    if bool((apart > check.allowed(size[:, 0], torch.zeros_like(apart)) + 1e-6 * size[:, 0]).any()):
        raise InputError(
            expected="a twin that computes what the model computes",
            got=f"outputs {float(apart.max()):.2g} apart",
            advice="Write the same function differently: twin=other_network.",
        )
    return check.compared(answer, expected, check.error(check.answer), size, how)


def consistency(check: Check) -> Observation:
    """A model in which a feature counts for more, whatever else is present."""
    absent = check.absent
    question = check.question
    gaps, allowed, sizes, shown = [], [], [], []
    for feature in check.features:
        owned = check.elements_of(feature)
        way = torch.where(owned, question.x - absent, 0.0)
        # One input at a time: the weights that raise a feature depend on the input's own way.
        for row in range(question.n):
            # What is added of this input is positive, and depends on the feature alone.
            length = way[row].square().sum().clamp_min(torch.finfo(way.dtype).tiny)
            more = _RAISE * question.prediction[row].abs().clamp_min(1.0)
            weights = way[row] / length * more
            asked = check._asked(Raised(check.predictor, weights, absent), None)
            answer = check.method(asked, seed=check.seed)
            # Of slopes, which have no part in the way, what the way makes of them.
            side = (
                torch.ones(()) if check.answer.kind != Kind.SLOPE.value else way[row].sum().sign()
            )
            before = side * _values(check.answer)[row, feature]
            after = side * _values(answer)[row, feature]
            size = torch.maximum(check.size(check.answer), check.size(answer))[row, 0]
            error = (check.error(check.answer) + check.error(answer))[row, feature]
            # A fall alone is a gap: of how far credit has to rise the axiom says nothing.
            gaps.append((before - after).clamp_min(0))
            allowed.append(check.allowed(size, error))
            sizes.append(size)
        shown.append(question.x)
    # Feature by feature, input by input: turned to (n, features), as every observation is.
    shape = (len(check.features), question.n)
    gap, excused, size = (torch.stack(part).view(shape).T for part in (gaps, allowed, sizes))
    evidence = {"x": question.x}
    return Observation(gap, excused, size, check.features, evidence, "the feature counts for more")


def input_invariance(check: Check) -> Observation:
    """The same inputs and the same model, told from another origin; what absent means stays."""
    # One constant for all elements, the plainest change of origin.
    shift = torch.full_like(check.question.x[0], _SHIFT)
    answer = check.ask(Shifted(check.predictor, shift), check.question.x + shift)
    expected = _values(check.answer)
    size = check.size(check.answer, answer)
    why = "all inputs larger by a half, which the model takes off again"
    return check.compared(answer, expected, check.error(check.answer), size, why)


Observe: TypeAlias = Callable[[Check], Observation | None]
"""One check; None where the question has nothing to ask it of."""

KINDS: dict[str, tuple[Axiom | None, Observe]] = {
    "completeness": (Axiom.COMPLETENESS, completeness),
    "sensitivity (a)": (None, sensitivity_a),
    "sensitivity (b)": (Axiom.DUMMY, sensitivity_b),
    "linearity": (Axiom.LINEARITY, linearity),
    "symmetry": (Axiom.SYMMETRY, symmetry),
    "implementation invariance": (Axiom.IMPLEMENTATION_INVARIANCE, implementation_invariance),
    "missingness": (None, missingness),
    "consistency": (Axiom.MONOTONICITY, consistency),
    "local accuracy": (None, local_accuracy),
    "input invariance": (None, input_invariance),
}
"""By name: what a method claims by it, and its check."""
