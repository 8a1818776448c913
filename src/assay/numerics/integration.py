"""Quadrature rules on [0, 1]: nodes and weights of a line integral."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from assay.errors import InputError

Rule: TypeAlias = Literal["gauss_legendre", "left", "right", "middle", "trapezoid"]


@cache
def quadrature(rule: Rule, steps: int) -> tuple[Tensor, Tensor]:
    """Nodes in [0, 1] and weights that sum to one, float64: (steps,), (steps,)."""
    if steps < 2:
        raise InputError(
            expected="at least 2 steps",
            got=steps,
            advice="",
        )
    even = np.arange(steps)
    weights = np.full(steps, 1.0 / steps)
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = (nodes + 1) / 2, weights / weights.sum()
    elif rule == "left":
        nodes = even / steps
    elif rule == "right":
        nodes = (even + 1) / steps
    elif rule == "middle":
        nodes = (even + 0.5) / steps
    elif rule == "trapezoid":
        nodes, weights = even / (steps - 1), np.full(steps, 1.0 / (steps - 1))
        weights[[0, -1]] /= 2
    else:
        raise InputError(
            expected=f"one of the rules {', '.join(get_args(Rule))}",
            got=repr(rule),
            advice="",
        )
    return torch.from_numpy(nodes), torch.from_numpy(weights)
