"""Layer-wise relevance propagation: an output's relevance handed back, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from assay.errors import KindError
from assay.methods.base import Estimate, Method
from assay.methods.rules.composites import Composite, Composition, EpsilonPlus
from assay.methods.rules.conservation import Account
from assay.methods.rules.relevance import OF_THE_HOUSE, Passage, Rule
from assay.models.base import Ability
from assay.models.networks.operations.decomposed import PLAINER, SEVERAL
from assay.models.networks.operations.interception import Interception
from assay.models.networks.operations.kinds import OperationKind
from assay.models.networks.operations.linear import LinearMap, batch_norm_map, linear_map
from assay.models.networks.operations.operation import Operation
from assay.question.question import Question

_LINEAR = (OperationKind.CONVOLUTION, OperationKind.DENSE)
_COMPOSITE = (OperationKind.ATTENTION, OperationKind.NORMALISATION, OperationKind.RECURRENT)
_SHIFTING = (OperationKind.AFFINE, OperationKind.PRODUCT)
_FILLING = frozenset(
    {"pad", "constant_pad_nd", "masked_fill", "fill", "index_fill", "nan_to_num", "setitem", "zero"}
    | {"where", "scatter", "index_put"}
)
_INSIDE = ("logsumexp", "softmin")  # softmaxes that are said in plainer operations


@final
@dataclass(frozen=True)
class LRP(Method):
    """Relevance propagated from the target back to the input (layer-wise relevance propagation).

    R_i = sum_j (share of i in j) R_j, from R = f(x) at the target; the share is the composite's rule
    for the operation between them      (Bach et al. 2015, equations 13 and 14)

    Settings:
        composite: which rule for which operation: `EpsilonPlus()`, `EpsilonPlusFlat()`,
            `EpsilonAlpha2Beta1()`, `EpsilonAlpha2Beta1Flat()`, `EpsilonGammaBox(low, high)`; for
            transformers `AttentionAware()` or `ConservativeAttention()`; or a `Composite` of rules.

    Relevance adds up to f(x) less what biases, stabilisers and softmax absorb; the facts hold the
    account (`conservation`) and what was heard (`operations`). The removal is not asked. Cost: one
    forward and backward pass per input, with one to three convolutions for each of the network's.
    Values: (n, features), in units of the target. Errors: AbilityError for an operation without a
    rule, by its name and line. The authors of some of these rules hold a patent on relevance
    propagation: whoever ships it should look into that.

    >>> import torch, assay
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.ReLU())
    >>> _ = net[0].weight.data.fill_(2.0)
    >>> net.append(torch.nn.Linear(3, 1, bias=False))[2].weight.data.fill_(3.0)
    tensor([[3., 3., 3.]])
    >>> LRP()(assay.Question(net, torch.tensor([[1.0, 2.0, 3.0]]))).values
    tensor([[18.0000, 36.0000, 54.0000]])
    """

    composite: Composition = field(default_factory=EpsilonPlus)
    needs = frozenset({Ability.GRADIENT, Ability.OPERATIONS})
    tells_prediction = True
    cost: ClassVar[str] = "1 gradient, with 1 to 3 times the convolutions"

    def __post_init__(self) -> None:
        if not isinstance(self.composite, Composition):
            raise KindError(
                expected="a composite for LRP",
                got=repr(self.composite),
                advice="Say EpsilonPlus(), or Composite({'convolution': ZPlus()}).",
            )

    def values(self, question: Question, seed: int) -> Estimate:
        return self.per_output((question,), seed)[0]

    def per_output(self, questions: Sequence[Question], seed: int) -> list[Estimate]:
        composite = self.composite.composite()
        rules = RelevanceForward(composite)
        estimates = []
        slopes = questions[0].slopes_at_inputs(questions, rules=rules)
        # Names are learnt with the first forward.
        composite.check_layers(rules.layers)
        for number, relevance in enumerate(slopes):
            asked = questions[number]
            report = rules.account.report(number, asked.prediction, relevance.sum(1))
            notes = {"operations": rules.coverage(), "conservation": report}
            estimates.append(Estimate(asked.pool(relevance), notes=notes))
        return estimates


@final
@dataclass(frozen=True, eq=False)
class _Pending:
    """A linear operation whose rule waits for what comes next: a batch norm may be merged into it."""

    value: Tensor
    operation: Operation
    linear: LinearMap
    is_first: bool
    shares: Tensor | None


@final
class RelevanceForward(Interception):
    """A forward whose operations hand relevance on by the rules of a composite."""

    who = "LRP"
    advice = (
        "Say a rule for it: Composite({...}, otherwise=Zero()) takes its slope, "
        "Composite({name: rule}) one of its own."
    )

    def __init__(
        self, composite: Composite, begun: Callable[[list[Tensor]], None] = lambda signals: None
    ) -> None:
        super().__init__()
        self.composite = composite
        # Told of the inputs of each forward, for rules that count.
        self.begun = begun
        self.account = Account()
        self._pending: dict[int, _Pending] = {}
        self._resolved: dict[int, tuple[_Pending, Tensor]] = {}
        self._copies: list[Tensor] = []
        # Tensors that no layer with weights has worked on yet, with their shares.
        self._raw: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._leaves: list[Tensor] = []

    # --- a forward

    @contextmanager
    def counting(self) -> Iterator[None]:
        # What fails half-way is asked again (in smaller chunks, say): nothing may count twice.
        absorbed = dict(self.account.absorbed)
        try:
            with super().counting():
                yield
        except BaseException:
            self.account.take_back(absorbed)
            raise

    def answering(self, which: int) -> None:
        self.account.target = which

    @property
    def leaves(self) -> list[Tensor]:
        return self._leaves

    def forget(self) -> None:
        super().forget()
        self._pending.clear()
        self._resolved.clear()
        self._copies.clear()
        self._raw.clear()
        self._leaves = []

    def begin(self, signals: list[Tensor]) -> None:
        self.begun(signals)
        # Only rules for the first layer ask for shares; without one no leaf is made.
        direct = self.composite.first is not None and self.composite.first.direct
        if direct:
            self._leaves = [torch.ones_like(signal).requires_grad_() for signal in signals]
        for place, signal in enumerate(signals):
            self._raw[id(signal)] = (signal, self._leaves[place] if direct else None)

    def attributed(self, rows: Tensor, slopes: Tensor, beside: Tensor | None) -> Tensor:
        # The one place where a slope becomes relevance: at the inputs, as R = x g.
        relevance = rows * slopes
        return relevance if beside is None else relevance + beside

    # --- operations

    def handle(self, operation: Operation) -> Any:
        if operation.kind in _LINEAR:
            return self._linear(operation)
        # Before the rule of the linear operation is settled, which merging would be too late for.
        merged = self._merged(operation)
        if merged is not None:
            return merged
        operation = self._settled(operation)
        if self._is_taken_apart(operation):
            return self.again(operation)
        if operation.kind is OperationKind.STRUCTURE:
            given = self._moved_on(operation, self.plainly(operation))
            return self._shift_accounted(operation, given) if _brings_numbers(operation) else given
        return self._ruled(operation)

    def _is_taken_apart(self, operation: Operation) -> bool:
        """Whether it is said in plainer operations: composite ones without a rule for the whole."""
        is_composite = operation.kind in _COMPOSITE or operation.name in _INSIDE
        return _is_several(operation) or (is_composite and not self.composite.says(operation))

    def moved(self, operation: Operation) -> None:
        for tensor in operation.operands:
            # Written back, since the operation is to work on the tensor itself.
            if id(tensor) in self._pending:
                tensor.copy_(self._settle(tensor))
            self.overwritten(tensor)
        super().moved(operation)

    def overwritten(self, target: Tensor) -> None:
        self._pending.pop(id(target), None)
        self._raw.pop(id(target), None)

    def stands_for(self, copy: Tensor, original: Tensor) -> None:
        # With the tensor itself, so that no other takes its `id`.
        self._copies.append(copy)
        if id(original) in self._pending:
            self._pending[id(copy)] = self._pending[id(original)]
        if id(original) in self._raw:
            self._raw[id(copy)] = (copy, self._raw[id(original)][1])

    def unknown(self, operation: Operation) -> Any:
        operation = self._settled(operation)
        if operation.name in PLAINER or self.composite.rule_for(operation, is_first=False) is None:
            return super().unknown(operation)
        return self._ruled(operation)

    def _ruled(self, operation: Operation) -> Any:
        rule = self._rule(operation, is_first=False)
        passage = Passage(operation, self.account, absorb=self.composite.bias == "absorb")
        given = rule.passed(passage)
        if operation.kind is OperationKind.AFFINE:
            self._moved_on(operation, given)
        if operation.kind in _SHIFTING:
            given = self._shift_accounted(operation, given)
        return given

    def _rule(self, operation: Operation, *, is_first: bool) -> Rule:
        rule = self.composite.rule_for(operation, is_first=is_first)
        if rule is None:
            raise self.refusal(operation)
        self.seen[operation.name, repr(rule)] += 1
        # What a rule of somebody else hands on is compared with the network's answer, row by row.
        self.retold |= type(rule) not in OF_THE_HOUSE
        return rule

    def _shift_accounted(self, operation: Operation, given: Any) -> Any:
        """Writes down what the constant part of an operation absorbs."""
        if not isinstance(given, Tensor):
            return given
        # Asked rather than read from its operands: a shift has many spellings, f(0) has one.
        zeros = {id(signal): torch.zeros_like(signal) for signal in operation.signals}
        shift = operation.on(zeros)().detach()
        # Most operations shift nothing, and need no meter on the way back.
        if not bool(shift.any()):
            return given
        metered = self.account.metered(operation.name, given, shift)
        self.stands_for(metered, given)
        return metered

    # --- the first layer

    def _moved_on(self, operation: Operation, given: Any) -> Any:
        """Keeps for raw what is only moved, scaled or shifted."""
        signals = operation.signals
        if not all(id(signal) in self._raw for signal in signals):
            return given
        shares = {
            id(signal): companion
            for signal in signals
            if (companion := self._raw[id(signal)][1]) is not None
        }
        companion = None
        if shares and operation.kind is OperationKind.STRUCTURE:
            zeros = {id(signal): torch.zeros_like(signal) for signal in signals}
            # Shares are moved as the signals are, so that each stays beside its own element.
            companion = operation.on(shares)()
            if _brings_numbers(operation):
                # Constants have no share.
                companion = companion - operation.on(zeros)()
        elif shares:
            companion = next(iter(shares.values())).expand_as(given)
        self._keep_raw(given, companion)
        return given

    def _keep_raw(self, given: Any, companion: Any) -> None:
        if isinstance(given, Tensor):
            self._raw[id(given)] = (given, companion)
        elif isinstance(given, list | tuple):
            for place, part in enumerate(given):
                self._keep_raw(part, None if companion is None else companion[place])

    # --- linear operations wait for a batch norm

    def _linear(self, operation: Operation) -> Any:
        operation = self._settled(operation)
        linear = linear_map(operation)
        if linear is None and operation.name in PLAINER:
            return self.again(operation)
        if linear is None:
            raise self.refusal(operation, " of an operand that it is not linear in alone")
        # First is whatever an input reaches unweighted, which may be several layers side by side.
        is_first = id(linear.x) in self._raw
        shares = self._raw[id(linear.x)][1] if is_first else None
        # Called at once, for whoever looks at the value; its rule stands behind it later.
        value = operation()
        self._pending[id(value)] = _Pending(value, operation, linear, is_first, shares)
        return value

    def _merged(self, operation: Operation) -> Tensor | None:
        """A batch norm right behind a linear operation, as one operation with it."""
        if operation.name != "batch_norm" or not self.composite.merge_batch_norm:
            return None
        before = self._pending.get(id(operation.args[0]))
        # A batch norm scales along dimension 1, which has to be the one that the bias counts.
        if before is None or not before.linear.can_be_merged or before.linear.channels != 1:
            return None
        normalised = batch_norm_map(operation)
        if normalised is None:
            return None
        scale, shift = normalised
        linear = before.linear.scaled(scale, shift)
        value: Tensor = operation()
        self.seen[operation.name, "merged"] += 1
        self._pending[id(value)] = replace(before, value=value, linear=linear)
        return value

    def _settled(self, operation: Operation) -> Operation:
        """The operation on tensors behind which their own rules stand."""
        exchanged = {
            id(tensor): self._settle(tensor)
            for tensor in operation.signals
            if id(tensor) in self._pending
        }
        return operation.on(exchanged) if exchanged else operation

    def _settle(self, tensor: Tensor) -> Tensor:
        pending = self._pending[id(tensor)]
        # Copies of a value share what stands behind it.
        if id(pending) in self._resolved:
            return self._resolved[id(pending)][1]
        rule = self._rule(pending.operation, is_first=pending.is_first)
        passage = Passage(
            pending.operation,
            self.account,
            pending.linear,
            pending.shares,
            self.composite.bias == "absorb",
            tensor.clone() if self.copies else tensor,
        )
        settled: Tensor = rule.passed(passage)
        self._resolved[id(pending)] = (pending, settled)
        # New to the interception: what is made here was made by no operation that it heard.
        super().admit((settled,))
        return settled


def _is_several(operation: Operation) -> bool:
    """A product that is more than one: a quotient, a product and a sum."""
    return operation.kind is OperationKind.PRODUCT and operation.name in SEVERAL


def _brings_numbers(operation: Operation) -> bool:
    """Whether an operation that moves numbers may put constants between them."""
    if any(constant.is_floating_point() for constant in operation.constants):
        return True
    if operation.name == "pad":
        # Zeros take no relevance, and in other modes it is the signal that is repeated.
        return bool(operation.argument(3, "value"))
    return operation.name in _FILLING
