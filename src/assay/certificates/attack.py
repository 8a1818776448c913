"""Attack: a search for the added features that turn the class, which bounds a certificate from the
other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay import engine
from assay.certificates.noise import Integers, Masks
from assay.certificates.radii import Side
from assay.certificates.selections import selected
from assay.certificates.votes import _classes
from assay.errors import InputError, SettingError
from assay.numerics import rng
from assay.question.question import Question

_BLOCK = 1024  # masks asked at once


@final
@dataclass(frozen=True)
class Counterexample:
    """The smallest change found that flips the class: adding (or removing) the features `flipped`
    gives class `other`.

    `size` is None where nothing was found. `radius` bounds the true radius from above: size - 1, or
    all the rest.
    """

    side: Side
    size: int | None
    flipped: tuple[int, ...]
    selected: int
    other: int | None
    room: int
    evaluations: int

    @property
    def radius(self) -> int:
        """No radius above this one is true; -1 where the whole itself has another class than the
        selection.
        """
        return self.room if self.size is None else self.size - 1


@final
@dataclass(frozen=True)
class Attack:
    """The smallest addition (or removal) found that flips the class: greedy by margin, random
    orders, then pruned.

    An upper bound beside the lower bound of a certificate. `restarts` random orders, their prefixes
    tried from short to long; `reach` limits the greedy search to so many steps. Cost: at most reach
    * m rows for the greedy part and restarts * m for the random one, m the unselected features.

    >>> question = Question(lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5))
    >>> (found,) = Attack().search(question, torch.arange(5) == 0)
    >>> found.size, found.flipped, found.radius
    (2, (1, 3), 1)
    """

    side: Side = "incremental"
    restarts: int = 16
    reach: int | None = None

    def __post_init__(self) -> None:
        if (
            self.side not in ("incremental", "decremental")
            or self.restarts < 0
            or (self.reach or 0) < 0
        ):
            raise SettingError(
                expected="side 'incremental' or 'decremental' and counts from 0 on",
                got=f"side={self.side!r}, restarts={self.restarts}, reach={self.reach}",
                advice="",
            )

    def search(
        self, question: Question, selection: Any, *, seed: int = 0
    ) -> tuple[Counterexample, ...]:
        """One counterexample, or none found, per input."""
        masks = selected(selection, question).numpy()
        order = rng.shared(seed, "attack orders").random((self.restarts, question.partition.count))
        question.part(0, 1).fix_target()
        return tuple(
            self._one(question.part(row, row + 1), mask, order) for row, mask in enumerate(masks)
        )

    def _one(self, question: Question, mask: Masks, order: NDArray[np.float64]) -> Counterexample:
        free = np.flatnonzero(~mask)
        start = mask if self.side == "incremental" else np.ones_like(mask)
        with engine.tally() as spent:
            before = int(_classes(question, mask[None])[0][0])
            asked = _Flips(question, start, before)
            found = asked.first([()]) or self._greedy(asked, free)
            ranked = free[order[:, free].argsort(axis=1)].tolist()
            most = len(free) if found is None else len(found[0]) - 1
            found = (
                asked.first([tuple(line[:size]) for size in range(1, most + 1) for line in ranked])
                or found
            )
            while found and (
                less := asked.first([tuple(set(found[0]) - {one}) for one in found[0]])
            ):
                found = less
        flipped, other = found or ((), None)
        size = None if found is None else len(flipped)
        return Counterexample(
            self.side, size, tuple(sorted(flipped)), before, other, len(free), spent.forwards
        )

    def _greedy(self, asked: _Flips, free: Integers) -> tuple[tuple[int, ...], int] | None:
        """Flips one feature after the other, each time the one that leaves the smallest margin."""
        flipped: tuple[int, ...] = ()
        for _ in range(len(free) if self.reach is None else min(self.reach, len(free))):
            tries = [(*flipped, one) for one in free.tolist() if one not in flipped]
            margins, classes = asked.ask(tries)
            if (hit := np.flatnonzero(classes != asked.before)).size:
                return tries[hit[0]], int(classes[hit[0]])
            flipped = tries[int(margins.argmin())]
        return None


@final
@dataclass(frozen=True, eq=False)
class _Flips:
    """A start mask of one input, asked again with some features flipped; `before` is the class that
    should stay.
    """

    question: Question
    start: Masks
    before: int

    def ask(self, flips: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.float64], Integers]:
        """The margin of the class and the class found, (len(flips),) each."""
        masks = np.tile(self.start, (len(flips), 1))
        for row, flipped in enumerate(flips):
            masks[row, list(flipped)] ^= True
        outputs = self.question.outputs(torch.from_numpy(masks)).to("cpu", torch.float64)[0].numpy()
        rivals = np.delete(outputs, self.before, axis=1).max(axis=1)
        return outputs[:, self.before] - rivals, outputs.argmax(axis=1)

    def first(self, flips: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], int] | None:
        """The first of some changes that flips the class, and the class it gives."""
        for start in range(0, len(flips), _BLOCK):
            block = flips[start : start + _BLOCK]
            classes = self.ask(block)[1]
            if (hit := np.flatnonzero(classes != self.before)).size:
                return block[hit[0]], int(classes[hit[0]])
        return None
