"""Quadrature rules on [0, 1]: nodes and weights of a line integral.

Gauss-Legendre nodes (by NumPy, many by SciPy) integrate polynomials up to the degree 2 steps - 1 exactly; the
others are the Riemann sums and the trapezoid rule at equal steps. To read on: Davis and Rabinowitz,
"Methods of numerical integration" (1984), chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import InputError

Floats: TypeAlias = NDArray[np.float64]

Rule: TypeAlias = Literal["gauss_legendre", "left", "right", "middle", "trapezoid"]

MOST_STEPS = 1 << 20  # equal steps

MOST_NODES = 1 << 13  # of Gauss and Legendre, whose cost grows with their square: some seconds

_FEW = 256  # nodes up to which NumPy's are found as fast


@cache
def quadrature(rule: Rule, steps: int) -> tuple[Tensor, Tensor]:
    """Nodes in [0, 1] and weights that sum to one, float64: (steps,), (steps,).

    >>> nodes, weights = quadrature("trapezoid", 3)
    >>> nodes.tolist(), weights.tolist()
    ([0.0, 0.5, 1.0], [0.25, 0.5, 0.25])
    """
    check_quadrature(rule, steps)
    nodes, weights = _RULES[rule](steps)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def check_quadrature(rule: Rule, steps: int) -> None:
    """Refuses rules and steps that are none, without computing any node."""
    if steps < 2:
        raise InputError(
            expected="at least 2 steps",
            got=steps,
            advice="Papers take 20 to 300: set steps=50.",
        )
    if rule not in get_args(Rule):
        raise InputError(
            expected=f"one of the rules {', '.join(get_args(Rule))}",
            got=repr(rule),
            advice="Set rule='gauss_legendre', the most exact of them on a smooth path.",
        )
    most = MOST_NODES if rule == "gauss_legendre" else MOST_STEPS
    if steps > most:
        raise InputError(
            expected=f"at most {most} steps of the rule {rule!r}",
            got=steps,
            advice="Papers take 20 to 300: set steps=50.",
        )


def _gauss_legendre(steps: int) -> tuple[Floats, Floats]:
    if steps <= _FEW:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
    else:
        from scipy.special import roots_legendre

        # The same up to rounding, from a tridiagonal matrix in the place of a dense one.
        nodes, weights = roots_legendre(steps)
    # From [-1, 1] to [0, 1].
    return (nodes + 1) / 2, weights / weights.sum()


def _left(steps: int) -> tuple[Floats, Floats]:
    return np.arange(steps) / steps, _equal(steps)


def _right(steps: int) -> tuple[Floats, Floats]:
    return (np.arange(steps) + 1) / steps, _equal(steps)


def _middle(steps: int) -> tuple[Floats, Floats]:
    return (np.arange(steps) + 0.5) / steps, _equal(steps)


def _trapezoid(steps: int) -> tuple[Floats, Floats]:
    weights = np.full(steps, 1.0 / (steps - 1))
    # Both ends belong to one interval only, inner nodes to two.
    weights[[0, -1]] /= 2
    return np.arange(steps) / (steps - 1), weights


def _equal(steps: int) -> Floats:
    return np.full(steps, 1.0 / steps)


_RULES: dict[str, Callable[[int], tuple[Floats, Floats]]] = {
    "gauss_legendre": _gauss_legendre,
    "left": _left,
    "right": _right,
    "middle": _middle,
    "trapezoid": _trapezoid,
}
