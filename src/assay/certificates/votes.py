"""Votes of a model over the masks that a noise design draws: exact counts, per input and class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.certificates.noise import Integers, Masks
from assay.errors import InputError, TargetError
from assay.question.question import Question


def _classes(question: Question, masks: Masks) -> tuple[Integers, int]:
    """The class (m,) of the first input of a question under each mask, and the number of classes."""
    ballots = cast_votes(question, torch.from_numpy(masks)[None], scale=1, tolerance=0.0)
    return ballots.draws[0], ballots.classes


def _as_votes(classes: Integers) -> Votes:
    return Votes(tuple(classes.tolist()))


FINE = 1 << 20  # probabilities count in units of 2^-20

ROWS = 4096  # masked rows per request: what is held at once does not grow with draws or inputs


@final
@dataclass(frozen=True)
class Votes:
    """What the base model said in each draw: its class, or the scores of all classes in units of
    1/scale.

    `unsure` are the draws whose two largest outputs are so close that rounding could swap them;
    `closest` is the smallest relative distance seen.
    """

    draws: tuple[int, ...] | tuple[tuple[int, ...], ...]
    unsure: tuple[int, ...] = ()
    closest: float | None = None

    def table(self, classes: int) -> Integers:
        """The scores (draws, classes)."""
        raw = np.asarray(self.draws, dtype=np.int64)
        return raw if raw.ndim == 2 else np.eye(classes, dtype=np.int64)[raw]

    def doubtful(self) -> NDArray[np.bool_]:
        """Which draws are unsure: (draws,)."""
        found = np.zeros(len(self.draws), dtype=bool)
        found[list(self.unsure)] = True
        return found


def _votes(draws: Sequence[Any], unsure: Sequence[int], closest: float | None) -> Votes:
    scored = len(draws) > 0 and isinstance(draws[0], list)
    return Votes(tuple(map(tuple, draws)) if scored else tuple(draws), tuple(unsure), closest)


@final
@dataclass(frozen=True, eq=False)
class Ballots:
    """The votes of several inputs: draws (n, m) classes or (n, m, classes) scores, and how close
    each draw was.
    """

    draws: Integers
    distance: NDArray[np.float64]
    classes: int
    tolerance: float

    def votes(self, row: int, start: int, stop: int | None) -> Votes:
        """Some draws of one input."""
        draws, distance = self.draws[row, start:stop].tolist(), self.distance[row, start:stop]
        unsure = np.flatnonzero(distance < self.tolerance).tolist() if self.draws.ndim == 2 else ()
        return _votes(draws, unsure, float(distance.min()))


def cast_votes(question: Question, masks: Tensor, scale: int, tolerance: float) -> Ballots:
    """Asks the base model under masks (n, m, features), a slice at a time, and keeps whole numbers
    alone.
    """
    step, parts = max(1, ROWS // question.n), []
    for start in range(0, masks.shape[1], step):
        parts.append(
            _count(question.outputs(masks[:, start : start + step]), scale, question.model.name)
        )
    draws, distance = (
        np.concatenate(each, axis=1) for each in zip(*((part[0], part[1]) for part in parts))
    )
    return Ballots(draws, distance, parts[0][2], tolerance)


def _count(outputs: Tensor, scale: int, who: str) -> tuple[Integers, NDArray[np.float64], int]:
    classes = outputs.shape[-1]
    if classes < 2:
        raise TargetError(
            expected=(
                "scores of at least two classes, since a certificate is about a class that stays"
            ),
            got=f"one output from {who}",
            advice=(
                "Let a binary classifier return two columns (1 - p, p), and cut a "
                "regression into ranges."
            ),
        )
    best = outputs.to(torch.float64).topk(2, dim=-1).values
    distance = ((best[..., 0] - best[..., 1]) / best.abs().amax(-1).clamp_min(1e-300)).cpu().numpy()
    if scale == 1:
        return outputs.argmax(-1).cpu().numpy(), distance, classes
    if float(outputs.min()) < -1e-6 or float(outputs.max()) > 1 + 1e-6:
        raise InputError(
            expected="probabilities in [0, 1] to smooth",
            got=(f"outputs of {who} from {float(outputs.min()):.3g} to {float(outputs.max()):.3g}"),
            advice="Let the model end in a softmax, or smooth its votes: output='votes'.",
        )
    units = (
        (outputs.to(torch.float64) * scale).round().clamp(0, scale).to(torch.int64).cpu().numpy()
    )
    return units, distance, classes
