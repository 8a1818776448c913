"""The account of relevance: what came in, what arrived, and what was absorbed on the way.

An operation y = f(x) whose relevance is y g behind and x g' before it has absorbed the difference:
a bias its share, a stabiliser, a softmax the slope of its own normalisation. Each is a product of the
signal g with numbers that are known in the forward, the `lost` ones: absorbed = sum g lost.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from assay.models.networks.operations.pulled import pulled


@final
class Account:
    """What was absorbed, by target and operation, added up over all inputs."""

    def __init__(self) -> None:
        self.absorbed: dict[tuple[int, str], float] = defaultdict(float)
        # The number of the target whose relevance is on its way.
        self.target = 0

    def metered(self, name: str, value: Tensor, lost: Tensor) -> Tensor:
        """The same value, behind which sum g lost is written down."""
        return pulled(value, value, lambda cotangent: self.passed(name, cotangent, lost))

    def passed(self, name: str, cotangent: Tensor, lost: Tensor) -> Tensor:
        """Writes down sum g lost, and gives g as it came."""
        self._add(name, cotangent * lost)
        return cotangent

    def passed_on(self, name: str, signal: Tensor, own: Tensor | None, step: Tensor) -> Tensor:
        """Writes down what is lost of the signal behind an operation, and gives it as it came.

        Sums s that relevance is divided by are the inputs' part, `own` (a bias) and a stabiliser's
        `step`: of the quotient q = R / s, `signal` here, the last two are handed to nobody.
        """
        # One number for all needs no product of the size of the signal.
        self._add(name, signal * step if step.dim() else signal.sum() * step)
        if own is not None:
            # A bias counts the same at every place: what it takes is a sum over places first.
            places = signal.sum_to_size(own.shape) if own.dim() else signal.sum()
            self._add(name, places.to(torch.float64) * own)
        return signal

    def _add(self, name: str, products: Tensor) -> None:
        # Row by row in the tensor's own precision, whose rounding the products have already.
        rows = products.flatten(1).sum(1) if products.dim() > 1 else products
        total = float(rows.sum(dtype=torch.float64))
        if not math.isfinite(total):
            # What a mask has set to minus infinity comes to nothing.
            finite = torch.where(torch.isfinite(products), products, 0.0)
            total = float(finite.sum(dtype=torch.float64))
        self.absorbed[self.target, name] += total

    def take_back(self, absorbed: Mapping[tuple[int, str], float]) -> None:
        """The account as it was, where a backward has failed."""
        self.absorbed.clear()
        self.absorbed.update(absorbed)

    def report(self, target: int, outgoing: Tensor, incoming: Tensor) -> Counter[Any]:
        """Relevance at the output (n,) and at the inputs (n,), and what became of the difference.

        `rounding` is what may be left unaccounted: a unit in the last place of what went through the
        account, which can be many times the output where relevance of both signs grows. A counter,
        since the reports of shards add up.
        """
        absorbed = {
            name: value
            for (number, name), value in sorted(self.absorbed.items())
            if value and number == target
        }
        # Over all inputs: absorbed relevance is not kept by input, which would take a row for each.
        out, arrived = float(outgoing.sum()), float(incoming.sum())
        # Absolute values: relevance of both signs is rounded at its own size, not at its sum's.
        through = abs(out) + abs(arrived) + sum(map(abs, absorbed.values()))
        return Counter(
            {
                "output": out,
                "input": arrived,
                "absorbed": Counter(absorbed),
                "unaccounted": out - arrived - sum(absorbed.values()),
                "rounding": torch.finfo(incoming.dtype).eps * through,
            }
        )
