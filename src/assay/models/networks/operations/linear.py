"""Operations that are linear in the one operand that carries signal, as a map x -> W x + b.

Rules ask them again on other numbers: positive parts of the weights, absolute inputs, none of the
bias. Convolutions, dense layers and products with a constant matrix are one thing to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from assay.models.networks.operations.operation import Operation

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(input, weight, bias) -> output; without a bias where it is None."""


@final
@dataclass(frozen=True, eq=False)
class LinearMap:
    """z = W x + b.

    Settings:
        apply: the map for any input, weight and bias.
        x: the operand that carries signal.
        weight, bias: constants; the bias of a convolution has a number for each channel.
        channels: the dimension of z that the bias counts.
    """

    apply: Apply
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    channels: int

    def value(self) -> Tensor:
        """W x + b, with its slope."""
        return self.apply(self.x, self.weight, self.bias)

    def spread_bias(self, z: Tensor) -> Tensor | None:
        """The bias in a shape that can be added to z."""
        if self.bias is None:
            return None
        if self.channels == -1:
            return self.bias
        return self.bias.view(-1, *[1] * (z.dim() - 2))

    def scaled(self, scale: Tensor, shift: Tensor) -> LinearMap:
        """The map followed by z -> scale z + shift, both with a number for each channel."""
        bias = self.bias
        weight = self.weight * self._along_outputs(scale)
        merged = shift if bias is None else bias * scale + shift
        return replace(self, weight=weight, bias=merged)

    def _along_outputs(self, scale: Tensor) -> Tensor:
        # The outputs are the first dimension of a weight; the second of a transposed convolution's,
        # the last of a matrix on the right.
        place = self.outputs_dimension
        shape = [1] * self.weight.dim()
        shape[place] = -1
        return scale.view(shape)

    outputs_dimension: int = 0
    can_be_merged: bool = True
    """Whether a scale for each channel can be taken into the weights."""


def linear_map(operation: Operation) -> LinearMap | None:
    """A convolution or dense operation as a linear map; None for what is not one."""
    make = _MAPS.get(operation.name)
    if make is None and operation.name.startswith("conv"):
        make = _convolution
    return None if make is None else make(operation)


def _linear(operation: Operation) -> LinearMap | None:
    x, weight = operation.argument(0, "input"), operation.argument(1, "weight")
    bias = operation.argument(2, "bias")
    if not operation.carries(x) or operation.carries(weight):
        return None
    return LinearMap(torch.nn.functional.linear, x, weight, bias, -1 if x.dim() != 2 else 1)


def _convolution(operation: Operation) -> LinearMap | None:
    x, weight = operation.argument(0, "input"), operation.argument(1, "weight")
    bias = operation.argument(2, "bias")
    if not operation.carries(x) or operation.carries(weight):
        return None
    rest = operation.args[3:]
    named = {
        name: value
        for name, value in operation.kwargs.items()
        if name not in ("input", "weight", "bias")
    }
    call = operation.call

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolved: Tensor = call(x, weight, bias, *rest, **named)
        return convolved

    transposed = "transpose" in operation.name
    groups = operation.argument(6, "groups", 1)
    # The outputs of a grouped transposed convolution are in no one dimension of its weight.
    merges = not transposed or groups == 1
    return LinearMap(apply, x, weight, bias, 1, int(transposed), merges)


def _product(operation: Operation) -> LinearMap | None:
    first, second = operation.argument(0, "input"), operation.argument(1, "other")
    second = operation.argument(1, "mat2", second) if second is None else second
    call = operation.call
    # The operator's reflected form has its operands swapped: `second @ first` is what is meant.
    if operation.name == "rmatmul":
        first, second, call = second, first, torch.matmul
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return None
    if operation.carries(first):
        return LinearMap(_with_bias(call), first, second, None, -1, -1, False)

    def from_right(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = call(weight, x)
        return product if bias is None else product + bias

    return LinearMap(from_right, second, first, None, -1, -1, False)


def _with_bias(call: Callable[..., Any]) -> Apply:
    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = call(x, weight)
        return product if bias is None else product + bias

    return apply


def _added(operation: Operation) -> LinearMap | None:
    """beta b + alpha (x W): GPT-2's Conv1D is written so."""
    bias, x, weight = operation.args[:3]
    beta, alpha = operation.kwargs.get("beta", 1), operation.kwargs.get("alpha", 1)
    if not operation.carries(x) or operation.carries(weight) or operation.carries(bias):
        return None

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = alpha * torch.matmul(x, weight)
        return product if bias is None else product + bias

    return LinearMap(apply, x, weight, beta * bias, -1, -1, False)


def _einsum(operation: Operation) -> LinearMap | None:
    """One operand with signal; what the others make is not one weight, and so not split by sign."""
    equation, *operands = operation.args
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if len(operands) != 2:
        return None
    first, second = operands
    if operation.carries(first):
        return LinearMap(
            _with_bias(lambda x, weight: torch.einsum(equation, x, weight)),
            first, second, None, -1, -1, False,
        )  # fmt: skip
    return LinearMap(
        _with_bias(lambda x, weight: torch.einsum(equation, weight, x)),
        second, first, None, -1, -1, False,
    )  # fmt: skip


_MAPS: dict[str, Callable[[Operation], LinearMap | None]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "rmatmul"), _product),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added),
    "einsum": _einsum,
}


def batch_norm_map(operation: Operation) -> tuple[Tensor, Tensor] | None:
    """Scale and shift (channels,) of a batch norm in evaluation mode; None for any other.

    `torch.batch_norm` takes weight and bias before the statistics, `F.batch_norm` behind them.
    """
    names = ("running_mean", "running_var", "weight", "bias")
    if operation.call is torch.batch_norm:
        names = ("weight", "bias", "running_mean", "running_var")
    operands = {name: operation.argument(place + 1, name) for place, name in enumerate(names)}
    mean, variance = operands["running_mean"], operands["running_var"]
    # By statistics of the batch it is no map of one row: each would influence all others.
    if operation.argument(5, "training", False) or mean is None or variance is None:
        return None
    scale = torch.rsqrt(variance + operation.argument(7, "eps", 1e-5))
    if operands["weight"] is not None:
        scale = scale * operands["weight"]
    shift = -mean * scale
    if operands["bias"] is not None:
        shift = shift + operands["bias"]
    return scale, shift
