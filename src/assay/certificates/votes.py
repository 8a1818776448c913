"""Votes of a model over the masks that a noise design draws: exact counts, per input and class.

Outputs become whole numbers as soon as they are there (a class, or probabilities in units of 2^-20),
so that sums over draws are exact in any order and a certificate can be counted again to the digit.
How close the two largest outputs were is kept beside them: rounding could have swapped those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.certificates.noise import Integers, Masks
from assay.errors import InputError, TargetError
from assay.numerics.pieces import pieces
from assay.question.question import Question

PROBABILITY_UNITS = 1 << 20  # a probability counts in units of 2^-20, finer than single precision

MOST_ROWS = 4096  # masked rows for each request: memory does not grow with draws or inputs

_OUTSIDE = 1e-6  # how far rounding may push a probability out of [0, 1]

_TINY = 1e-300  # keeps the relative margin of outputs that are all zero at 0, not at 0 / 0


@final
@dataclass(frozen=True)
class Votes:
    """What the base model answered in each draw: its class, or the scores of all classes.

    Scores are whole numbers in units of 1/scale. `unsure` are the draws whose two largest outputs
    are so close that rounding could swap them; `closest` is the smallest relative distance seen.
    """

    draws: tuple[int, ...] | tuple[tuple[int, ...], ...]
    unsure: tuple[int, ...] = ()  # numbers of draws
    closest: float | None = None  # relative to the larger output; None where nothing was asked

    @staticmethod
    def from_lists(draws: Sequence[Any], unsure: Sequence[int], closest: float | None) -> Votes:
        """The votes that arrays and JSON hold as lists."""
        scored = len(draws) > 0 and isinstance(draws[0], list)
        hashable = map(tuple, draws) if scored else draws
        return Votes(tuple(hashable), tuple(unsure), closest)

    def table(self, classes: int) -> Integers:
        """The scores (draws, classes)."""
        draws = np.asarray(self.draws, dtype=np.int64)
        if draws.ndim == 2:
            return draws
        # A class is one vote for itself.
        votes: Integers = np.zeros((len(draws), classes), dtype=np.int64)
        votes[np.arange(len(draws)), draws] = 1
        return votes

    def contenders(self, classes: int) -> tuple[Integers, Integers]:
        """The classes that decide, in order, and their scores (draws, contenders).

        Those that got a vote, and one that got none in the place of all such: however many classes
        a model has, what is computed from its votes is of their own size.
        """
        draws = np.asarray(self.draws, dtype=np.int64)
        if draws.ndim == 2:
            return np.arange(draws.shape[1]), draws
        voted = set(self.draws)
        # One of the first classes has no vote, where there are more classes than that.
        lacking = (label for label in range(min(classes, len(voted) + 1)) if label not in voted)
        chosen = [*voted, *islice(lacking, 1)]
        labels: Integers = np.sort(np.asarray(chosen, dtype=np.int64))
        return labels, (draws[:, None] == labels).astype(np.int64)

    def doubtful(self) -> NDArray[np.bool_]:
        """Which draws are unsure: (draws,)."""
        doubtful = np.zeros(len(self.draws), dtype=bool)
        doubtful[list(self.unsure)] = True
        return doubtful


@final
@dataclass(frozen=True, eq=False)
class Ballots:
    """The votes of several inputs under the same number of masks.

    `margins` are the distances of the two largest outputs, relative to the larger in size.
    """

    choices: Integers  # (n, m) classes, or (n, m, classes) scores
    largest: Integers  # (n, m), the class of the largest output, the lowest at a tie
    margins: NDArray[np.float64]  # (n, m)
    classes: int
    tolerance: float  # margins below it leave a draw unsure

    def votes(self, row: int, draws: slice) -> Votes:
        """Some draws of one input."""
        margins = self.margins[row, draws]
        unsure: list[int] = []
        # Scores are off by a known amount; a class is either right or wrong.
        if self.choices.ndim == 2:
            unsure = np.flatnonzero(margins < self.tolerance).tolist()
        choices = self.choices[row, draws].tolist()
        return Votes.from_lists(choices, unsure, float(margins.min()))


def cast_votes(question: Question, masks: Tensor, scale: int, tolerance: float) -> Ballots:
    """Asks the base model under masks (n, m, features), keeping whole numbers alone.

    `scale` 1 keeps the class, a larger one the probabilities in units of 1/scale. Cost: n * m rows.
    """
    name = question.model.name
    classes = 0
    choices: list[Integers] = []
    largest: list[Integers] = []
    margins: list[NDArray[np.float64]] = []
    for piece in pieces(masks.shape[1], question.n, MOST_ROWS):
        # Not rounded: the class of the model is the one of its own numbers.
        outputs = question.outputs(masks[:, piece], rounded=False)
        classes = outputs.shape[-1]
        _check_classes(classes, name)
        choices.append(_choices(outputs, scale, name))
        largest.append(outputs.argmax(-1).cpu().numpy())
        margins.append(_relative_margins(outputs))
    return Ballots(
        choices=np.concatenate(choices, axis=1),
        largest=np.concatenate(largest, axis=1),
        margins=np.concatenate(margins, axis=1),
        classes=classes,
        tolerance=tolerance,
    )


def class_votes(question: Question, masks: Masks) -> Ballots:
    """The votes of a question about one input under masks (m, features), none of them unsure."""
    one_input = torch.from_numpy(masks)[None]
    return cast_votes(question, one_input, scale=1, tolerance=0.0)


def model_classes(question: Question) -> Integers:
    """The class that the bare model gives each whole input, the lowest at a tie: (n,).

    Cost: n rows.
    """
    whole = torch.ones(1, question.partition.count, dtype=torch.bool)
    outputs = question.outputs(whole, rounded=False)[:, 0]
    classes: Integers = outputs.argmax(-1).cpu().numpy()
    return classes


def check_probabilities(outputs: Tensor, name: str) -> None:
    """Refuses outputs that are no probabilities, before they are counted as such."""
    lowest = float(outputs.min())
    highest = float(outputs.max())
    if lowest < -_OUTSIDE or highest > 1 + _OUTSIDE:
        raise InputError(
            expected="probabilities in [0, 1] to smooth",
            got=f"outputs of {name} from {lowest:.3g} to {highest:.3g}",
            advice="Let the model end in a softmax, or smooth its votes: output='votes'.",
        )


def _check_classes(classes: int, name: str) -> None:
    if classes < 2:
        raise TargetError(
            expected=(
                "scores of at least two classes, since a certificate is about a class that stays"
            ),
            got=f"one output from {name}",
            advice=(
                "Let a binary classifier return two columns (1 - p, p), and cut a "
                "regression into ranges."
            ),
        )


def _choices(outputs: Tensor, scale: int, name: str) -> Integers:
    """Classes (n, m), or scores (n, m, classes) in whole units."""
    if scale == 1:
        classes: Integers = outputs.argmax(-1).cpu().numpy()
        return classes
    check_probabilities(outputs, name)
    units = (outputs * scale).round().clamp(0, scale)
    scores: Integers = units.to(torch.int64).cpu().numpy()
    return scores


def _relative_margins(outputs: Tensor) -> NDArray[np.float64]:
    """The distance of the two largest outputs, relative to the larger in size: (n, m)."""
    best = outputs.topk(2, dim=-1).values
    size = best.abs().amax(-1).clamp_min(_TINY)
    distance = best[..., 0] - best[..., 1]
    margins: NDArray[np.float64] = (distance / size).cpu().numpy()
    return margins
