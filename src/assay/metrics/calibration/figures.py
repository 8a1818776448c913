"""Calibration of a model: figures of its probabilities, with intervals.

Expected calibration error (Naeini, Cooper and Hauskrecht 2015; of classes Guo et al. 2017), adaptive
calibration error in bins of equal mass (Nguyen and O'Connor 2015), Brier score (1950) and log loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError, SettingError
from assay.metrics.calibration.reliability import Reliability, reliability
from assay.numerics import statistics
from assay.numerics.studentised import unseen_reach

Floats = NDArray[np.float64]

_LEAST = 1e-300  # a probability whose logarithm is still a number
_SUM = 1e-3  # that probabilities may miss in adding up to 1
_UNSEEN = 0.25  # of an answer that is wrong, in the interval of the log loss


@final
@dataclass(frozen=True)
class Measured:
    """A figure and how well it is known.

    Fields:
        value: of these answers.
        interval: of the figure for all answers of the model, 95 %; NaN of fewer than 8 answers.
        corrected: without what chance adds; None where chance adds nothing.
    """

    value: float
    interval: tuple[float, float]
    corrected: float | None = None

    def __repr__(self) -> str:
        low, high = self.interval
        also = "" if self.corrected is None else f", without chance {self.corrected:.3g}"
        found = statistics.bracket(low, high, "{:.3g}".format)
        if not found:
            also += f" ({statistics.TOO_FEW})"
        return f"{self.value:.3g}{found}{also}"


@final
@dataclass(frozen=True, eq=False)
class CalibrationFigures:
    """How far a model's probabilities are from how often it is right.

    Fields:
        n: answers.
        accuracy: the share that is right.
        reliability, adaptive: in bins of equal width and of equal mass.
        ece, mce, ace: the expected, the largest and the adaptive calibration error.
        brier: sum over classes of (p - y)^2, 0 to 2; of the positive class alone 0 to 1.
        log_loss: -log p of the label.
    """

    n: int
    accuracy: Measured
    reliability: Reliability
    adaptive: Reliability
    ece: Measured
    mce: Measured
    ace: Measured
    brier: Measured
    log_loss: Measured


def calibration(
    outputs: object,
    labels: object,
    *,
    kind: Literal["probabilities", "logits"],
    of: Literal["predicted", "positive"] = "predicted",
    bins: int = 15,
) -> CalibrationFigures:
    """Figures of a model's calibration.

    Settings:
        outputs: of the model, (n, classes); one column is the probability of the second of two
            classes.
        labels: the true class of each, (n,).
        kind: what the outputs are; it is never guessed from their range.
        of: whose confidence is meant: that of the predicted class, or, of two classes, that of the
            second one, which is then "right" where it is the label; the Brier score is then
            (p - y)^2, 0 to 1.
        bins: of the reliability curve.

    Bins are (low, high], the first one with its end. The calibration errors of samples are larger
    than those of the model; their corrected values take that off, and the intervals are about the
    model's. Errors: InputError for arrays that do not fit or probabilities that are none,
    SettingError for settings out of range.

    >>> import numpy as np
    >>> p = np.array([0.25, 0.25, 0.55, 0.75, 0.75])
    >>> y = np.array([0, 0, 1, 1, 1])
    >>> made = calibration(p, y, kind="probabilities", of="positive", bins=2)
    >>> round(made.ece.value, 9), round(made.log_loss.value, 6)
    (0.29, 0.349713)
    """
    named = kind in ("probabilities", "logits") and of in ("predicted", "positive")
    if not named or bins < 1:
        raise SettingError(
            expected=(
                "kind 'probabilities' or 'logits', of 'predicted' or 'positive', and at least one bin"
            ),
            got=f"kind={kind!r}, of={of!r}, bins={bins}",
            advice="Say what the outputs are: calibration(outputs, labels, kind='logits').",
        )
    z, y = read_answers(outputs, labels, kind)
    p = _softmax(z) if kind == "logits" else _checked_probabilities(z)
    rows = np.arange(len(y))
    truth = np.zeros_like(p)
    truth[rows, y] = 1
    # A label of probability 0 would make the mean infinite, whatever the other answers are.
    loss = -np.log(np.maximum(p[rows, y], _LEAST))
    # Of the class that would most probably have been the label of an answer that is wrong.
    wrong = -np.log(np.maximum(np.sort(p, axis=1)[:, -2], _LEAST))
    squares = ((p - truth) ** 2).sum(1)
    confidence = p.max(1)
    # Of equal probabilities the first class is the predicted one, as argmax has it.
    right = (p.argmax(1) == y).astype(float)
    correct = right
    if of == "positive":
        _check_two_classes(p)
        confidence = p[:, 1]
        correct = (y == 1).astype(float)
        # The squares of both classes are the same number: half their sum is that of one class.
        squares = squares / 2
    curves = {way: reliability(confidence, correct, bins, way) for way in _WAYS}  # type: ignore[arg-type]
    width, mass = curves["width"], curves["mass"]
    # Of the predicted class, also where the curve is about the positive one.
    hits = float(right.sum())
    least, most = loss_intervals(loss[:, None], wrong[:, None])[0]
    return CalibrationFigures(
        n=len(y),
        accuracy=Measured(float(right.mean()), _enough(statistics.wilson(hits, len(y)), len(y))),
        reliability=width,
        adaptive=mass,
        ece=_around(width),
        mce=Measured(width.largest, _enough(width.largest_interval, len(y))),
        ace=_around(mass),
        brier=Measured(float(squares.mean()), _interval(squares)),
        log_loss=Measured(float(loss.mean()), (float(least), float(most))),
    )


_WAYS = ("width", "mass")


def _around(curve: Reliability) -> Measured:
    """A calibration error, with its corrected value and the interval of the model's own."""
    answers = int(curve.count.sum())
    return Measured(curve.error, _enough(curve.error_interval, answers), curve.corrected)


def _enough(interval: tuple[float, float], answers: int) -> tuple[float, float]:
    """The interval, where there are enough answers for one."""
    if answers < statistics.FEWEST:
        return math.nan, math.nan
    return interval


def _interval(column: Floats) -> tuple[float, float]:
    low, high = statistics.interval(column)
    return float(low), float(high)


def loss_intervals(loss: Floats, wrong: Floats, resamples: int = 9999) -> Floats:
    """The 95 % interval of the mean of each column of losses (n, k): (k, 2); `wrong` (n, k) is what
    each would be of a wrong answer.

    Of a model that is mostly sure few answers hold the large losses, which make most of the mean: the
    upper end is at least Student's with a quarter of an answer more that is wrong (by simulation,
    `docs/studies/intervals.md`).
    """
    bounds = statistics.intervals(loss, resamples=resamples)
    reach = unseen_reach(loss, np.median(wrong, axis=0), _UNSEEN, 0.95)
    # NaN, of fewer than 8 answers, stays.
    bounds[:, 1] = np.maximum(bounds[:, 1], loss.mean(axis=0) + reach)
    return bounds


def read_answers(
    outputs: object, labels: object, kind: Literal["probabilities", "logits"]
) -> tuple[Floats, NDArray[np.int64]]:
    """Outputs (n, classes), float64, and labels (n,)."""
    z = _array(outputs, "outputs")
    y = _array(labels, "labels")
    if z.ndim == 2 and z.shape[1] == 1:
        z = z[:, 0]
    if z.ndim == 1:
        # The probability, or the logit, of the second of two classes.
        first = 1 - z if kind == "probabilities" else np.zeros_like(z)
        z = np.stack([first, z], axis=1)
    fits = z.ndim == 2 and y.ndim == 1 and len(z) == len(y) and len(y) > 0
    if not fits or not bool(np.isfinite(z).all()):
        raise InputError(
            expected="finite outputs (n, classes) and a label for each of them",
            got=f"outputs of shape {z.shape} and labels of shape {y.shape}",
            advice="Hand over what the model gives for n inputs, and their classes by number.",
        )
    # Labels may come as floats; those between two classes are refused below.
    whole = y.astype(np.int64)
    if bool((whole != y).any()) or whole.min() < 0 or whole.max() >= z.shape[1]:
        raise InputError(
            expected=f"labels from 0 to {z.shape[1] - 1}",
            got=f"numbers from {y.min()} to {y.max()}",
            advice="Number the classes in the order of the outputs.",
        )
    return z, whole


def _check_two_classes(p: Floats) -> None:
    if p.shape[1] != 2:
        raise InputError(
            expected="two classes for the confidence of the positive one",
            got=f"{p.shape[1]}",
            advice="Leave `of` out: the predicted class is meant.",
        )


def _array(values: Any, name: str) -> Floats:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            expected=f"{name} as an array of numbers",
            got=type(values).__name__,
            advice="Hand over a tensor, an array or a list of numbers.",
        ) from error


def _softmax(z: Floats) -> Floats:
    # Less the largest logit, which changes no share: nothing overflows.
    weights = np.exp(z - z.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)  # type: ignore[no-any-return]


def _checked_probabilities(p: Floats) -> Floats:
    # Refused and never rescaled: such numbers may be no probabilities at all.
    away = float(np.abs(p.sum(1) - 1).max())
    if p.min() < 0 or away > _SUM:
        raise InputError(
            expected="probabilities: from 0 to 1, and adding up to 1 for each input",
            got=f"numbers from {p.min():.3g}, sums up to {away:.3g} away from 1",
            advice="Say kind='logits' where that is what the model gives.",
        )
    return p
