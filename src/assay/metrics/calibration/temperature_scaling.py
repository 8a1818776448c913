"""Temperature scaling: the one number by which logits are divided (Guo et al. 2017, section 4.2).

The mean log loss of softmax(s z) is convex in s = 1 / T, and its slope is the mean of the expected
logit less that of the label. Its root is bracketed and halved, and so found to rounding: a search
that stops after some steps of a line search is nearer to where it started.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HALVINGS = 200


@final
@dataclass(frozen=True)
class FittedTemperature:
    """The temperature with the least log loss.

    Fields:
        value: T; 0 where every answer is right and the loss falls for ever, infinity where the
            logits say nothing about the labels.
        before, after: the mean log loss without and with it.
        why: what an extreme value means; empty else.
    """

    value: float
    before: float
    after: float
    why: str = ""


def temperature(logits: object, labels: object) -> FittedTemperature:
    """The temperature T with the least mean log loss of softmax(logits / T).

    Settings:
        logits: (n, classes).
        labels: the true class of each, (n,).

    Errors: InputError for arrays that do not fit.

    >>> import numpy as np
    >>> found = temperature(np.tile([4.0, 0.0], (10, 1)), np.array([0] * 8 + [1] * 2))
    >>> round(found.value, 7)                       # 4 / log(0.8 / 0.2)
    2.8853901
    """
    from assay.metrics.calibration.figures import read_answers

    z, y = read_answers(logits, labels, "logits")
    # The largest logit of each is 0: a constant does not matter to softmax.
    z = z - z.max(1, keepdims=True)
    before = _loss(z, y, 1.0)
    # The loss is convex in s = 1 / T: where it does not fall at 0, it falls nowhere.
    if _slope(z, y, 0.0) >= 0:
        why = "the logits of the labels are no larger than the mean logit"
        return FittedTemperature(math.inf, before, math.log(z.shape[1]), why)
    # Where every label has the largest logit, the loss falls for ever: no slope would say so, since
    # it is 0 in floating point before long.
    if bool((z[np.arange(len(y)), y] == 0).all()):
        # As T goes to 0 the probability is shared among equal largest logits.
        ties = np.log((z == 0).sum(1)).mean()
        return FittedTemperature(0.0, before, float(ties), "every answer is right")
    # The slope rises with s: doubling finds an end behind its root, halving then the root.
    high = 1.0
    while _slope(z, y, high) < 0:
        high *= 2
    low = 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Neighbouring floating-point numbers have nothing between them.
        if middle in (low, high):
            break
        if _slope(z, y, middle) < 0:
            low = middle
        else:
            high = middle
    return FittedTemperature(1 / high, before, _loss(z, y, high))


def _loss(z: Floats, y: NDArray[np.int64], s: float) -> float:
    scaled = s * z
    return float((np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(y)), y]).mean())


def _slope(z: Floats, y: NDArray[np.int64], s: float) -> float:
    """The derivative of the mean loss by s."""
    # Logits are at most 0, so that no exponential overflows, however large s becomes.
    weights = np.exp(s * z)
    # The logit that the model expects, less the one of the label.
    expected = (weights * z).sum(1) / weights.sum(1)
    return float((expected - z[np.arange(len(y)), y]).mean())
