"""Pairs of inputs and references, B x R of them made of B + R rows.

The references' forward is run for distinct ones and its numbers are handed to every pair. In the
forward of the pairs, convolutions and dense layers are worked out for distinct inputs; only the way
back, where every pair has a signal of its own, has B R rows. What is kept for a tensor is dropped
when that tensor is written to, and a tensor of which nothing is kept is worked out pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from assay.models.networks.operations.operation import Operation
from assay.models.networks.operations.pulled import pulled

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@final
@dataclass(frozen=True, eq=False)
class _Distinct:
    """Which rows stand for all (k,), and which of those each row is (r,)."""

    first: Tensor
    places: Tensor

    @classmethod
    def of(cls, keys: Tensor) -> _Distinct:
        different, places = torch.unique(keys, return_inverse=True)
        numbers = torch.arange(len(keys), device=keys.device)
        first = numbers.new_empty(len(different)).scatter_(0, places, numbers)
        return cls(first, places)


@final
@dataclass(frozen=True, eq=False)
class _Once:
    """A tensor of pairs, its version, and the same for distinct inputs."""

    tensor: Tensor
    version: int
    distinct: Tensor


@final
class Pairs:
    """A chunk of pairs: references (r, elements), and the numbers of the inputs and of the steps."""

    def __init__(self, references: Tensor, inputs: Tensor, steps: Tensor) -> None:
        self.references = references
        self.inputs = inputs
        self.steps = steps
        self._references: _Distinct | None = None
        self._inputs: _Distinct | None = None
        self._once: dict[int, _Once] = {}
        # What a linear operation has just given for distinct inputs.
        self._worked_out: Tensor | None = None

    @property
    def shared(self) -> bool:
        """Whether any work is shared."""
        return self._references is not None or self._inputs is not None

    def share(self, may: bool) -> None:
        """Looks for what is the same in several pairs, where it may be asked once."""
        self._references = self._inputs = None
        if not may:
            return
        references = _Distinct.of(self.steps)
        spread = self.references[references.first][references.places]
        is_fewer = len(references.first) < len(self.references)
        if is_fewer and torch.equal(spread, self.references):
            self._references = references
        inputs = _Distinct.of(self.inputs)
        if 2 * len(inputs.first) <= len(self.inputs):
            self._inputs = inputs

    @property
    def rows(self) -> tuple[int, int]:
        """How many pairs there are, and how many references are asked."""
        return len(self.inputs), len(self.distinct_references)

    # --- references

    @property
    def distinct_references(self) -> Tensor:
        """The references that are asked."""
        if self._references is None:
            return self.references
        return self.references[self._references.first]

    def spread_references(self, answers: Tensor) -> Tensor:
        """Answers for distinct references, one for each pair."""
        if self._references is None:
            return answers
        return answers.index_select(0, self._references.places)

    def beside(self, theirs: Tensor, ours: Tensor) -> Tensor | None:
        """Numbers of the references' forward for each pair; None where rows are not told apart."""
        known = self._references
        if known is None or theirs.shape == ours.shape or theirs.dim() != ours.dim():
            return theirs
        sizes = zip(theirs.shape, ours.shape)
        differing = [dim for dim, (few, many) in enumerate(sizes) if few != many]
        rows = (len(known.first), len(known.places))
        if len(differing) != 1 or (theirs.shape[differing[0]], ours.shape[differing[0]]) != rows:
            return None
        if len(known.first) == 1:
            return theirs.expand(ours.shape)
        return theirs.index_select(differing[0], known.places)

    # --- inputs

    def begin(self, signals: list[Tensor]) -> None:
        """A forward of pairs begins with these tensors."""
        self.forget()
        if self._inputs is None:
            return
        for signal in signals:
            self._keep(signal, signal.detach()[self._inputs.first])

    def forget(self) -> None:
        """Lets go of a forward."""
        self._once.clear()
        self._worked_out = None

    def overwritten(self, target: Tensor) -> None:
        """Hears that a tensor holds other numbers now."""
        self._once.pop(id(target), None)

    def stands_for(self, copy: Tensor, original: Tensor) -> None:
        """Hears that a tensor holds the numbers of another."""
        distinct = self._known(original)
        if distinct is not None:
            self._keep(copy, distinct)

    def worked_out_once(self, operation: Operation) -> Tensor | None:
        """A convolution or dense layer for distinct inputs, with the slope of every pair."""
        (signal,) = operation.signals
        distinct = self._known(signal)
        if distinct is None or self._inputs is None or signal is not operation.argument(0, "input"):
            return None
        pull = _transposed(operation, signal)
        if pull is None:
            return None
        with torch.no_grad():
            value = operation.on({id(signal): distinct})()
        self._worked_out = value
        spread = value.index_select(0, self._inputs.places)
        return pulled(signal, spread, pull)

    def follow(self, operation: Operation, given: Any) -> None:
        """Keeps what an operation gives for distinct inputs, where it is one for each of them."""
        distinct, self._worked_out = self._worked_out, None
        if self._inputs is None or not isinstance(given, Tensor) or not self._once:
            return
        if distinct is None:
            distinct = self._for_distinct(operation)
        few, many = len(self._inputs.first), len(self._inputs.places)
        if not isinstance(distinct, Tensor) or given.shape[:1] != (many,):
            return
        if distinct.shape == (few, *given.shape[1:]):
            self._keep(given, distinct)

    def _for_distinct(self, operation: Operation) -> Any:
        """What an operation gives for distinct inputs; None where it does not."""
        known = {id(signal): self._known(signal) for signal in operation.signals}
        held = {key: distinct for key, distinct in known.items() if distinct is not None}
        if len(held) < len(known):
            return None
        try:
            with torch.no_grad():
                return operation.on(held)()
        except (RuntimeError, IndexError):
            # It counts on the number of rows.
            return None

    def _known(self, tensor: Tensor) -> Tensor | None:
        once = self._once.get(id(tensor))
        if once is None or once.version != tensor._version:
            return None
        return once.distinct

    def _keep(self, tensor: Tensor, distinct: Tensor) -> None:
        self._once[id(tensor)] = _Once(tensor, tensor._version, distinct)


def _transposed(operation: Operation, signal: Tensor) -> Any:
    """The way back through a linear operation, from its output's signal to its input's."""
    weight = operation.argument(1, "weight")
    if operation.name == "linear":
        return lambda cotangent: cotangent @ weight
    if operation.name not in _CONVOLUTIONS:
        return None
    count = weight.dim() - 2
    stride, padding, dilation = (
        _sizes(operation.argument(place, name, default), count)
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    groups = operation.argument(6, "groups", 1)
    if padding is None:
        return None
    x = signal.detach()

    def pull(cotangent: Tensor) -> Tensor:
        slopes: Tensor = torch.ops.aten.convolution_backward(
            cotangent, x, weight, None, stride, padding, dilation, False, [0] * count, groups,
            [True, False, False],
        )[0]  # fmt: skip
        return slopes

    return pull


def _sizes(value: Any, count: int) -> list[int] | None:
    """A number for each dimension; None for paddings that are said in words."""
    if isinstance(value, str):
        return None
    if isinstance(value, int):
        return [value] * count
    return [int(number) for number in value] * (count if len(value) == 1 else 1)
