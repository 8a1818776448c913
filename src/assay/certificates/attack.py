"""An attack on a selection: a search for the fewest added (or removed) features that turn the class.

It bounds the true radius from above, where a certificate bounds it from below. Greedy by the margin
of the class, as attacks on discrete inputs are, then prefixes of random orders, then pruning: every
feature that the change does not need is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from assay import engine
from assay.certificates.noise import Integers, Masks
from assay.certificates.radii import Side
from assay.certificates.selections import selected
from assay.certificates.votes import class_votes
from assay.errors import SettingError
from assay.numerics import rng
from assay.numerics.pieces import pieces
from assay.question.question import Question
from assay.settings import Settings, checked_seed

_MASKS_AT_ONCE = 1024  # a search stops after the block in which it succeeds

Flips: TypeAlias = tuple[int, ...]
"""The features whose presence is turned over."""


@final
@dataclass(frozen=True)
class Counterexample:
    """The smallest change found that flips the class, for one input.

    Adding (or removing) the features `flipped` gives class `other`. `size` is None where nothing
    was found. `radius` bounds the true radius from above: size - 1, or all unselected features.
    """

    side: Side
    size: int | None  # features flipped, 0 where the whole has another class already
    flipped: tuple[int, ...]  # their numbers, in order
    selected: int  # the class of the selection
    other: int | None  # the class after the flips
    room: int  # unselected features
    evaluations: int  # rows asked
    spent_all: bool = False  # whether the search ended with its budget, and more might find less

    @property
    def radius(self) -> int:
        """No radius above this one is true.

        -1 where the whole itself has another class than the selection.
        """
        return self.room if self.size is None else self.size - 1


@final
@dataclass(frozen=True)
class Attack(Settings):
    """The smallest addition (or removal) found that flips the class: an upper bound of the radius.

    Greedy by margin, random orders, then pruned.

    Settings:
        side: "incremental" adds to the selection, "decremental" removes from the whole.
        restarts: how many random orders are tried, their prefixes from short to long.
        reach: the most steps of the greedy search; all unselected features where None.
        budget: the most masks that are asked about an input, over all parts of the search, at least
            2: it stops there with the smallest change found so far, and `spent_all` says so.

    Cost: at most reach * m masks for the greedy part and restarts * m for the random one, m the
    unselected features, and never more than `budget`; a mask is a row for each replacement of the
    removal. Errors: TargetError for a model with a single output; ModelError for a
    model whose rows influence each other.

    >>> question = Question(
    ...     lambda x: torch.stack([1.5 + 0 * x[:, 0], x[:, 1] + x[:, 3]], dim=1), torch.ones(1, 5)
    ... )
    >>> (found,) = Attack().search(question, torch.arange(5) == 0)
    >>> found.size, found.flipped, found.radius
    (2, (1, 3), 1)
    """

    side: Side = "incremental"
    restarts: int = 16
    reach: int | None = None
    budget: int = 1 << 16

    def __post_init__(self) -> None:
        known_side = self.side in ("incremental", "decremental")
        if not known_side or self.restarts < 0 or (self.reach or 0) < 0:
            raise SettingError(
                expected="side 'incremental' or 'decremental' and counts from 0 on",
                got=f"side={self.side!r}, restarts={self.restarts}, reach={self.reach}",
                advice="Such as Attack('decremental', restarts=16).",
            )
        if self.budget < 2:
            raise SettingError(
                expected="a budget of at least 2 masks",
                got=self.budget,
                advice="The selection and the whole are asked first: Attack(budget=65536).",
            )

    def search(
        self, question: Question, selection: Any, *, seed: int = 0
    ) -> tuple[Counterexample, ...]:
        """One counterexample, or none found, per input."""
        seed = checked_seed(seed, "Attack")
        masks = selected(selection, question).numpy()
        shape = (self.restarts, question.partition.count)
        # Ranks of all features, so that every input takes the order of those it has left.
        order = rng.shared(seed, "attack orders").random(shape)
        return tuple(
            self._counterexample(question.part(row, row + 1), mask, order)
            for row, mask in enumerate(masks)
        )

    def _counterexample(
        self, question: Question, mask: Masks, order: NDArray[np.float64]
    ) -> Counterexample:
        free = np.flatnonzero(~mask)
        # Additions start from the selection, removals from the whole input.
        start = mask if self.side == "incremental" else np.ones_like(mask)
        with engine.tally() as spent:
            label = int(class_votes(question, mask[None]).choices[0, 0])
            # One mask has been asked: the selection itself.
            game = _Flipping(question, start, label, _Purse(self.budget - 1))
            # The whole may already have another class: no feature need be removed then.
            change = game.first_change([()]) or self._greedy(game, free)
            # Random orders are tried only as far as they would be an improvement.
            longest = len(free) if change is None else len(change.flips) - 1
            # No more of them are listed than can be asked, and one that cannot.
            longest = min(longest, game.purse.left // max(1, self.restarts) + 1)
            shorter = game.first_change(_prefixes(free, order, longest))
            change = game.pruned(shorter or change)
        flips = () if change is None else change.flips
        return Counterexample(
            side=self.side,
            size=None if change is None else len(flips),
            flipped=tuple(sorted(flips)),
            selected=label,
            other=None if change is None else change.other,
            room=len(free),
            evaluations=spent.forwards,
            spent_all=game.purse.refused,
        )

    def _greedy(self, game: _Flipping, free: Integers) -> _Change | None:
        """Flips one feature after the other, each time the one that leaves the smallest margin."""
        steps = len(free) if self.reach is None else min(self.reach, len(free))
        flips: Flips = ()
        for _ in range(steps):
            # Half of the budget is for random orders, which meet what no margin leads to.
            if game.purse.left < self.budget // 2:
                game.purse.refused = True
                return None
            unflipped = [feature for feature in free.tolist() if feature not in flips]
            longer = [(*flips, feature) for feature in unflipped]
            margins, classes = game.ask(longer)
            changed = np.flatnonzero(classes != game.label)
            if changed.size:
                return _Change(longer[changed[0]], int(classes[changed[0]]))
            if len(classes) == 0:
                return None
            # Nobody turned the class: go on from the flip that came closest.
            flips = longer[int(margins.argmin())]
        return None


@final
@dataclass(frozen=True)
class _Change:
    """Flips that turn the class, and the class they give."""

    flips: Flips
    other: int


@final
class _Purse:
    """How many masks may still be asked, and whether some were refused."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.refused = False

    def buy(self, wanted: int) -> int:
        """As many of the wanted masks as are left."""
        bought = min(wanted, self.left)
        self.left -= bought
        self.refused |= bought < wanted
        return bought


@final
@dataclass(frozen=True, eq=False)
class _Flipping:
    """One input, asked at a start mask with some features flipped; `label` is the class to keep."""

    question: Question
    start: Masks
    label: int
    purse: _Purse

    def ask(self, candidates: Sequence[Flips]) -> tuple[NDArray[np.float64], Integers]:
        """The margin of the class, and the class there is, for each candidate (candidates,), or for
        as many of the first as the budget still buys.
        """
        candidates = candidates[: self.purse.buy(len(candidates))]
        if not candidates:
            return np.zeros(0), np.zeros(0, dtype=np.int64)
        masks = np.tile(self.start, (len(candidates), 1))
        for row, flips in enumerate(candidates):
            masks[row, list(flips)] ^= True
        asked = self.question.outputs(torch.from_numpy(masks), rounded=False)[0]
        outputs = asked.cpu().numpy()
        # The margin of a class is its lead over the strongest rival.
        rivals = np.delete(outputs, self.label, axis=1).max(axis=1)
        return outputs[:, self.label] - rivals, outputs.argmax(axis=1)

    def first_change(self, candidates: Sequence[Flips]) -> _Change | None:
        """The first candidate that turns the class."""
        for piece in pieces(len(candidates), 1, _MASKS_AT_ONCE):
            block = candidates[piece]
            _, classes = self.ask(block)
            changed = np.flatnonzero(classes != self.label)
            if changed.size:
                return _Change(block[changed[0]], int(classes[changed[0]]))
        return None

    def pruned(self, change: _Change | None) -> _Change | None:
        """Takes back one feature after the other, as long as the class stays turned."""
        while change is not None:
            flips = change.flips
            without_one = [tuple(set(flips) - {feature}) for feature in flips]
            shorter = self.first_change(without_one)
            # No feature can be spared: the change is minimal, though perhaps not the smallest.
            if shorter is None:
                return change
            change = shorter
        return None


def _prefixes(free: Integers, order: NDArray[np.float64], longest: int) -> list[Flips]:
    """The prefixes of random orders of the free features, from short to long."""
    ranked = free[order[:, free].argsort(axis=1)].tolist()
    # All orders at one length before the next length, so that the first success is a short one.
    return [tuple(features[:size]) for size in range(1, longest + 1) for features in ranked]
