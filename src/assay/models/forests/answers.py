"""What a model answers with, out of the margin of its trees: scores, probabilities, numbers behind a
link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from assay.models.forests.forest import Floats

IDENTITY = "identity"


@final
@dataclass(frozen=True)
class Answers:
    """The outputs of a model as a function of the margin of its trees.

    Settings:
        link: its name; "identity" where outputs are multiples of the margin.
        factor: what the margin is multiplied by before the link.
        shift: what is added after it.
        both: whether one margin makes two columns, 1 - p and p.
        columns: those of the outputs that the model answers with; None for all.

    >>> Answers("logit", both=True)(np.array([[0.0]]))
    array([[0.5, 0.5]])
    """

    link: str = IDENTITY
    factor: float = 1.0
    shift: float = 0.0
    both: bool = False
    columns: tuple[int, ...] | None = None

    @property
    def is_linear(self) -> bool:
        """Whether credit for the margin is credit for the outputs, times `factor`."""
        return self.link == IDENTITY and not self.both

    def __call__(self, margin: Floats) -> Floats:
        """(rows, columns) the outputs for margins (rows, outputs)."""
        # A classifier of two classes has one margin and two probabilities.
        outputs = self._linked(self.factor * margin) + self.shift
        if self.both:
            outputs = np.hstack([1 - outputs, outputs])
        if self.columns is None:
            return outputs
        return outputs[:, list(self.columns)]

    def _linked(self, margin: Floats) -> Floats:
        known = _LINKS[self.link]
        result: Floats = known(margin)
        return result


def _identity(margin: Floats) -> Floats:
    return margin


def _sigmoid(margin: Floats) -> Floats:
    # 1 / (1 + exp(-m)) overflows where m is far below 0; its logarithm does not.
    return np.asarray(np.exp(-np.logaddexp(0.0, -margin)))


def _softmax(margin: Floats) -> Floats:
    # The largest is 0 before the exponential: nothing overflows.
    shifted = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _step(margin: Floats) -> Floats:
    return (margin > 0).astype(np.float64)


def _softplus(margin: Floats) -> Floats:
    return np.asarray(np.logaddexp(0.0, margin))


def _signed_square(margin: Floats) -> Floats:
    return margin * np.abs(margin)


def _power_of_two(margin: Floats) -> Floats:
    return np.asarray(-np.exp2(margin))


_LINKS: dict[str, Any] = {
    IDENTITY: _identity,
    "logit": _sigmoid,
    "softmax": _softmax,
    "exp": np.exp,
    "log": np.log,
    "step": _step,
    "softplus": _softplus,
    "signed square": _signed_square,
    "power of two": _power_of_two,
}
