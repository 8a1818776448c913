"""The account of relevance: what came in, what arrived, and what was absorbed on the way.

An operation y = f(x) whose relevance is y g behind and x g' before it has absorbed the difference:
a bias its share, a stabiliser, a softmax the slope of its own normalisation. Each is a product of the
signal g with numbers that are known in the forward, the `lost` ones: absorbed = sum g lost.
"""

from __future__ import annotations

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
        # What a mask has set to minus infinity comes to nothing.
        lost = torch.where(torch.isfinite(lost), lost, 0.0).expand_as(cotangent)
        self.absorbed[self.target, name] += float((cotangent * lost).sum(dtype=torch.float64))
        return cotangent

    def take_back(self, absorbed: Mapping[tuple[int, str], float]) -> None:
        """The account as it was, where a backward has failed."""
        self.absorbed.clear()
        self.absorbed.update(absorbed)

    def report(self, target: int, outgoing: Tensor, incoming: Tensor) -> Counter[Any]:
        """Relevance at the output (n,) and at the inputs (n,), and what became of the difference.

        A counter, since the reports of shards add up.
        """
        absorbed = {
            name: value
            for (number, name), value in sorted(self.absorbed.items())
            if value and number == target
        }
        out, arrived = float(outgoing.sum()), float(incoming.sum())
        return Counter(
            {
                "output": out,
                "input": arrived,
                "absorbed": Counter(absorbed),
                "unaccounted": out - arrived - sum(absorbed.values()),
            }
        )
