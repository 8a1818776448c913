"""An operation's value with a slope of its own.

Autograd does the rest: a rule is a value and what becomes of the cotangent on its way back. The
product of a tensor and the slope that arrives at it is then its relevance, its contribution, its
guided signal, whatever the rules make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor


@final
class _Pulled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, carrier: Tensor, value: list[Tensor], pull: Callable[[Tensor], Tensor]
    ) -> Any:
        ctx.pull = pull
        return value[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        # The cotangent is of the value; what goes on is that of the carrier.
        return ctx.pull(cotangents[0]), None, None


def pulled(carrier: Tensor, value: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
    """`value`, behind which the cotangent g goes on to `carrier` as `pull(g)`.

    `carrier` has the value's shape; its own numbers do not matter.
    """
    # In a list the value is no operand: what comes out may be written to, as any other tensor.
    given: Tensor = _Pulled.apply(carrier, [value.detach()], pull)  # type: ignore[no-untyped-call]
    return given


def scaled(carrier: Tensor, value: Tensor, factor: Tensor) -> Tensor:
    """`value`, behind which the cotangent goes on to `carrier`, times a constant factor."""
    factor = factor.detach()
    return pulled(carrier, value, lambda cotangent: cotangent * factor)
