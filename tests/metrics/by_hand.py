"""Attributions made by hand, and what tests of metrics ask them about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import assay
from assay.answers.attribution import Attribution
from toys import randn, tanh_net

DOUBLE = torch.float64


def rows(*numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def answer(values: Tensor, question: assay.Question, kind: str = "contribution") -> Attribution:
    partition = question.partition
    values = values.reshape(question.n, partition.count).to(question.x.dtype)
    return Attribution(
        values, question.base, question.prediction, partition.names, partition.shape, kind
    )


def linear(w: Tensor, b: float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1) @ w + b


def additive(c: Tensor, **more: Any) -> assay.Question:
    """A question whose features add c (n, features) to the target, one by one; nothing is 0."""
    return assay.Question(lambda x: x.flatten(1).sum(1), c, **more)


def net_question(n: int = 5, features: int = 6, **more: Any) -> tuple[Any, assay.Question]:
    """A small network, and a question about some inputs of it."""
    net = tanh_net(inputs=features).double()
    x = randn(n, features, seed=4, dtype=DOUBLE)
    return net, assay.Question(net, x, **{"target": 0, "removal": assay.Baseline(0.2), **more})
