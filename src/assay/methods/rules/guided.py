"""Guided backpropagation and the deconvnet: slopes that pass rectifiers by another rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.answers.attribution import Kind
from assay.methods.base import Estimate, Method
from assay.methods.rules.pairs import Kept
from assay.methods.rules.rectifiers import bounds_of, in_one_pass
from assay.models.base import Ability
from assay.models.networks.operations.interception import Interception
from assay.models.networks.operations.kinds import RECTIFIERS, OperationKind
from assay.models.networks.operations.operation import Operation
from assay.models.networks.operations.pulled import pulled
from assay.question.question import Question

_SMOOTH_RECTIFIERS = frozenset(
    {"elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish", "quick_gelu"}
)
"""Activations that cut what is negative softly; sigmoid and tanh saturate on both sides instead."""


@final
class _Rectifying(Interception):
    """Slopes of everything but rectifiers, which have a rule of their own."""

    may_hear_form = True

    def __init__(self, who: str, rule: Callable[[Operation, Tensor], Tensor]) -> None:
        super().__init__()
        self.who = who
        self.rule = rule

    def handle(self, operation: Operation) -> Any:
        if operation.kind is OperationKind.RECURRENT:
            return self.again(operation)
        if not is_rectifier(operation):
            return self.plainly(operation)
        (signal,) = operation.signals
        self.seen[operation.name, "rectified"] += 1
        return self.rule(operation, signal)

    def unknown(self, operation: Operation) -> Any:
        # A slope is a slope: only rectifiers have another rule.
        return self.plainly(operation)


def is_rectifier(operation: Operation) -> bool:
    """Whether an operation cuts off what is negative, in any spelling: `maximum(x, 0)` does."""
    name = operation.name
    if name in ("clamp", "clip", "clamp_min"):
        low = operation.argument(1, "min")
        return not isinstance(low, Tensor) and low == 0
    if name in ("maximum", "fmax", "max"):
        # The larger of two signals is no rectifier; the larger of a signal and zeros is one.
        constants = operation.constants
        return len(constants) == 1 and bool((constants[0] == 0).all())
    if name == "hardtanh":
        return bool(operation.argument(1, "min_val", -1.0) == 0)
    if name == "threshold":
        return bool(operation.argument(1, "threshold") == 0)
    return name in RECTIFIERS or name in _SMOOTH_RECTIFIERS


def _guided(operation: Operation, signal: Tensor) -> Tensor:
    """g -> max(g, 0) f'(z): what arrives negative is cut before the slope of the rectifier."""
    bounds = bounds_of(operation)
    if bounds is None:
        # Smooth ones keep the slope of their own: the signal is cut behind it.
        value = operation()
        return pulled(value, value, lambda cotangent: cotangent.clamp_min(0))
    with torch.no_grad():
        value = operation()
    # The value tells as much as the input, which an operation in place writes over.
    kept = Kept(value)

    def pull(cotangent: Tensor) -> Tensor:
        if in_one_pass(cotangent):
            from assay.methods.rules import rectified

            return rectified.guided(kept.numbers, cotangent, *bounds)
        # These slopes are 0 or 1: cut behind them it is the same, in the place that they are in.
        slopes: Tensor = torch.ops.aten.hardtanh_backward(cotangent, kept.numbers, *bounds)
        return slopes.clamp_min_(0)

    return pulled(signal, value, pull)


def _deconvolved(operation: Operation, signal: Tensor) -> Tensor:
    """g -> max(g, 0), whatever the rectifier was open for."""
    return pulled(signal, operation(), lambda cotangent: cotangent.clamp_min(0))


@final
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The slope of the target, where every rectifier lets only positive signals back.

    At a rectifier y = max(z, 0) the signal g goes on as g 1[g > 0] 1[z > 0]
    (Springenberg et al. 2015, section 3.4)

    A rectifier is one in every spelling: module, function, method, in place, `clamp(min=0)`,
    `maximum(x, 0)`, ReLU6, leaky. A smooth one (GELU, SiLU, ELU, softplus) passes max(g, 0) f'(z).
    Sigmoid, tanh and everything else pass their slope. Cost: one forward and backward pass per
    input. Values: (n, features), in target per unit of input; no sum. The facts say which
    operations were heard, and how many of them were rectified. Errors: AbilityError for a part of
    the network whose operations cannot be heard.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    >>> question = assay.Question(net, torch.tensor([[2.0, 1.0]]), target=lambda y: y[:, 1] - y[:, 0])
    >>> GuidedBackprop()(question).values  # the gradient is (0, 2)
    tensor([[1., 1.]])
    """

    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    kind = Kind.SLOPE
    tells_prediction = True
    cost: ClassVar[str] = "1 gradient"

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        return _rectified(questions, "GuidedBackprop", _guided)


@final
@dataclass(frozen=True)
class Deconvnet(Method):
    """The slope of the target, where every rectifier rectifies the signal instead.

    At a rectifier the signal g goes on as g 1[g > 0], whatever its input was
    (Zeiler and Fergus 2014, section 2.1)

    Rectifiers are those of `GuidedBackprop`, in every spelling. Cost: one forward and backward pass
    per input. Values: (n, features), in target per unit of input; no sum. Errors: AbilityError for a
    part of the network whose operations cannot be heard.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    >>> question = assay.Question(net, torch.tensor([[-2.0, 1.0]]), target=0)
    >>> Deconvnet()(question).values  # the gradient is (0, 0)
    tensor([[ 1., -1.]])
    """

    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    kind = Kind.SLOPE
    tells_prediction = True
    cost: ClassVar[str] = "1 gradient"

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        return _rectified(questions, "Deconvnet", _deconvolved)


def _rectified(
    questions: Sequence[Question], who: str, rule: Callable[[Operation, Tensor], Tensor]
) -> list[Estimate]:
    rules = _Rectifying(who, rule)
    rules.rows = questions[0].n
    slopes = questions[0].slopes_at_inputs(questions, rules=rules)
    notes = {"operations": rules.coverage()}
    return [Estimate(asked.pool(slope), notes=notes) for asked, slope in zip(questions, slopes)]
