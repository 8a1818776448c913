"""What a certificate claims, and how its claims follow from votes.

For a smoothed classifier a radius follows from the votes at one end: additions are counted from the
selection, removals from the whole input. Where the two radii of one class meet, no superset is left
between them, and every one keeps the class. For a classifier that was asked at every superset the
radii are read off.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from assay.certificates import radii
from assay.certificates.noise import Integers, Masks, NoiseDesign
from assay.certificates.radii import Side
from assay.certificates.votes import Votes
from assay.errors import InputError

Inequality: TypeAlias = Literal["vote-aware", "strict", "bernoulli", "enumeration"]
"""By which inequality a radius follows from the votes; "enumeration" needs none."""

_CLASSES = ("predicted", "selected")  # the claims that must be equal; the others may be exceeded


@final
@dataclass(frozen=True)
class Stability:
    """What follows from the votes at one mask: its class, how far that class holds, and whether the
    class itself is beyond doubt.
    """

    winner: int
    radius: int
    certain: bool  # neither rounding nor, under independent noise, chance decides the class


@final
@dataclass(frozen=True, eq=False)
class VoteInequality:
    """An inequality between votes over a noise design and a radius, with all that it needs.

    `free` (features,) are the features that may be flipped.
    """

    inequality: Inequality
    design: NoiseDesign
    free: Masks
    classes: int
    scale: int
    tolerance: float
    confidence: float

    @property
    def room(self) -> int:
        """How many features may be flipped."""
        return int(self.free.sum())

    def stability(self, votes: Votes, side: Side) -> Stability:
        """The class at one end, and the radius up to which flipping keeps it."""
        labels, scores = self._contenders(votes)
        if self.inequality == "bernoulli":
            return self._independent(labels, scores, votes, side)
        top = radii.winner(scores)
        unsure = votes.doubtful()
        lead = radii.leads(scores, top, self.scale, self._rounding, unsure)
        # Where rounding could move votes, the class has to lead without those votes.
        movable = self._rounding > 0 or bool(unsure.any())
        certain = not movable or bool((lead.sum(axis=0) > 0).all())
        # Only features that may be flipped cost anything.
        if self.inequality == "strict":
            counts = self.design.counts[self.free]
            radius = radii.linear_radius(lead, counts, self.scale)
        else:
            masks = self.design.masks[:, self.free]
            radius = radii.vote_aware_radius(lead, masks, self.scale)
        return Stability(int(labels[top]), radius, certain)

    def _independent(
        self, labels: Integers, scores: Integers, votes: Votes, side: Side
    ) -> Stability:
        """The radius under independent noise, from a bound on the expected gap."""
        top = radii.winner(scores)
        # By how much any class's sum of scores may be off.
        doubtful = int(votes.doubtful().sum())
        loose = doubtful * self.scale + self._rounding * len(scores)
        # The two ends are claimed together: each may fail half as often.
        miss = (1 - self.confidence) / 2
        gap = radii.expected_gap(scores, top, self.scale, miss, loose, self.classes)
        design = self.design
        radius = radii.bernoulli_radius(
            gap,
            design.kept,
            design.levels,
            self.room,
            side,
        )
        return Stability(int(labels[top]), radius, certain=gap > 0)

    @property
    def _rounding(self) -> int:
        """By how many units a score may be off; a class is right or unsure."""
        if self.scale == 1:
            return 0
        return math.ceil(self.tolerance * self.scale)

    def _contenders(self, votes: Votes) -> tuple[Integers, Integers]:
        draws = np.asarray(votes.draws, dtype=np.int64)
        count = len(self.design.rows)
        expected = (count,) if self.scale == 1 else (count, self.classes)
        inside = (
            draws.size > 0 and draws.min() >= 0 and (draws.ndim == 2 or draws.max() < self.classes)
        )
        if draws.shape != expected or not inside:
            raise InputError(
                expected=f"the scores of {self.classes} classes in each of {count} draws",
                got=f"votes of shape {draws.shape}",
                advice="Hand over the votes of this design, as MultiplicativeSmoothing casts them.",
            )
        return votes.contenders(self.classes)


@final
@dataclass(frozen=True, kw_only=True)
class Claims:
    """What is proven about one selection: classes, and whole numbers of features.

    `Certificate` explains them. Made by name only, since the two classes look alike.
    """

    predicted: int  # class of the whole input
    selected: int  # class of the selection
    consistent: bool  # whether they are the same, beyond doubt
    incremental: int  # features that may be added to the selection
    decremental: int  # features that may be removed from the whole
    full: bool  # whether every superset keeps the class

    @classmethod
    def enumerated(cls, votes: Votes, room: int) -> Claims:
        """The claims about a classifier that was asked at all 2^room supersets."""
        classes = np.asarray(votes.draws, dtype=np.int64)
        if classes.shape != (2**room,):
            raise InputError(
                expected=f"the class at each of {2**room} supersets",
                got=f"votes of shape {classes.shape}",
                advice="Ask all of them, as HardStability().certify(question, selection) does.",
            )
        incremental, decremental = radii.enumerated_radii(classes, room)
        return cls(
            # The list of supersets begins with the selection and ends with the whole.
            selected=int(classes[0]),
            predicted=int(classes[-1]),
            # -1 says that the whole has lost the class.
            consistent=decremental >= 0,
            incremental=incremental,
            decremental=max(decremental, 0),
            full=incremental == room,
        )

    @classmethod
    def smoothed(
        cls, inequality: VoteInequality, *, at_selection: Votes, at_whole: Votes
    ) -> Claims:
        """The claims about a smoothed classifier, from its votes at both ends."""
        room = inequality.room
        selection = inequality.stability(at_selection, "incremental")
        whole = inequality.stability(at_whole, "decremental")
        same_class = selection.winner == whole.winner
        consistent = same_class and selection.certain and whole.certain
        # Additions keep the selection's own class, whatever the whole's is.
        incremental = selection.radius
        # Removals lead to the selection's class only where the whole has it.
        decremental = whole.radius if consistent else 0
        full = consistent and radii.fully_stable(incremental, decremental, room)
        if full:
            # No superset lies between the two radii, and so they reach all the way.
            incremental = room
            decremental = room
        return cls(
            selected=selection.winner,
            predicted=whole.winner,
            consistent=consistent,
            incremental=incremental,
            decremental=decremental,
            full=full,
        )

    def differences(self, other: Claims) -> list[str]:
        """Every claim that other claims do not equal, in words."""
        return [
            f"{name} is {getattr(other, name)}, not {value}"
            for name, value in asdict(self).items()
            if getattr(other, name) != value
        ]

    def unsupported(self, fresh: Claims) -> list[str]:
        """Every claim that fresh claims do not support, in words; larger radii support smaller."""
        weaker = []
        for name, value in asdict(self).items():
            other = getattr(fresh, name)
            # Another class is no support, be its number larger or smaller.
            if other < value or (name in _CLASSES and other != value):
                weaker.append(f"{name} is {other}, not {value}")
        return weaker
